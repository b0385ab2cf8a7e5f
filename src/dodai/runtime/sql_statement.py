"""A statement as psycopg is about to send it: its text, and the verb that a line says of it."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

_STATEMENTS = frozenset(
    {
        "_execute_gen",
        "_executemany_gen_pipeline",
        "_executemany_gen_no_pipeline",
        "_declare_gen",
        "_stream_send_gen",
        "_start_copy_gen",
    }
)
"""The generators that carry a statement; commit, rollback and fetch are others, whose time counts all the same."""
_VERB = re.compile(rb"\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*([A-Za-z]+)", re.DOTALL)
_VERBS = frozenset(
    re.findall(
        "[A-Z]+",
        "SELECT INSERT UPDATE DELETE WITH MERGE VALUES COPY CALL DO BEGIN COMMIT ROLLBACK SAVEPOINT RELEASE SET SHOW"
        " LOCK LISTEN NOTIFY CREATE ALTER DROP TRUNCATE EXPLAIN REFRESH VACUUM ANALYZE",
    )
)


def statement_of(gen: Generator[Any, Any, Any]) -> bytes | None:
    """The text of the statement that `gen` will run, empty where it cannot be seen; None for what is no statement."""
    if getattr(gen, "__name__", "") not in _STATEMENTS:
        return None
    frame = getattr(gen, "gi_frame", None)
    query = frame.f_locals.get("query", frame.f_locals.get("statement")) if frame is not None else None
    text = query.encode("utf-8", "replace") if isinstance(query, str) else query
    return text if isinstance(text, bytes) else b""


def operation_of(text: bytes | None) -> str:
    """The verb of a statement, OTHER for an unknown one; empty for what is no statement."""
    if text is None:
        return ""
    match = _VERB.match(text[:500])
    verb = match.group(1).decode("ascii").upper() if match else ""
    return verb if verb in _VERBS else "OTHER"
