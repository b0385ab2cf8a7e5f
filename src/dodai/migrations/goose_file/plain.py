"""Plain SQL files: the whole file is Up; golang-migrate's `NAME.up.sql` has its way down in `NAME.down.sql`."""

from __future__ import annotations

import hashlib

from dodai.migrations import codes, sql
from dodai.migrations.goose_file.parse import remarks, version_of
from dodai.migrations.migration import FileError, Migration, Problem, Statement

UP_SUFFIX, DOWN_SUFFIX = ".up.sql", ".down.sql"


def down_of(path: str) -> str:
    """Where the way down of a golang-migrate file is; "" for other names."""
    return path.removesuffix(UP_SUFFIX) + DOWN_SUFFIX if path.endswith(UP_SUFFIX) else ""


def parse_plain(path: str, data: bytes, down: bytes = b"") -> Migration:
    """The migration in a numbered file; raises `FileError` (DOD200, DOD201, DOD220).

    It runs as one transaction unless it holds a statement that PostgreSQL refuses there (CONCURRENTLY, VACUUM).
    """
    version, name = version_of(path)
    text = _text(path, data)
    up, back = _statements(path, text), _statements(down_of(path), _text(path, down))
    irreversible, accepted = remarks(text, path)
    return Migration(
        id=str(version),
        order=version,
        name=name.removesuffix(".up"),
        path=path,
        up=up,
        down=back,
        transactional=not any(_stands_alone(statement) for statement in (*up, *back)),
        raw_sha256=hashlib.sha256(data + down).hexdigest(),
        token_sha256=sql.checksum(text + _text(path, down)),
        text=text,
        irreversible=irreversible,
        accepted=accepted,
    )


def parse_repeatable(path: str, data: bytes) -> Migration:
    """A file that is run again whenever its meaning changes: the whole of it is Up, there is no Down."""
    text = _text(path, data)
    name = path.rsplit("/", 1)[-1].removesuffix(".sql")
    irreversible, accepted = remarks(text, path)
    return Migration(
        id=f"R:{name}",
        order=0,
        name=name,
        path=path,
        up=_statements(path, text),
        down=(),
        transactional=True,
        raw_sha256=hashlib.sha256(data).hexdigest(),
        token_sha256=sql.checksum(text),
        text=text,
        irreversible=irreversible,
        accepted=accepted,
        repeatable=True,
    )


def _text(path: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FileError(Problem(codes.FILE_SYNTAX, f"byte {error.start} is not UTF-8", path, line)) from error


def _statements(path: str, text: str) -> tuple[Statement, ...]:
    """Cut by the lexer; a last statement may lack its semicolon, as psql allows it."""
    found: list[Statement] = []
    for span in sql.statements(text):
        words = sql.words(span.text, 10_000)
        if words[:1] == ("copy",) and "stdin" in words:
            message = "`COPY ... FROM stdin` with data lines is not supported"
            raise FileError(Problem(codes.COPY_FROM_STDIN, message, path, span.line, span.text.partition("\n")[0]))
        if any(token.kind == "open" for token in sql.tokens(span.text)):
            message = "a quote or comment is not closed"
            raise FileError(Problem(codes.FILE_SYNTAX, message, path, span.line, span.text.partition("\n")[0]))
        found.append(Statement(span.text, span.line))
    return tuple(found)


def _stands_alone(statement: Statement) -> bool:
    first = sql.words(statement.sql, 8)
    return "concurrently" in first or first[:1] == ("vacuum",) or first[:2] == ("alter", "system")
