"""A data directory made once by initdb and copied ever after: the copy costs a tenth of making it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

from dodai.core.errors import DodaiError
from dodai.providers.postgres.binaries import Binaries, probe, reason
from dodai.providers.postgres.codes import INSTALL, NOT_STARTED, NOT_USABLE
from dodai.providers.postgres.server_user import Identity, give, give_tree, run_as
from dodai.providers.postgres.temp_directories import owned_directory, remove

SUPERUSER = "postgres"
INITDB_TIMEOUT_S = 60.0
COPY_TIMEOUT_S = 120.0


def initdb_options(major: int) -> tuple[str, ...]:
    """UTF-8 with code point order on every platform, so that two machines sort alike; small WAL segments copy fast."""
    options = ("--encoding=UTF8", "--no-sync", "--auth=scram-sha-256", f"--username={SUPERUSER}", "--wal-segsize=1")
    if major >= 17:
        return (*options, "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    return (*options, "--locale=C.UTF-8" if sys.platform.startswith("linux") else "--locale=C")


def template_key(binaries: Binaries, identity: Identity) -> str:
    parts = (str(binaries.bin_dir), binaries.version, str(identity.uid), *initdb_options(binaries.major))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def template(place: Path, binaries: Binaries, identity: Identity) -> Path:
    """The directory with `data` and `password` to copy from, made when absent.

    Two processes may make it at once: each works in a directory of its own and the rename decides. Raises DOD781 or
    DOD782 when initdb fails.
    """
    finished = place / f"template-{template_key(binaries, identity)}"
    if (finished / "password").is_file():
        return finished
    work = owned_directory(place, "t", identity)
    try:
        (work / "password").write_text(init(work / "data", binaries, identity))
        (work / "password").chmod(0o600)
        with contextlib.suppress(OSError):  # somebody else was first, and theirs is as good
            work.rename(finished)
    finally:
        if work.exists():
            remove(work)
    return finished


def init(data_dir: Path, binaries: Binaries, identity: Identity) -> str:
    """The generated superuser password of the data directory that now exists; it is empty, owned by `identity`."""
    password = secrets.token_urlsafe(24)
    data_dir.mkdir(mode=0o700)
    give(data_dir, identity)
    password_file = data_dir.with_name(f"{data_dir.name}.password")
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    give(password_file, identity)
    argv = [str(binaries.tool("initdb")), f"--pgdata={data_dir}", f"--pwfile={password_file}"]
    try:
        result = run_as(identity, [*argv, *initdb_options(binaries.major)], timeout_s=INITDB_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DodaiError(
            NOT_USABLE, f"`{argv[0]}` cannot be run as `{identity.name}`: {reason(error)}", f"run `{INSTALL}`"
        ) from error
    finally:
        password_file.unlink(missing_ok=True)
    if result.returncode:
        raise initdb_failed(data_dir, result.stderr or result.stdout)
    return password


def initdb_failed(data_dir: Path, output: str) -> DodaiError:
    lines = tuple(line for line in output.strip().splitlines() if line.strip())
    full = "No space left on device" in output
    return DodaiError(
        NOT_STARTED,
        f"the disk below `{data_dir}` is full" if full else f"initdb failed in `{data_dir}`",
        "free about 100 MB there, or set TMPDIR to another disk" if full else "fix what initdb says",
        details=lines[-8:],
    )


def copy_tree(source: Path, target: Path) -> None:
    """Copy `source` to the new `target` with owners and modes; raises DOD782 when the disk is full."""
    program = shutil.which("cp")
    try:
        if program:
            subprocess.run(
                [program, "-a", str(source), str(target)],
                check=True, capture_output=True, text=True, timeout=COPY_TIMEOUT_S,
            )  # fmt: skip
        else:
            shutil.copytree(source, target, symlinks=True)
    except (OSError, subprocess.SubprocessError, shutil.Error) as error:
        said = getattr(error, "stderr", "") or str(error)
        full = "No space left" in said
        raise DodaiError(
            NOT_STARTED,
            f"the disk below `{target}` is full" if full else f"`{source}` cannot be copied to `{target}`",
            "free about 100 MB there, or set TMPDIR to another disk",
            details=tuple(said.strip().splitlines()[-3:]),
        ) from error


def runnable(place: Path, binaries: Binaries, identity: Identity) -> Binaries:
    """`binaries` where `identity` can execute them: as they are, else a copy below `place` (made once)."""
    if not identity.drops or executes(binaries.bin_dir, identity):
        return binaries
    prefix = binaries.bin_dir.parent
    if not (prefix / "share").is_dir() or not (prefix / "lib").is_dir():
        raise DodaiError(
            NOT_USABLE,
            f"user `{identity.name}` may not execute `{binaries.bin_dir}/postgres`",
            f"make the directory readable for everybody, or run `{INSTALL}`",
        )
    stamp = f"{binaries.bin_dir}\0{binaries.version}\0{binaries.tool('postgres').stat().st_mtime_ns}"
    finished = place / f"programs-{hashlib.sha256(stamp.encode()).hexdigest()[:16]}"
    if not finished.is_dir():
        copy_programs(place, prefix, finished, identity)
    return probe(finished / "prefix" / "bin", binaries.source, binaries.origin)


def executes(bin_dir: Path, identity: Identity) -> bool:
    """Whether `identity` gets an answer from both programs, libraries included: asked, not guessed from modes."""
    try:
        return all(
            run_as(identity, [str(bin_dir / name), "--version"], timeout_s=10).returncode == 0
            for name in ("postgres", "initdb")
        )
    except (OSError, subprocess.TimeoutExpired):
        return False


def copy_programs(place: Path, prefix: Path, finished: Path, identity: Identity) -> None:
    work = owned_directory(place, "t", identity)
    try:
        copy_tree(prefix, work / "prefix")
        for path in (work / "prefix").rglob("*"):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        (work / "prefix").chmod(0o755)
        with contextlib.suppress(OSError):
            work.rename(finished)
    finally:
        if work.exists():
            remove(work)


def fill(data_dir: Path, place: Path, binaries: Binaries, identity: Identity) -> str:
    """The superuser password of `data_dir`, which is now a copy of the template."""
    source = template(place, binaries, identity)
    copy_tree(source / "data", data_dir)
    give_tree(data_dir, identity) if os.stat(data_dir).st_uid != identity.uid else None  # noqa: PTH116
    return (source / "password").read_text()
