"""goose's line splitter: what it would send to the server for one direction of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field

from dodai.core.dataclass import dataclass
from dodai.migrations import codes, sql
from dodai.migrations.envsub import EnvsubError, expand
from dodai.migrations.migration import Direction, FileError, FileProblem, Statement

ANNOTATIONS = {
    name.casefold(): name
    for name in ("Up", "Down", "StatementBegin", "StatementEnd", "NO TRANSACTION", "ENVSUB ON", "ENVSUB OFF")
}
LONGEST_LINE = 4 * 1024 * 1024
_SECTION: dict[str, Direction] = {"Up": "up", "Down": "down"}


@dataclass(slots=True)
class _Splitter:
    """One pass over the lines for the `wanted` directions; goose makes one pass for each."""

    wanted: tuple[Direction, ...]
    path: str
    environment: Mapping[str, str]
    section: Direction | None = None
    block: str = ""
    transactional: bool = True
    substitute: bool = False
    buffer: list[str] = field(default_factory=list)
    first_line: int = 0
    block_line: int = 0
    found: list[tuple[Direction, Statement, bool]] = field(default_factory=list)

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
        if said := command_of_psql(self.buffer[0] if self.buffer else line):
            self._refuse(self.first_line or number, line, said)
        if self.section is None:
            self._refuse(number, line, "SQL before the `-- +goose Up` annotation")
        if self.section not in self.wanted:
            self.buffer.clear()
        elif self.block == "end":
            self._store(marked=True)
            self.block = ""
        elif not self.block and ends_statement(line):
            self._store(marked=False)

    def _store(self, *, marked: bool) -> None:
        text = "\n".join(self.buffer).strip()
        self.found.append((self.section or "up", Statement(text, self.first_line), marked))
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
        raise FileError(FileProblem(codes.FILE_SYNTAX, message, self.path, number, line.strip()[:200], fix))


def command_of_psql(line: str) -> str:
    r"""What is wrong with a line that is meant for psql, such as `\connect`; "" for SQL."""
    word = line.split(maxsplit=1)[0] if line.startswith("\\") else ""
    if not word or word == "\\.":  # the end of COPY data, which is told as that
        return ""
    what = "leads to another database" if word in ("\\connect", "\\c") else "is a command of psql, not SQL"
    return f"`{word}` {what}; leave it out"


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
    return _of(_passed(text, (direction,), path, environment), direction)


def split_both(text: str, *, path: str = "", environment: Mapping[str, str] | None = None) -> tuple[Split, Split]:
    """Both ways of a file in one pass; raises `FileError` where goose refuses either."""
    splitter = _passed(text, ("up", "down"), path, environment)
    return _of(splitter, "up"), _of(splitter, "down")


def _of(splitter: _Splitter, direction: Direction) -> Split:
    found = [(statement, marked) for section, statement, marked in splitter.found if section == direction]
    return Split(tuple(s for s, _ in found), tuple(m for _, m in found), splitter.transactional)


def _passed(
    text: str, wanted: tuple[Direction, ...], path: str, environment: Mapping[str, str] | None = None
) -> _Splitter:
    splitter = _Splitter(wanted, path, environment or {})
    for number, raw in enumerate(_lines(text), start=1):
        line = raw.removesuffix("\r")
        if len(line) * 4 > LONGEST_LINE and len(line.encode()) >= LONGEST_LINE:
            raise FileError(
                FileProblem(codes.FILE_SYNTAX, "a line longer than 4 MiB, goose cannot read it", path, number)
            )
        splitter.feed(number, line)
    splitter.finish()
    return splitter


def _lines(text: str) -> Iterator[str]:
    """Lines as Go's scanner sees them: no empty last line after a final newline."""
    parts = text.split("\n")
    yield from parts[:-1] if parts[-1] == "" else parts


BEGIN, END = "-- +goose StatementBegin", "-- +goose StatementEnd"


def fixed_text(text: str) -> str:
    """`text` with the annotations added where the line splitter and the lexer disagree; otherwise unchanged.

    Statements that share a line with another one are left alone, and so is everything between annotations that are
    there already.
    """
    lines = text.split("\n")
    wrapped = {first: last for start, end in _regions(lines) for first, last in _wrong(lines[start:end], start)}
    out: list[str] = []
    until = -1
    for number, line in enumerate(lines):
        if number in wrapped:
            out.append(BEGIN)
            until = wrapped[number]
        out.append(line)
        if number == until:
            out.append(END)
    return "\n".join(out)


def _regions(lines: list[str]) -> Iterator[tuple[int, int]]:
    """Runs of lines between annotations, outside StatementBegin and StatementEnd."""
    start, inside = 0, False
    for number, line in enumerate([*lines, BEGIN]):
        stripped = line.strip()
        if not (stripped.startswith("--") and "+goose" in stripped):
            continue
        word = stripped.lower().replace(" ", "")
        if not inside and number > start:
            yield start, number
        inside = word.endswith("statementbegin") or (inside and not word.endswith("statementend"))
        start = number + 1


def _wrong(lines: list[str], offset: int) -> Iterator[tuple[int, int]]:
    """First and last line (from 0, in the file) of each statement that goose would cut elsewhere."""
    spans = sql.statements("\n".join(lines))
    rows = [(span.line - 1, span.line - 1 + span.text.count("\n"), span.complete) for span in spans]
    for index, (first, last, complete) in enumerate(rows):
        shared = any(first <= other[1] and other[0] <= last for n, other in enumerate(rows) if n != index)
        cut_inside = any(ends_statement(lines[row]) for row in range(first, last))
        if complete and not shared and (cut_inside or not ends_statement(lines[last])):
            yield first + offset, last + offset
