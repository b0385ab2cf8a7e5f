"""goose's SQL migration files.

The rules are those of pressly/goose 3.29 (internal/sqlparser): annotations stand alone on their line, a statement ends
with the line whose last word before a comment ends in `;`, and everything between `StatementBegin` and `StatementEnd`
is one statement. Where a real SQL lexer would cut elsewhere, the file is refused, because the server would get half a
statement.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from dodai.core.errors import Code, DodaiError
from dodai.migrations import codes, sql
from dodai.migrations.envsub import EnvsubError, expand
from dodai.migrations.migration import Accepted, Direction, Migration, Statement, in_order
from dodai.migrations.ports import Target

ANNOTATIONS = {
    name.casefold(): name
    for name in ("Up", "Down", "StatementBegin", "StatementEnd", "NO TRANSACTION", "ENVSUB ON", "ENVSUB OFF")
}
LONGEST_LINE = 4 * 1024 * 1024
_SECTION: dict[str, Direction] = {"Up": "up", "Down": "down"}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in one place of a file; `line` 0 is the whole file."""

    code: Code
    message: str
    path: str
    line: int = 0
    quote: str = ""
    fix: str = ""

    def error(self) -> DodaiError:
        """The same as an error that stops a command."""
        place = f"{self.path}:{self.line}" if self.line else self.path
        return DodaiError(self.code, f"{place}: {self.message}", self.fix or self.code.fix.en, exit_code=1)


class FileError(ValueError):
    """A file cannot be read as a migration; `problem` says where and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(slots=True)
class _Splitter:
    """One pass over the lines for one direction, as goose does it."""

    direction: Direction
    path: str
    environment: Mapping[str, str]
    section: Direction | None = None
    block: str = ""
    transactional: bool = True
    substitute: bool = False
    buffer: list[str] = field(default_factory=list)
    first_line: int = 0
    block_line: int = 0
    found: list[tuple[Statement, bool]] = field(default_factory=list)

    def feed(self, number: int, line: str) -> None:
        stripped = line.strip()
        if self.section is None and not stripped:
            return
        comment = stripped.startswith("--")
        if comment and "+goose" in line and self._annotate(number, line):
            return
        if not self.buffer and (comment or not line):
            return
        if self.block != "end":
            if self.substitute:
                line = self._expanded(number, line)
            self.first_line = self.first_line if self.buffer else number
            self.buffer.append(line)
        self._close(number, line)

    def _annotate(self, number: int, line: str) -> bool:
        """True when the annotation is done with; StatementEnd still has to close its statement."""
        name = self._annotation(number, line)
        if name in _SECTION:
            self._enter(number, line, _SECTION[name])
        elif name == "StatementBegin":
            if self.section is None or self.block == "begin":
                self._refuse(
                    number, line, "`StatementBegin` must stand after `Up` or `Down` and not inside another one"
                )
            self.block, self.block_line = "begin", number
        elif name == "StatementEnd":
            if self.block != "begin":
                self._refuse(number, line, "`StatementEnd` without `StatementBegin`")
            self.block = "end"
            return False
        elif name == "NO TRANSACTION":
            self.transactional = False
        else:
            self.substitute = name == "ENVSUB ON"
        return True

    def _annotation(self, number: int, line: str) -> str:
        if line[:1] in (" ", "\t"):
            self._refuse(number, line, "white space before a `-- +goose` annotation")
        word = line.replace("--", "").replace("+goose", "", 1)
        if "+goose" in word:
            self._refuse(number, line, "two annotations on one line")
        name = ANNOTATIONS.get(word.strip().casefold())
        if name is None:
            wrong = f"unknown annotation `{word.strip()}`" if word.strip() else "empty annotation"
            self._refuse(number, line, f"{wrong}; goose knows {', '.join(ANNOTATIONS.values())}")
        return str(name)

    def _enter(self, number: int, line: str, section: Direction) -> None:
        if section == "up" and self.section is not None:
            self._refuse(number, line, "a second `Up` annotation")
        if section == "down":
            if self.section != "up" or self.block == "begin":
                self._refuse(number, line, "`Down` must stand once, after `Up` and after its statements")
            self._nothing_open(number)
        self.section, self.block = section, ""

    def _close(self, number: int, line: str) -> None:
        if self.section is None:
            self._refuse(number, line, "SQL before the `-- +goose Up` annotation")
        if self.section != self.direction:
            self.buffer.clear()
        elif self.block == "end":
            self._store(marked=True)
            self.block = ""
        elif not self.block and ends_statement(line):
            self._store(marked=False)

    def _store(self, *, marked: bool) -> None:
        text = "\n".join(self.buffer).strip()
        self.found.append((Statement(text, self.first_line), marked))
        self.buffer.clear()

    def _expanded(self, number: int, line: str) -> str:
        try:
            return expand(line, self.environment)
        except EnvsubError as error:
            self._refuse(number, "", f"ENVSUB: {error}")
            raise

    def _nothing_open(self, number: int) -> None:
        if any(part.strip() for part in self.buffer):
            at = self.first_line or number
            self._refuse(at, self.buffer[0], "a statement is not finished: is a `;` missing?")

    def finish(self) -> None:
        if self.section is None:
            self._refuse(0, "", "no `-- +goose Up` annotation", fix="start the file with `-- +goose Up`")
        if self.block == "begin":
            self._refuse(self.block_line, "", "`StatementBegin` without `StatementEnd`")
        self._nothing_open(0)

    def _refuse(self, number: int, line: str, message: str, fix: str = "") -> None:
        raise FileError(Problem(codes.FILE_SYNTAX, message, self.path, number, line.strip()[:200], fix))


def ends_statement(line: str) -> bool:
    """True when goose ends a statement here: the last word before a word that starts with `--` ends in `;`."""
    last = ""
    for word in line.split():
        if word.startswith("--"):
            break
        last = word
    return last.endswith(";")


@dataclass(frozen=True, slots=True)
class Split:
    """A file's statements in one direction; `marked` tells which stood between StatementBegin and StatementEnd."""

    statements: tuple[Statement, ...]
    marked: tuple[bool, ...]
    transactional: bool


def split(text: str, direction: Direction, *, path: str = "", environment: Mapping[str, str] | None = None) -> Split:
    """The statements that goose would send for `direction`; raises `FileError` where goose refuses the file."""
    splitter = _Splitter(direction, path, environment or {})
    for number, raw in enumerate(_lines(text), start=1):
        line = raw.removesuffix("\r")
        if len(line) > LONGEST_LINE and len(line.encode()) >= LONGEST_LINE:
            raise FileError(Problem(codes.FILE_SYNTAX, "a line longer than 4 MiB, goose cannot read it", path, number))
        splitter.feed(number, line)
    splitter.finish()
    found = tuple(splitter.found)
    return Split(tuple(s for s, _ in found), tuple(m for _, m in found), splitter.transactional)


def _lines(text: str) -> Iterator[str]:
    """Lines as Go's scanner sees them: no empty last line after a final newline."""
    parts = text.split("\n")
    yield from parts[:-1] if parts[-1] == "" else parts


def parse(path: str, data: bytes, environment: Mapping[str, str] | None = None) -> Migration:
    """The migration in `data`. `path` gives version and name. Raises `FileError` (DOD200, DOD201, DOD220, DOD221)."""
    version, name = version_of(path)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FileError(Problem(codes.FILE_SYNTAX, f"byte {error.start} is not UTF-8", path, line)) from error
    both = [split(text, direction, path=path, environment=environment) for direction in ("up", "down")]
    for part in both:
        for problem in disagreements(part, path):
            raise FileError(problem)
    irreversible, accepted = _remarks(text, path)
    return Migration(
        id=str(version),
        order=version,
        name=name,
        path=path,
        up=both[0].statements,
        down=both[1].statements,
        transactional=both[0].transactional,
        raw_sha256=hashlib.sha256(data).hexdigest(),
        token_sha256=sql.checksum(text),
        text=text,
        irreversible=irreversible,
        accepted=accepted,
    )


def version_of(path: str) -> tuple[int, str]:
    """Version and name of a file: `20260214093000_add_email.sql` is (20260214093000, "add_email"); or DOD201."""
    base = path.rsplit("/", 1)[-1]
    number, underscore, rest = base.partition("_")
    if not underscore or not re.fullmatch(r"[+]?[0-9]+", number) or not 0 < int(number) < 2**63:
        message = f"`{base}` does not start with a version above 0 and `_`"
        raise FileError(Problem(codes.FILE_NAME, message, path))
    return int(number), rest.rpartition(".")[0]


_PLAIN = re.compile(r"(?!\s*copy\b)(?:(?!--|/\*|\batomic\b)[^;'\"$])*;", re.IGNORECASE)
"""One semicolon, at the end, and nothing that could hide another: both ways of splitting agree without looking."""


def disagreements(part: Split, path: str) -> Iterator[Problem]:
    """Where goose's line splitter cuts a statement that a real lexer would not (DOD221), and COPY data (DOD220)."""
    for statement, marked in zip(part.statements, part.marked, strict=True):
        if statement.sql.count("(") == statement.sql.count(")") and _PLAIN.fullmatch(statement.sql):
            continue
        if sql.words(statement.sql, 1) == ("copy",) and "stdin" in sql.words(statement.sql, 10_000):
            message = "`COPY ... FROM stdin` with data lines cannot stand in a goose file"
            yield Problem(codes.COPY_FROM_STDIN, message, path, statement.line, _first_line(statement))
        elif not marked and (cut := _cut(statement, transactional=part.transactional)):
            yield Problem(codes.SPLIT_DIFFERS, cut, path, statement.line, _first_line(statement))


def _cut(statement: Statement, *, transactional: bool) -> str:
    spans = sql.statements(statement.sql)
    if not spans or not spans[-1].complete:
        return "goose cuts this statement at a `;` that is inside a body, quote or comment"
    if len(spans) > 1 and not transactional:
        return f"goose sends {len(spans)} statements at once; in a `NO TRANSACTION` file each needs lines of its own"
    return ""


def _first_line(statement: Statement) -> str:
    return statement.sql.partition("\n")[0].strip()[:200]


_REMARK = re.compile(r"^--\s*dodai:\s*(?P<verb>\S+)\s*(?P<rest>.*?)\s*$", re.MULTILINE)
_EXPIRES = re.compile(r"\buntil\s+(\d{4}-\d{2}-\d{2})\b")


def _remarks(text: str, path: str) -> tuple[str, tuple[Accepted, ...]]:
    """`-- dodai: irreversible REASON` and `-- dodai: accept CODE REASON [until DATE]`; goose ignores both."""
    irreversible = ""
    accepted: list[Accepted] = []
    for remark in _REMARK.finditer(text):
        line = text.count("\n", 0, remark.start()) + 1
        rest = remark["rest"]
        code, _, reason = rest.partition(" ")
        if remark["verb"] == "irreversible" and rest:
            irreversible = rest
        elif remark["verb"] == "accept" and reason.strip():
            accepted.append(Accepted(code, reason.strip(), line, _expiry(reason)))
        else:
            message = "a dodai remark is `irreversible REASON` or `accept CODE REASON`, and the reason is required"
            raise FileError(Problem(codes.REMARK, message, path, line, remark.group().strip()))
    return irreversible, tuple(accepted)


def _expiry(reason: str) -> date | None:
    match = _EXPIRES.search(reason)
    try:
        return date.fromisoformat(match[1]) if match else None
    except ValueError:
        return date.min


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder of migrations holds: those that can be read, in order, and what is wrong with the others."""

    migrations: tuple[Migration, ...]
    problems: tuple[Problem, ...] = ()

    def sound(self) -> tuple[Migration, ...]:
        """The migrations; raises the first problem as `DodaiError`, because nothing is run when one file is bad."""
        for problem in self.problems:
            raise problem.error()
        return self.migrations


def read_folder(root: Path, folder: str, environment: Mapping[str, str] | None = None) -> Folder:
    """Every `*.sql` of `folder` below `root`; `repeatable/*.sql` in it are repeatable. Never raises for a bad file."""
    base = root / folder
    if not base.is_dir():
        message = f"the folder `{folder}` does not exist"
        return Folder((), (Problem(codes.FILE_NAME, message, folder, fix="create it, or set `[migrations].folder`"),))
    files = {str(path.relative_to(root)): path.read_bytes() for path in sorted(base.glob("*.sql"))}
    repeatable = {str(path.relative_to(root)): path.read_bytes() for path in sorted(base.glob("repeatable/*.sql"))}
    external = sorted(str(path.relative_to(root)) for path in base.glob("*_*.go") if not path.name.endswith("_test.go"))
    return read_files(files, repeatable, external, environment)


def files_of(target: Target) -> Folder:
    """The migrations of the target's tree, and what is wrong with the others."""
    return read_folder(target.root, target.policy.folder, target.environment)


def read_files(
    files: Mapping[str, bytes],
    repeatable: Mapping[str, bytes] | None = None,
    external: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Folder:
    """As `read_folder`, over files already read: path to bytes."""
    migrations: list[Migration] = []
    problems = [Problem(codes.EXTERNAL, f"`{path}` is a Go migration", path) for path in external if _numbered(path)]
    for path, data in files.items():
        try:
            migrations.append(parse(path, data, environment))
        except FileError as error:
            problems.append(error.problem)
    problems += _duplicates(migrations)
    for path, data in (repeatable or {}).items():
        try:
            migrations.append(parse_repeatable(path, data))
        except FileError as error:
            problems.append(error.problem)
    return Folder(in_order(migrations), tuple(problems))


def parse_repeatable(path: str, data: bytes) -> Migration:
    """A file that is run again whenever its meaning changes: the whole of it is Up, there is no Down."""
    migration = parse("1_" + path.rsplit("/", 1)[-1], b"-- +goose Up\n-- +goose StatementBegin\n" + data +
                      b"\n-- +goose StatementEnd\n")  # fmt: skip
    name = path.rsplit("/", 1)[-1].removesuffix(".sql")
    return replace(
        migration,
        id=f"R:{name}",
        order=0,
        name=name,
        path=path,
        up=tuple(Statement(span.text, span.line) for span in sql.statements(data.decode())),
        raw_sha256=hashlib.sha256(data).hexdigest(),
        token_sha256=sql.checksum(data.decode()),
        text=data.decode(),
        repeatable=True,
    )


def _numbered(path: str) -> bool:
    try:
        version_of(path)
    except FileError:
        return False
    return True


def _duplicates(migrations: list[Migration]) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for migration in sorted(migrations, key=lambda m: m.path):
        if other := seen.get(migration.id):
            message = f"version `{migration.id}` is already that of `{other}`"
            yield Problem(codes.DUPLICATE, message, migration.path)
        seen.setdefault(migration.id, migration.path)
