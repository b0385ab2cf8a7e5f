"""`-- dodai: batch TABLE KEY SIZE`: the statement that follows runs in ranges of a key, each committed for itself.

Whoever runs the file without dodai runs the statement as it stands, in one go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from dodai.migrations import codes, sql
from dodai.migrations.migration import BatchDirective, FileError, FileProblem, Statement

_BATCH = re.compile(r"^\s*--\s*dodai:\s*batch\b(?P<rest>[^\n]*)$", re.MULTILINE)
_NAME = r'(?:\w+|"[^"]+")'
_WORDS = re.compile(rf"\s+(?P<table>{_NAME}(?:\.{_NAME})?)\s+(?P<key>{_NAME}(?:\.{_NAME})?)\s+(?P<size>\d+)\s*")
LARGEST = 1_000_000


def in_batches(
    statements: tuple[Statement, ...], text: str, path: str, *, transactional: bool
) -> tuple[Statement, ...]:
    """`statements` of `text`, those behind a directive with their batch; raises `FileError` (DOD225).

    Only a file whose statements commit one by one can have any, and only UPDATE and DELETE can be cut into ranges.
    """
    found = tuple(_batches(text, path)) if "dodai:" in text else ()
    for batch in found:
        at = next((n for n, each in enumerate(statements) if each.line > batch.line), None)
        wrong = (
            "no statement follows it" if at is None
            else "each batch is a transaction of its own, and the file is to be one" if transactional
            else _unfit(statements[at])
        )  # fmt: skip
        if at is None or wrong:
            raise FileError(FileProblem(codes.DIRECTIVE, wrong, path, batch.line, _FORM))
        statements = (*statements[:at], replace(statements[at], batch=batch), *statements[at + 1 :])
    return statements


_FORM = "-- dodai: batch TABLE KEY SIZE"


def _batches(text: str, path: str) -> Iterator[BatchDirective]:
    for directive in _BATCH.finditer(text):
        line = text.count("\n", 0, directive.start()) + 1
        said = _WORDS.fullmatch(directive["rest"])
        if said is None or not 0 < int(said["size"]) <= LARGEST:
            message = f"a batch is `{_FORM}` with at most {LARGEST} rows"
            raise FileError(FileProblem(codes.DIRECTIVE, message, path, line, directive.group().strip()))
        yield BatchDirective(said["table"], said["key"], int(said["size"]), line)


def _unfit(statement: Statement) -> str:
    words = sql.words(statement.sql, 1)
    if words not in (("update",), ("delete",)) or len(sql.statements(statement.sql)) != 1:
        return "only one UPDATE or DELETE can be run in batches"
    if any(token.text.lower() == "returning" for token in sql.outermost(statement.sql)):
        return "a statement with RETURNING cannot be run in batches"
    return ""
