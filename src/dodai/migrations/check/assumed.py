"""Extensions that the server of `check` lacks and production has: passed over, and said so."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from dodai.migrations import sql
from dodai.migrations.migration import Migration, Statement

_ABOUT = (("create", "extension"), ("alter", "extension"), ("drop", "extension"), ("comment", "on", "extension"))
_OPTIONAL = ("if", "not", "exists")


def without(migrations: Iterable[Migration], extensions: Collection[str]) -> tuple[Migration, ...]:
    """The migrations without their statements about `extensions`; lines keep their numbers."""
    return tuple(
        replace(each, up=tuple(_kept(each.up, extensions)), down=tuple(_kept(each.down, extensions)))
        for each in migrations
    )


def assumed_by(migrations: Iterable[Migration], extensions: Collection[str]) -> tuple[str, ...]:
    """Those of `extensions` that a statement of `migrations` is about."""
    spans = (span.text for each in migrations for statement in each.up for span in sql.statements(statement.sql))
    return tuple(sorted({name for text in spans if (name := _extension(text)) in extensions}))


def _kept(statements: Iterable[Statement], extensions: Collection[str]) -> Iterator[Statement]:
    for statement in statements:
        text = statement.sql
        for span in sql.statements(text) if "extension" in text.lower() else ():
            if _extension(span.text) in extensions:
                text = text.replace(span.text, "\n" * span.text.count("\n"), 1)
        if text == statement.sql:
            yield statement
        elif text.strip():
            yield replace(statement, sql=text)


def _extension(text: str) -> str:
    """The extension that a statement is about; "" for all others."""
    words = sql.words(text, 10)
    about = next((begin for begin in _ABOUT if words[: len(begin)] == begin), ())
    named = [word for word in words[len(about) :] if word not in _OPTIONAL]
    return named[0].strip('"') if about and named else ""
