"""A dump of one database as a restore point: made under a snapshot, read back whole, and counted against it."""

# Names of tables come from the server's own `quote_ident`.
# ruff: noqa: S608
from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg
from psycopg import conninfo

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.text import counted
from dodai.engine.private_file import write_private
from dodai.engine.state_folder import make_folder
from dodai.providers.postgres.backup import BACKUP_TIMEOUT_S, binaries_for, failed, last_lines, run_tool
from dodai.providers.postgres.binaries import Binaries
from dodai.providers.postgres.codes import COPY_FAILED
from dodai.providers.postgres.connection import address, coded, connect, parameters, without_secrets
from dodai.providers.postgres.server_user import clean_environment

ARCHIVE, RECEIPT = "dump", "receipt.json"
LOCK_WAIT_MS = 10_000
_COPY = re.compile(rb'COPY ((?:"(?:[^"]|"")*"|[^".\s]+)\.(?:"(?:[^"]|"")*"|[^".\s]+))\s')
TABLES = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
ORDER BY 1
"""
"""Those whose rows a dump holds, as `pg_dump` writes their names; what belongs to an extension comes with it."""


@dataclass(frozen=True, slots=True)
class Dump:
    """A dump that was read back. `tables` are the rows in each table; `sha256` is that of the archive."""

    path: Path
    database: str
    major: int
    sha256: str
    size_bytes: int
    tables: Mapping[str, int]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def archive(self) -> Path:
        return self.path / ARCHIVE

    def __str__(self) -> str:
        rows = f"{counted(sum(self.tables.values()), 'row')} in {counted(len(self.tables), 'table')}"
        return f"{self.path} ({self.size_bytes // 2**20} MiB, {rows}, read back)"

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def refuse_changed(self) -> None:
        """DOD786 when the archive is not the one that was read back."""
        try:
            now = _sha256(self.archive)
        except OSError as error:
            now = error.strerror or "unreadable"
        if now != self.sha256:
            said = f"`{self.archive}` is not what it was when it was made"
            raise DodaiError(COPY_FAILED, said, "use another restore point", details=(now,), reply="rejected")


def dumps(folder: Path) -> list[Dump]:
    """The complete ones, the newest first: a dump has its receipt once it was read back."""
    found = [path.parent for path in folder.glob(f"*/{RECEIPT}")] if folder.is_dir() else []
    newest_first = sorted(found, key=lambda path: (path / RECEIPT).stat().st_mtime_ns, reverse=True)
    return [one for path in newest_first if (one := _read(path)) is not None]


def _read(path: Path) -> Dump | None:
    try:
        known = json.loads((path / RECEIPT).read_bytes())
        found = Dump(path=path, **known)
        return found if found.archive.stat().st_size == found.size_bytes else None
    except (OSError, ValueError, TypeError):
        return None


def dump(dsn: str, folder: Path, name: str, *, timeout_s: float = BACKUP_TIMEOUT_S) -> Dump:
    """The database behind `dsn` as restore point `name`; it is there when this returns, and only then.

    Every row of the snapshot is read back out of the archive and counted. Raises DOD786 when the role may not read
    everything, the disk is full, or what is read back is not what was there; nothing is left then.
    """
    target, found = folder / name, binaries_for(dsn, None)
    shutil.rmtree(target, ignore_errors=True)  # what has no receipt was never finished
    try:
        make_folder(target)
        with connect(dsn, autocommit=False) as session, coded(dsn, "the copy"):
            expected, snapshot = _snapshot(session)
            _write(dsn, target / ARCHIVE, snapshot, found, timeout_s)
        read = _read_back(target / ARCHIVE, found)
        _refuse_different(dsn, expected, read)
        made = Dump(
            path=target,
            database=address(dsn).database,
            major=found.major,
            sha256=_sha256(target / ARCHIVE),
            size_bytes=(target / ARCHIVE).stat().st_size,
            tables=expected,
        )
        _keep(made)
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise failed(dsn, f"`{target}` cannot be written: {error.strerror}", "") from error
    except psycopg.Error as error:
        shutil.rmtree(target, ignore_errors=True)
        raise _unreadable(dsn, error) from error
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return made


def _unreadable(dsn: str, error: psycopg.Error) -> DodaiError:
    """DOD786 for a session that may not read everything: a dump without it would be short on the day it is needed."""
    fix = "read what the server says below"
    if error.sqlstate == "42501":
        fix = f"`GRANT pg_read_all_data TO {address(dsn).user or 'NAME'}`, or let it own every table"
    said = without_secrets(str(error.diag.message_primary or error), dsn)
    return DodaiError(
        COPY_FAILED, f"`{address(dsn)}` could not be copied", fix, fault="provider", details=(said,), reply="rejected"
    )


def _snapshot(session: psycopg.Connection[Any]) -> tuple[dict[str, int], str]:
    """The rows of every table in a snapshot that the session holds, and its name."""
    session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    session.execute("SET LOCAL row_security = off")
    row = session.execute("SELECT pg_export_snapshot()").fetchone()
    return rows_of(session), str(row[0]) if row else ""


def rows_of(session: psycopg.Connection[Any]) -> dict[str, int]:
    """The rows of every table that a dump holds, as the session sees them."""
    names = [str(row[0]) for row in session.execute(TABLES).fetchall()]
    found = {}
    for name in names:
        row = session.execute(f"SELECT count(*) FROM ONLY {name}".encode()).fetchone()
        found[name] = int(row[0]) if row else 0
    return found


def _write(dsn: str, archive: Path, snapshot: str, binaries: Binaries, timeout_s: float) -> None:
    argv = [str(binaries.tool("pg_dump")), "--format=custom", f"--file={archive}", f"--snapshot={snapshot}"]
    argv += [f"--lock-wait-timeout={LOCK_WAIT_MS}", "--no-password", f"--dbname={without_password(dsn)}"]
    if said := run_tool(argv, password_variable(dsn), timeout_s):
        raise failed(dsn, f"`{address(dsn)}` could not be copied", without_secrets(said, dsn))
    archive.chmod(0o600)


def without_password(dsn: str) -> str:
    """The libpq words of `dsn` that may stand in argv."""
    return conninfo.make_conninfo("", **{name: value for name, value in parameters(dsn).items() if name != "password"})


def password_variable(dsn: str) -> dict[str, str]:
    """How a program of PostgreSQL is told the password of `dsn`, and where else to look for one."""
    password = str(parameters(dsn).get("password") or "")
    file = {"PGPASSFILE": os.environ["PGPASSFILE"]} if "PGPASSFILE" in os.environ else {}
    return {**file, **({"PGPASSWORD": password} if password else {})}


def _read_back(archive: Path, binaries: Binaries) -> dict[str, int]:
    """The rows of every table that the archive holds, each of them read."""
    argv = [str(binaries.tool("pg_restore")), "--data-only", "--file=-", str(archive)]
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, env=clean_environment()
        )
        with process:
            try:
                found = dict(_counts(iter(process.stdout or ())))
            except BaseException:
                process.kill()
                raise
        complaints.seek(0)
        said = complaints.read().decode(errors="replace")
    if process.returncode:
        raise DodaiError(
            COPY_FAILED, f"`{archive}` cannot be read back", "check the disk, then try again", details=last_lines(said)
        )
    return found


def _counts(lines: Iterator[bytes]) -> Iterator[tuple[str, int]]:
    for line in lines:
        if start := _COPY.match(line):
            rows = 0
            for row in lines:
                if row == b"\\.\n":
                    break
                rows += 1
            yield start[1].decode(), rows


def _refuse_different(dsn: str, expected: Mapping[str, int], read: Mapping[str, int]) -> None:
    wrong = [
        f"{name}: {rows} rows in the snapshot, {read.get(name, 'none')} in the copy"
        for name, rows in expected.items()
        if read.get(name) != rows
    ]
    if wrong:
        raise DodaiError(
            COPY_FAILED,
            f"the copy of `{address(dsn)}` lacks rows of {counted(len(wrong), 'table')}",
            "give the role of this URL every table to read, then try again",
            details=tuple(wrong[:8]),
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _keep(made: Dump) -> None:
    """Force the archive to the disk, then write the receipt that makes it a restore point."""
    with made.archive.open("rb") as file:
        os.fsync(file.fileno())
    known = {name: value for name, value in asdict(made).items() if name != "path"}
    write_private(made.path / RECEIPT, json.dumps(known, indent=1).encode())
