"""Plain SQL, cut by the lexer: each way of a migration that no annotation of goose's stands in."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

from dodai.migrations import codes, sql
from dodai.migrations.goose_file.batches import in_batches
from dodai.migrations.goose_file.layouts import DOWN_SUFFIX, UP_SUFFIX, SqlSource, pair
from dodai.migrations.goose_file.parse import accepts, directives, from_stdin, without_own_transaction
from dodai.migrations.goose_file.split import command_of_psql
from dodai.migrations.migration import FileError, FileProblem, Migration, Statement
from dodai.migrations.policy import Format

_END_OF_DATA = re.compile(r"^\\\.\r?(?:\n|\Z)", re.MULTILINE)


def parse_plain(path: str, data: bytes, down: bytes = b"") -> Migration:
    """The migration in a numbered file, with the file of its way down; raises `FileError` (DOD200, DOD201)."""
    return parse_source(pair(path, data, path.removesuffix(UP_SUFFIX) + DOWN_SUFFIX if down else "", down))


def parse_source(source: SqlSource, layout: Format = "plain") -> Migration:
    r"""The migration of a source, a file of `layout`; raises `FileError` (DOD200, DOD225).

    It runs as one transaction unless it holds a statement that PostgreSQL refuses there (CONCURRENTLY, VACUUM), or its
    tool runs it without. The data of a `COPY ... FROM stdin` are the lines behind it up to a line `\.`, as pg_dump
    writes and psql reads them.
    """
    up, back = _statements(source.path, source.up), _statements(source.down_path or source.path, source.down)
    irreversible, accepted = directives(source.up, source.path)
    as_it_stands = accepts(accepted, codes.TRANSACTION_CONTROL)
    up, back, advice = (up, back, ()) if as_it_stands else without_own_transaction(up, back, source.path)
    back_path = source.down_path or source.path
    up = in_batches(up, source.up, source.path, transactional=False)
    back = in_batches(back, source.down, back_path, transactional=False)
    alone = as_it_stands or not source.transactional or any(_stands_alone(statement) for statement in (*up, *back))
    return Migration(
        id=str(source.version),
        order=source.version,
        name=source.name,
        path=source.path,
        up=up,
        down=back,
        transactional=not alone,
        raw_sha256=hashlib.sha256(source.raw).hexdigest(),
        token_sha256=_checksum(source.up + source.down, (*up, *back)),
        up_sha256=_checksum(source.up, up) if source.down else "",
        text=source.up if source.down_path else source.up + source.down.lstrip("\n"),
        irreversible=irreversible,
        accepted=accepted,
        advice=advice,
        down_path=source.down_path,
        down_text=source.down if source.down_path else "",
        layout=layout,
    )


def parse_repeatable(path: str, data: bytes) -> Migration:
    """A file that is run again whenever its meaning changes: the whole of it is Up, there is no Down."""
    return again(pair(path, data, called=(0, path.rsplit("/", 1)[-1].removesuffix(".sql"))))


def again(source: SqlSource, layout: Format = "plain") -> Migration:
    """The same of a source."""
    return replace(parse_source(source, layout), id=f"R:{source.name}", order=0, transactional=True, repeatable=True)


def _checksum(text: str, statements: tuple[Statement, ...]) -> str:
    """Over the tokens; in the data of a COPY every character counts."""
    data = [statement.data for statement in statements if statement.data is not None]
    if not data:
        return sql.checksum(text)
    words = "".join(statement.sql for statement in statements)
    return hashlib.sha256("\0".join([sql.checksum(words), *data]).encode()).hexdigest()


def _statements(path: str, text: str) -> tuple[Statement, ...]:
    """Cut by the lexer; a last statement may lack its semicolon, as psql allows it."""
    found: list[Statement] = []
    start: int | None = 0
    while start is not None:
        part, start = _up_to_data(path, text, start)
        found += part
    return tuple(found)


def _up_to_data(path: str, text: str, start: int) -> tuple[list[Statement], int | None]:
    """The statements from `start` to the next with data, and where the text goes on: what they hold is no SQL."""
    found: list[Statement] = []
    before = text.count("\n", 0, start)
    for span in sql.each_statement(text[start:]):
        place = Statement(span.text, before + span.line)
        if span.text.startswith("\\"):
            return found, _behind_command(path, text, text.index(span.text, start), place)
        if any(token.kind == "open" for token in sql.tokens(span.text)):
            raise _refused(path, place, "a quote or comment is not closed")
        if from_stdin(span.text):
            data, end = _data(path, text, start + span.end, place)
            return [*found, Statement(span.text, place.line, data)], end
        found.append(place)
    return found, None


_HARMLESS = ("\\restrict", "\\unrestrict")
"""What pg_dump 17.6 and later writes around a dump for psql: it changes nothing of what the statements do."""


def _behind_command(path: str, text: str, at: int, place: Statement) -> int | None:
    """Where the text goes on behind a line for psql itself; those that would change what happens are refused."""
    line, newline, _ = text[at:].partition("\n")
    if line.split()[0] not in _HARMLESS:
        raise _refused(path, replace(place, sql=line), command_of_psql(line))
    return at + len(line) + 1 if newline else None


def _data(path: str, text: str, start: int, copy: Statement) -> tuple[str, int]:
    r"""The data lines behind a COPY, as psql reads them: up to a line `\.`; and where the text goes on."""
    first = text.find("\n", start) + 1
    if not copy.sql.endswith(";") or not first or text[start:first].strip():
        raise _refused(path, copy, "the data of `COPY ... FROM stdin` begin on the line behind its `;`")
    end = _END_OF_DATA.search(text, first)
    if end is None:
        raise _refused(path, copy, "the data of `COPY ... FROM stdin` do not end with a line `\\.`")
    return text[first : end.start()], end.end()


def _refused(path: str, statement: Statement, message: str) -> FileError:
    quote = statement.sql.partition("\n")[0]
    return FileError(FileProblem(codes.FILE_SYNTAX, message, path, statement.line, quote))


def _stands_alone(statement: Statement) -> bool:
    first = sql.words(statement.sql, 8)
    return (
        statement.batch is not None
        or "concurrently" in first
        or first[:1] == ("vacuum",)
        or first[:2] == ("alter", "system")
    )
