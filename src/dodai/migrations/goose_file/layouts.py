"""How other tools name and lay out their SQL files: each becomes a `SqlSource`, whose two ways are plain SQL.

Read from the tools' own documents: diesel 2 (folders with `up.sql` and `down.sql`), Prisma 6 (folders with
`migration.sql`), dbmate 2 (one file with `-- migrate:up` and `-- migrate:down`), Flyway 11 (`V`, `U` and `R` files, at
any depth), golang-migrate 4 (pairs).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from dodai.core.dataclass import dataclass
from dodai.migrations import codes
from dodai.migrations.goose_file.parse import no_nul, version_of
from dodai.migrations.migration import FileError, FileProblem
from dodai.migrations.policy import Format

UP_SUFFIX, DOWN_SUFFIX = ".up.sql", ".down.sql"
SUFFIXES: Mapping[Format, tuple[str, ...]] = {"diesel": (".sql", "/metadata.toml")}
"""What is read of a folder in the formats that read more than `*.sql`."""
NESTED: tuple[Format, ...] = ("diesel", "prisma", "flyway")
"""Formats whose files lie in folders below."""


@dataclass(frozen=True, slots=True)
class SqlSource:
    """A migration before its SQL is cut: lines of `up` and `down` have the numbers of their file.

    `transactional` False says that the tool runs it without one; `version` 0 that the file is repeatable.
    """

    path: str
    version: int
    name: str
    raw: bytes
    up: str
    down_path: str = ""
    down: str = ""
    transactional: bool = True


Reads = Iterator[Callable[[], SqlSource]]
"""One for each file that should be a migration; it raises `FileError` for one that is none."""


def sources(layout: Format, files: Mapping[str, bytes], folder: str) -> Iterator[SqlSource | FileProblem]:
    """The migrations in `files` (path to bytes) below `folder`, and what looks like one and is none."""
    for read in _LAYOUTS[layout](files, folder):
        try:
            yield read()
        except FileError as error:
            yield error.problem


def text_of(path: str, data: bytes) -> str:
    """The text of a file; raises `FileError` (DOD200) for what is not UTF-8 and for a NUL."""
    no_nul(path, data)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FileError(FileProblem(codes.FILE_SYNTAX, f"byte {error.start} is not UTF-8", path, line)) from error


def pair(
    path: str, data: bytes, down_path: str = "", down: bytes = b"", *, called: tuple[int, str] | None = None
) -> SqlSource:
    """A file that is Up as a whole, with the file of its way down."""
    version, name = called or version_of(path)
    return SqlSource(
        path, version, name, data + down, text_of(path, data), down_path if down else "", text_of(down_path, down)
    )


def _plain(files: Mapping[str, bytes], _: str) -> Reads:
    for path, data in files.items():
        if not path.endswith(DOWN_SUFFIX):
            down = path.removesuffix(UP_SUFFIX) + DOWN_SUFFIX if path.endswith(UP_SUFFIX) else ""
            yield partial(_of_pair, path, data, down, files)


def _of_pair(path: str, data: bytes, down: str, files: Mapping[str, bytes]) -> SqlSource:
    version, name = version_of(path)
    return pair(path, data, down, files.get(down, b""), called=(version, name.removesuffix(".up")))


# --- folders: diesel, Prisma -----------------------------------------------------------------------------------------

_FIRST_OF_DIESEL = "00000000000000"
"""`diesel setup` makes a migration of this version; the ledger's own first row is 0."""


def _diesel(files: Mapping[str, bytes], folder: str) -> Reads:
    def read(path: str, name: str) -> SqlSource:
        stamp, _, title = name.partition("_")
        digits = stamp.replace("-", "")
        if not digits.isdecimal() or not title:
            raise _misnamed(path, f"the folder `{name}` is not named `YYYY-MM-DD-HHMMSS_name`")
        beside = path.removesuffix("up.sql")
        version = 1 if digits == _FIRST_OF_DIESEL else int(digits)
        found = pair(
            path, files[path], f"{beside}down.sql", files.get(f"{beside}down.sql", b""), called=(version, title)
        )
        return replace(found, transactional=_in_transaction(f"{beside}metadata.toml", files))

    return _folders(files, folder, "up.sql", ("up.sql", "down.sql", "metadata.toml"), read)


def _in_transaction(path: str, files: Mapping[str, bytes]) -> bool:
    try:
        return tomllib.loads(files.get(path, b"").decode()).get("run_in_transaction", True) is not False
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileError(FileProblem(codes.FILE_SYNTAX, f"`{path}` cannot be read: {error}", path)) from error


def _prisma(files: Mapping[str, bytes], folder: str) -> Reads:
    def read(path: str, name: str) -> SqlSource:
        stamp, _, title = name.partition("_")
        if not stamp.isdecimal() or not int(stamp):
            raise _misnamed(path, f"the folder `{name}` is not named `YYYYMMDDHHMMSS_name`")
        return pair(path, files[path], called=(int(stamp), title or stamp))

    return _folders(files, folder, "migration.sql", ("migration.sql",), read)


def _folders(
    files: Mapping[str, bytes], folder: str, wanted: str, known: tuple[str, ...], read: Callable[[str, str], SqlSource]
) -> Reads:
    """Each `NAME/wanted` of the folder; other SQL files are named, because no run would ever send them."""
    for path in files:
        inside = path.removeprefix(f"{folder}/").split("/")
        if len(inside) == 2 and inside[1] == wanted:
            yield partial(read, path, inside[0])
        elif len(inside) != 2 or inside[1] not in known or f"{folder}/{inside[0]}/{wanted}" not in files:
            yield partial(_refuse, _misnamed(path, f"`{path}` is not `NAME/{wanted}`"))


# --- one file with both ways: dbmate ---------------------------------------------------------------------------------

_MARK = re.compile(r"^--\s*migrate:(?P<way>up|down)\b(?P<options>[^\n]*)$", re.MULTILINE)


def _dbmate(files: Mapping[str, bytes], _: str) -> Reads:
    def read(path: str, data: bytes) -> SqlSource:
        version, name = version_of(path)
        text = text_of(path, data)
        marks = list(_MARK.finditer(text))
        if [mark["way"] for mark in marks] not in (["up"], ["up", "down"]):
            said = "it needs one `-- migrate:up` and at most one `-- migrate:down` behind it"
            raise FileError(FileProblem(codes.FILE_SYNTAX, said, path, 1, fix="mark both ways as dbmate does"))
        end = marks[1].start() if len(marks) > 1 else len(text)
        # What stands before a part is left as empty lines, so that lines keep their numbers.
        down = "\n" * text.count("\n", 0, end) + text[end:]
        alone = any("transaction:false" in mark["options"].replace(" ", "") for mark in marks)
        return SqlSource(path, version, name, data, text[:end], down=down, transactional=not alone)

    return (partial(read, path, data) for path, data in files.items())


# --- V, U, R: Flyway -------------------------------------------------------------------------------------------------

_FLYWAY = re.compile(r"(?:(?P<kind>[VU])(?P<version>\d+(?:[._]\d+)*)|(?P<again>R))__(?P<name>.+)\.sql")
_PLACEHOLDER = re.compile(r"\$\{[\w.:-]+\}")
_PART_LIMIT = 100


def _flyway(files: Mapping[str, bytes], _: str) -> Reads:
    named = {path: _FLYWAY.fullmatch(path.rsplit("/", 1)[-1]) for path in files}
    undo = {found["version"]: path for path, found in named.items() if found and found["kind"] == "U"}

    def read(path: str) -> SqlSource:
        found = named[path]
        if not found:
            raise _misnamed(path, f"`{path}` is not named `V1__name.sql`, `U1__name.sql` or `R__name.sql`")
        if found["again"]:
            return _no_placeholders(pair(path, files[path], called=(0, found["name"])))
        called = (_number(path, found["version"]), found["name"])
        if found["kind"] == "U":
            raise _misnamed(path, f"`{path}` undoes a version that is not there")
        down = undo.get(found["version"], "")
        return _no_placeholders(pair(path, files[path], down, files.get(down, b""), called=called))

    versions = {found["version"] for found in named.values() if found and found["kind"] == "V"}
    used = {path for version, path in undo.items() if version in versions}
    return (partial(read, path) for path in files if path not in used)


def _number(path: str, version: str) -> int:
    """`1.2.3` as 10203: the ledger keeps one number, and versions of one to three parts must sort among another."""
    first, *rest = (int(part) for part in re.split("[._]", version))
    while rest and not rest[-1]:
        rest.pop()
    if len(rest) > 2 or any(part >= _PART_LIMIT for part in rest):
        said = f"the version `{version}` has more than three parts, or a later one above {_PART_LIMIT - 1}"
        raise _misnamed(path, said)
    second, third = (*rest, 0, 0)[:2]
    number = first * _PART_LIMIT**2 + second * _PART_LIMIT + third
    if not 0 < number < 2**63:
        raise _misnamed(path, f"the version `{version}` has no number in the ledger")
    return number


def version_parts(path: str) -> tuple[int, ...]:
    """The parts of the version in the name of a Flyway file."""
    found = _FLYWAY.fullmatch(path.rsplit("/", 1)[-1])
    return tuple(int(part) for part in re.split("[._]", found["version"])) if found and found["version"] else (0,)


def _no_placeholders(source: SqlSource) -> SqlSource:
    for path, text in ((source.path, source.up), (source.down_path, source.down)):
        if found := _PLACEHOLDER.search(text):
            line = text.count("\n", 0, found.start()) + 1
            said = f"`{found[0]}` would be replaced by Flyway, whose configuration is not read"
            raise FileError(FileProblem(codes.FILE_SYNTAX, said, path, line, fix="write its value into the file"))
    return source


# --- what all share --------------------------------------------------------------------------------------------------


def _misnamed(path: str, said: str) -> FileError:
    return FileError(FileProblem(codes.FILE_NAME, said, path))


def _refuse(error: FileError) -> SqlSource:
    raise error


_LAYOUTS: Mapping[Format, Callable[[Mapping[str, bytes], str], Reads]] = {
    "plain": _plain, "diesel": _diesel, "prisma": _prisma, "dbmate": _dbmate, "flyway": _flyway,
}  # fmt: skip
