"""Put `StatementBegin` and `StatementEnd` around the statements that goose would cut in the middle."""

from __future__ import annotations

from collections.abc import Iterator

from dodai.migrations import sql
from dodai.migrations.goose_file.split import ends_statement

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
