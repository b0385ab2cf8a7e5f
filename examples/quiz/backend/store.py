"""The database, one function per thing the service needs; the SQL stands in queries/, one statement per file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, AsyncRawCursor
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

import dodai.psycopg
from backend.rules import Draft

Row = dict[str, Any]
Pool = AsyncConnectionPool[AsyncConnection[Row]]


def read_queries() -> Mapping[str, str]:
    """Every statement of queries/ by its file name."""
    return {path.stem: path.read_text("utf-8") for path in (Path(__file__).parent / "queries").glob("*.sql")}


class Store:
    """What is stored. Every call takes one connection, one transaction, and gives both back."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = read_queries()

    async def list_questions(self, lang: str, topic: str, user: str | None) -> list[Row]:
        return await self._all("list_questions", lang, topic, user)

    async def get_question(self, question: int, user: str | None) -> Row | None:
        return await self._one("get_question", question, user, False)

    async def next_question(self, lang: str, after: int, user: str | None) -> int | None:
        row = await self._one("next_question", lang, after, user)
        return row["id"] if row else None

    async def answer(self, attempt: UUID, question: int, position: int, user: str | None) -> tuple[Row, Row] | None:
        """The answer stored for an attempt, now or before, and its question; None: no such choice.

        The question comes along even if its author deletes it at this moment: what is stored is answered for.
        """
        async with self._transaction() as connection:
            stored = await self._run(connection, "insert_answer", attempt, question, position, user)
            stored = stored or await self._run(connection, "get_answer", attempt)
            if not stored or stored[0]["question_id"] != question:
                return None
            (asked,) = await self._run(connection, "get_question", question, user, True)
            return stored[0], asked

    async def create_question(self, draft: Draft, author: str) -> int:
        async with self._transaction() as connection:
            texts = (draft.lang, draft.topic, draft.prompt, draft.explanation)
            rows = await self._run(connection, "insert_question", *texts, author)
            question: int = rows[0]["id"]
            await self._run(connection, "put_choices", question, list(draft.choices), draft.correct)
            return question

    async def update_question(self, question: int, draft: Draft, author: str) -> None:
        async with self._transaction() as connection:
            texts = (draft.lang, draft.topic, draft.prompt, draft.explanation)
            if await self._run(connection, "update_question", question, *texts, author):
                await self._run(connection, "clear_correct", question)
                await self._run(connection, "put_choices", question, list(draft.choices), draft.correct)

    async def delete_question(self, question: int, author: str) -> None:
        await self._one("delete_question", question, author)

    async def author_of(self, question: int) -> tuple[bool, str | None]:
        """Whether the question exists, and who wrote it (None: it came with the application)."""
        row = await self._one("get_author", question)
        return (True, row["author_id"]) if row else (False, None)

    async def star(self, user: str, question: int, *, starred: bool) -> None:
        await self._one("insert_star" if starred else "delete_star", user, question)

    async def my_page(self, user: str) -> tuple[str, Row, list[Row], list[Row], list[Row], list[Row]]:
        """Name, totals, days, past answers, own and starred questions, all of one moment."""
        async with self._transaction() as connection:
            named = await self._run(connection, "get_name", user)
            total = await self._run(connection, "my_total", user)
            days = await self._run(connection, "my_days", user)
            past = await self._run(connection, "my_past", user)
            mine = await self._run(connection, "my_questions", user, "mine")
            starred = await self._run(connection, "my_questions", user, "starred")
            return (named[0]["name"] if named else ""), total[0], days, past, mine, starred

    async def save_name(self, user: str, name: str) -> None:
        await self._one("put_name", user, name)

    async def clear_history(self, user: str) -> None:
        await self._one("clear_history", user)

    async def report(self, question: int, reason: str, user: str | None) -> bool:
        """Whether there is such a question to report."""
        return await self._one("insert_report", question, reason, user) is not None

    async def decide(self, report: int, decision: str) -> str | None:
        """The decision that stands for a report after this one was offered; None: no such report."""
        async with self._transaction() as connection:
            rows = await self._run(connection, "decide_report", report, decision)
            if not rows:
                return None
            if rows[0]["decision"] == "withdraw":
                await self._run(connection, "withdraw_question", rows[0]["question_id"])
            return str(rows[0]["decision"])

    async def ping(self) -> None:
        await self._one("ping")

    async def _one(self, query: str, *values: Any) -> Row | None:
        rows = await self._all(query, *values)
        return rows[0] if rows else None

    async def _all(self, query: str, *values: Any) -> list[Row]:
        async with self._transaction() as connection:
            return await self._run(connection, query, *values)

    async def _run(self, connection: AsyncConnection[Row], query: str, *values: Any) -> list[Row]:
        async with AsyncRawCursor(connection, row_factory=dict_row) as cursor:
            await cursor.execute(self._sql[query], _values(values))
            return await cursor.fetchall() if cursor.description else []

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection[Row]]:
        async with dodai.psycopg.connection(self._pool) as connection:
            yield connection


def _values(values: Sequence[Any]) -> Sequence[Any] | None:
    return values or None
