"""One goose file as a migration, refused where goose and a real lexer would cut it differently."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from itertools import pairwise

from dodai.core.errors import Code
from dodai.migrations import codes, sql
from dodai.migrations.goose_file.batches import in_batches
from dodai.migrations.goose_file.split import Split, split_both
from dodai.migrations.migration import Accepted, FileError, FileProblem, Migration, Statement


def parse(path: str, data: bytes, environment: Mapping[str, str] | None = None) -> Migration:
    """The migration in `data`. `path` gives version and name. Raises `FileError` (DOD200, DOD201, DOD220, DOD221)."""
    version, name = version_of(path)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FileError(FileProblem(codes.FILE_SYNTAX, f"byte {error.start} is not UTF-8", path, line)) from error
    no_nul(path, data)
    both = split_both(text, path=path, environment=environment)
    advice: list[FileProblem] = []
    for part in both:
        for problem in disagreements(part, path):
            raise FileError(problem)
        advice += together(part, path)
    irreversible, accepted = directives(text, path)
    down_at = _DOWN.search(text)
    whole, applied = sql.checksums(text, down_at.start() if down_at else len(text))
    up, down, own = without_own_transaction(_meaningful(both[0]), _meaningful(both[1]), path)
    transactional = both[0].transactional and not accepts(accepted, codes.TRANSACTION_CONTROL)
    if not transactional:
        up, down = _meaningful(both[0]), _meaningful(both[1])
    statements = in_batches((*up, *down), text, path, transactional=transactional)
    return Migration(
        id=str(version),
        order=version,
        name=name,
        path=path,
        up=statements[: len(up)],
        down=statements[len(up) :],
        transactional=transactional,
        raw_sha256=hashlib.sha256(data).hexdigest(),
        token_sha256=whole,
        up_sha256=applied,
        text=text,
        irreversible=irreversible,
        accepted=accepted,
        advice=(*advice, *own) if transactional else tuple(advice),
    )


def accepts(accepted: Iterable[Accepted], code: Code) -> bool:
    """Whether the file accepts `code`, by number or name. Who accepts that a file controls its own transaction has it
    run statement by statement, as it stands.
    """
    return any(each.code in (code.id, code.name) for each in accepted)


_DOWN = re.compile(r"^\s*--\s*\+goose\s+down\s*$", re.IGNORECASE | re.MULTILINE)


def no_nul(path: str, data: bytes) -> None:
    """PostgreSQL ends a message at a NUL, so what stands behind it would never arrive (DOD200)."""
    if (at := data.find(b"\0")) >= 0:
        line = data.count(b"\n", 0, at) + 1
        raise FileError(
            FileProblem(codes.FILE_SYNTAX, f"byte {at} is a NUL, where the server stops reading", path, line)
        )


_BEGINS = (("begin", ";"), ("begin", "transaction", ";"), ("begin", "work", ";"), ("start", "transaction", ";"))
_ENDS = (
    ("commit", ";"),
    ("commit", "transaction", ";"),
    ("commit", "work", ";"),
    ("end", ";"),
    ("end", "transaction", ";"),
)


def without_own_transaction(
    up: tuple[Statement, ...], down: tuple[Statement, ...], path: str
) -> tuple[tuple[Statement, ...], tuple[Statement, ...], tuple[FileProblem, ...]]:
    """Both ways without a `BEGIN` and `COMMIT` around the whole of one, which the file's own transaction stands for."""
    advice: list[FileProblem] = []
    ways: list[tuple[Statement, ...]] = []
    for way in (up, down):
        if len(way) > 1 and sql.words(way[0].sql, 4) in _BEGINS and sql.words(way[-1].sql, 4) in _ENDS:
            message = "`BEGIN` and `COMMIT` around a file that runs as one transaction anyway"
            fix = "leave them out; a file that was applied with them stays as it is"
            advice.append(FileProblem(codes.TRANSACTION_CONTROL, message, path, way[0].line, _first_line(way[0]), fix))
            ways.append(way[1:-1])
        else:
            ways.append(way)
    return ways[0], ways[1], tuple(advice)


def together(part: Split, path: str) -> Iterator[FileProblem]:
    """Statements of a `NO TRANSACTION` file that goose sends in one message, and so in one transaction (DOD221)."""
    for statement, marked in zip(part.statements, part.marked, strict=True):
        if part.transactional or marked or _PLAIN.fullmatch(statement.sql):
            continue
        if (count := len(sql.statements(statement.sql))) > 1:
            message = f"goose sends these {count} statements at once, which makes them one transaction"
            fix = "give each statement of a `NO TRANSACTION` file lines of its own"
            yield FileProblem(codes.SPLIT_DIFFERS, message, path, statement.line, _first_line(statement), fix)


def _meaningful(part: Split) -> tuple[Statement, ...]:
    """Without blocks that hold only comments: goose sends them, and the server does nothing."""
    return tuple(statement for statement in part.statements if sql.words(statement.sql, 1))


def version_of(path: str) -> tuple[int, str]:
    """Version and name of a file: `20260214093000_add_email.sql` is (20260214093000, "add_email"); or DOD201."""
    base = path.rsplit("/", 1)[-1]
    number, underscore, rest = base.partition("_")
    if not underscore or not re.fullmatch(r"[+]?[0-9]+", number) or not 0 < int(number) < 2**63:
        message = f"`{base}` does not start with a version above 0 and `_`"
        raise FileError(FileProblem(codes.FILE_NAME, message, path))
    return int(number), rest.rpartition(".")[0]


_PLAIN = re.compile(r"(?!\s*copy\b)(?:(?!--|/\*|\batomic\b)[^;'\"$])*;", re.IGNORECASE)
"""One semicolon, at the end, and nothing that could hide another: both ways of splitting agree without looking."""


def disagreements(part: Split, path: str) -> Iterator[FileProblem]:
    """Where goose's line splitter cuts a statement that a real lexer would not (DOD221), and COPY data (DOD220)."""
    for statement, marked in zip(part.statements, part.marked, strict=True):
        if statement.sql.count("(") == statement.sql.count(")") and _PLAIN.fullmatch(statement.sql):
            continue
        if from_stdin(statement.sql):
            message = "`COPY ... FROM stdin` with data lines cannot stand in a goose file"
            yield FileProblem(codes.COPY_FROM_STDIN, message, path, statement.line, _first_line(statement))
        elif not marked and (cut := _cut(statement)):
            yield FileProblem(codes.SPLIT_DIFFERS, cut, path, statement.line, _first_line(statement))


def from_stdin(text: str) -> bool:
    """A `COPY ... FROM stdin`, whose data the client has to send."""
    found = sql.words(text, 10_000) if sql.words(text, 1) == ("copy",) else ()
    return ("from", "stdin") in pairwise(found)


def _cut(statement: Statement) -> str:
    spans = sql.statements(statement.sql)
    if not spans or not spans[-1].complete:
        return "goose cuts this statement at a `;` that is inside a body, quote or comment"
    return ""


def _first_line(statement: Statement) -> str:
    return statement.sql.partition("\n")[0].strip()[:200]


_DIRECTIVE = re.compile(r"^\s*(?:--|#)\s*dodai:\s*(?P<verb>\S+)\s*(?P<rest>.*?)\s*$", re.MULTILINE)
_EXPIRES = re.compile(r"\buntil\s+(\d{4}-\d{2}-\d{2})\b")


def directives(text: str, path: str) -> tuple[str, tuple[Accepted, ...]]:
    """`-- dodai: irreversible REASON` and `-- dodai: accept CODE REASON [until DATE]`; goose ignores both.

    `-- dodai: batch` is about one statement of an SQL file (see `batches`).
    """
    if "dodai:" not in text:
        return "", ()
    irreversible = ""
    accepted: list[Accepted] = []
    for directive in _DIRECTIVE.finditer(text):
        line = text.count("\n", 0, directive.start()) + 1
        rest = directive["rest"]
        code, _, reason = rest.partition(" ")
        if directive["verb"] == "irreversible" and rest:
            irreversible = rest
        elif directive["verb"] == "accept" and reason.strip():
            accepted.append(Accepted(code, reason.strip(), line, _expiry(reason)))
        elif directive["verb"] != "batch" or path.endswith(".py"):
            message = "a dodai directive is `irreversible REASON` or `accept CODE REASON`, and the reason is required"
            raise FileError(FileProblem(codes.DIRECTIVE, message, path, line, directive.group().strip()))
    return irreversible, tuple(accepted)


def _expiry(reason: str) -> date | None:
    match = _EXPIRES.search(reason)
    try:
        return date.fromisoformat(match[1]) if match else None
    except ValueError:
        return date.min
