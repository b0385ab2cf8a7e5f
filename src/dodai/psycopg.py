"""psycopg connections whose statements are counted in the request's line, with the limits of `[dependency.NAME]`.

`AsyncConnectionPool(url, connection_class=dodai.psycopg.AsyncConnection, kwargs=dodai.psycopg.options("database"))`,
and `async with dodai.psycopg.connection(pool) as connection:` wherever one is needed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from time import perf_counter
from typing import Any, ClassVar, TypeVar
from zlib import crc32

import psycopg
from psycopg.rows import tuple_row

from dodai.core.line import Outcome
from dodai.core.request import RequestContext, current
from dodai.migrations.enforce import SchemaReadiness, answer, no_ledger, question, required_of, unasked
from dodai.migrations.policy import MigrationsPolicy
from dodai.observability.line_format import error_name
from dodai.runtime import Runtime, RuntimeConfig
from dodai.runtime.calls import record_call
from dodai.runtime.limits import CircuitBreaker, DependencyUnavailableError
from dodai.runtime.sql_statement import operation_of, statement_of

__all__ = [
    "AsyncConnection",
    "Connection",
    "DependencyUnavailableError",
    "SchemaReadiness",
    "connection",
    "connection_sync",
    "options",
    "schema_ready",
    "schema_ready_sync",
]

_T = TypeVar("_T")
_LENDING: ContextVar[bool] = ContextVar("dodai_lending", default=False)
"""Whether a pool tries its connections for somebody who asked for one."""
_PATIENCE_S = 0.1
"""A pool pauses for a second after its second broken connection: who finds out asks it anew after so long."""
_MARGIN_S = 0.02
"""A statement ends this long before its request's deadline, so that there is time to say so."""
_CANCEL_S = 0.25
"""How long a server may take to cancel a statement that was given up, before the connection is closed."""
_TIMEOUTS = ("57014", "55P03", "25P03")
"""query_canceled, lock_not_available, idle_in_transaction_session_timeout (PostgreSQL appendix A)."""
_NO_LEDGER = ("42P01", "3F000")
"""undefined_table, invalid_schema_name: nothing was ever applied."""
_SERVER_CLASSES = ("08", "53", "57", "58", "XX")
"""Connection, resources, operator intervention, system and internal errors: the database's own failures."""


class _Watched:
    """How both kinds of connection count: every statement passes `wait`, whatever cursor it came from."""

    dependency: ClassVar[str] = "database"

    def _begin(self, operation: str) -> CircuitBreaker:
        """The limits for a statement the breaker lets through; a rollback always is. `DependencyUnavailableError`."""
        guard = Runtime.current().guard(self.dependency)
        if operation and not _LENDING.get():
            guard.enter(part=True)
        return guard

    def _end(
        self,
        context: RequestContext,
        started: float,
        operation: str,
        text: bytes,
        error: BaseException | None,
    ) -> None:
        seconds = perf_counter() - started
        if operation or error is not None:
            down = _is_down(error) if error is not None else False
            if not _LENDING.get():
                Runtime.current().guard(self.dependency).leave(failed=down)
        if not operation:
            context.db_ms += seconds * 1000.0
            return
        fields = {"operation": operation, "statement": f"{crc32(text):08x}"}
        if error is not None:
            fields["error"] = error_name(error)
        record_call(
            Runtime.current(),
            context,
            "sql",
            dependency=self.dependency,
            span_id=context.next_span_id(),
            seconds=seconds,
            outcome=_outcome(error, context),
            **fields,
        )


class AsyncConnection(_Watched, psycopg.AsyncConnection[Any]):
    """A connection whose statements are in the totals of the request that runs them, and end with the first deadline.

    That of `[dependency.NAME]` holds for each statement, that of the request for all of them together. While the
    breaker of `[dependency.NAME]` is open, a statement is refused with `DependencyUnavailableError`.
    """

    async def wait(self, gen: Generator[Any, Any, _T], *args: Any, **kwargs: Any) -> _T:
        context = current()
        if context is None:
            return await super().wait(gen, *args, **kwargs)
        text = statement_of(gen)
        operation = operation_of(text)
        left_s = _left_s(self._begin(operation), context)
        started = perf_counter()
        error: BaseException | None = None
        try:
            if left_s is None:
                return await super().wait(gen, *args, **kwargs)
            # psycopg asks the server to cancel what it gives up, and would wait ten seconds for a dead one to say yes
            async with asyncio.timeout(left_s + _CANCEL_S), asyncio.timeout(left_s):
                return await super().wait(gen, *args, **kwargs)
        except BaseException as caught:
            error = caught
            raise
        finally:
            self._end(context, started, operation, text or b"", error)


class Connection(_Watched, psycopg.Connection[Any]):
    """The same for threads; a statement ends with `statement_timeout`, not with the request's deadline."""

    def wait(self, gen: Generator[Any, Any, _T], *args: Any, **kwargs: Any) -> _T:
        context = current()
        if context is None:
            return super().wait(gen, *args, **kwargs)
        text = statement_of(gen)
        operation = operation_of(text)
        self._begin(operation)
        started = perf_counter()
        error: BaseException | None = None
        try:
            return super().wait(gen, *args, **kwargs)
        except BaseException as caught:
            error = caught
            raise
        finally:
            self._end(context, started, operation, text or b"", error)


@asynccontextmanager
async def connection(pool: Any, dependency: str = "database") -> AsyncIterator[Any]:
    """A connection of the asynchronous `pool`, waited for no longer than it, `[dependency.NAME]` and the request allow.

    Raises `DependencyUnavailableError` (503 where nobody handles it) at once while the breaker is open, so that a
    database that is down does not keep every request waiting for the pool; `TimeoutError` when the pool only had
    connections that do not answer its `check`; what `pool.connection` raises otherwise.
    """
    lending = _Lending(pool, dependency)
    try:
        # The pool's own timeout is for waiting: its check comes on top and may take as long as a statement. Ours is a
        # little later, so that a pool which had nothing to lend says so itself.
        bound_s = lending.timeout_s + _CANCEL_S
        async with asyncio.timeout(bound_s + _CANCEL_S), asyncio.timeout(bound_s):
            lent = await lending.ask(pool)
        lending.lent()
    except BaseException as error:
        lending.failed(error)
        raise
    try:
        async with lent:
            yield lent
    finally:
        await pool.putconn(lent)


@contextmanager
def connection_sync(pool: Any, dependency: str = "database") -> Iterator[Any]:
    """`connection` for threads; only the limits of `options` end the pool's check of a connection that went silent."""
    lending = _Lending(pool, dependency)
    try:
        lent = lending.ask_sync(pool)
        lending.lent()
    except BaseException as error:
        lending.failed(error)
        raise
    try:
        with lent:
            yield lent
    finally:
        pool.putconn(lent)


class _Lending:
    """One request to a pool; made when it is let through. That the pool had a connection says nothing yet about the
    database: the statements on it do. `_tries`: the breaker is open, and this is the call that finds out.
    """

    def __init__(self, pool: Any, dependency: str) -> None:
        self._runtime = Runtime.current()
        self._runtime.pools[pool] = dependency
        self._guard = self._runtime.guard(dependency)
        self._guard.enter()
        self._tries = self._guard.is_open
        self._context = current()
        self._started = perf_counter()
        left_s = _left_s(self._guard, self._context)
        self.timeout_s: float = pool.timeout if left_s is None else min(left_s, pool.timeout)

    async def ask(self, pool: Any) -> Any:
        """A connection; what the pool meets on broken ones before says nothing to the breaker."""
        token = _LENDING.set(True)
        try:
            while self._asks_again():
                with suppress(psycopg.OperationalError):
                    return await pool.getconn(_PATIENCE_S)
            return await pool.getconn(self._left_s())
        finally:
            _LENDING.reset(token)

    def ask_sync(self, pool: Any) -> Any:
        """The same for threads."""
        token = _LENDING.set(True)
        try:
            while self._asks_again():
                with suppress(psycopg.OperationalError):
                    return pool.getconn(_PATIENCE_S)
            return pool.getconn(self._left_s())
        finally:
            _LENDING.reset(token)

    def _asks_again(self) -> bool:
        """Whoever finds out asks the pool again and again, the last time with all the patience that is left.

        Of ten connections that broke, a pool would show three and give up, and the next to find out is seconds away.
        """
        return self._tries and self._left_s() > 2 * _PATIENCE_S

    def _left_s(self) -> float:
        return max(_PATIENCE_S, self.timeout_s - (perf_counter() - self._started))

    def lent(self) -> None:
        """Note how long the request waited for its connection."""
        if self._context is not None:
            self._context.pool_wait_ms += (perf_counter() - self._started) * 1000.0

    def failed(self, error: BaseException) -> None:
        """Count a pool that had no connection in time as the database's failure, in breaker and line."""
        self._guard.leave(failed=_is_down(error))
        if self._context is not None:
            record_call(
                self._runtime,
                self._context,
                "sql",
                dependency=self._guard.dependency,
                span_id=self._context.next_span_id(),
                seconds=perf_counter() - self._started,
                outcome="timeout" if type(error).__name__ == "PoolTimeout" else _outcome(error, self._context),
                operation="CONNECT",
                error=error_name(error),
            )


def options(
    dependency: str = "database", *, pooler: bool = False, config: RuntimeConfig | None = None
) -> dict[str, Any]:
    """Keyword arguments for `connect` from `[dependency.NAME]`: connect timeout, statement timeout, TCP user timeout.

    A transaction pooler refuses start-up options; with `pooler=True` the statement timeout is left to the role
    (`ALTER ROLE … SET statement_timeout`) and to the request's deadline. Empty without such a table in the manifest.
    """
    limits = Runtime.of(config).config.dependency(dependency)
    arguments: dict[str, Any] = {}
    if (connect_s := limits.get("connect_timeout")) is not None:
        arguments["connect_timeout"] = max(1, round(connect_s))
    if (deadline_s := limits.get("deadline")) is not None:
        # A half-open connection is noticed no later than the deadline, not after the kernel's quarter of an hour.
        arguments["tcp_user_timeout"] = round(deadline_s * 1000)
    if (statement_s := limits.get("statement_timeout")) is not None and not pooler:
        arguments["options"] = f"-c statement_timeout={round(statement_s * 1000)}"
    return arguments


async def schema_ready(source: Any, *, timeout_s: float = 1.0) -> SchemaReadiness:
    """True when every migration in `DODAI_REQUIRED_SCHEMA` is applied; its `detail` (DOD255) says what is missing.

    `source` is an asynchronous pool or connection. Once true it stays true and asks no more. Never raises for a
    database that does not answer within `timeout_s` seconds: that is not ready.
    """
    runtime, required = Runtime.current(), _required()
    if not required or source in runtime.migrated:
        return SchemaReadiness()
    lent = source.connection(timeout_s) if hasattr(source, "getconn") else nullcontext(source)
    try:
        async with (
            asyncio.timeout(timeout_s + _CANCEL_S),
            asyncio.timeout(timeout_s),
            lent as connection,
            connection.transaction(),
            connection.cursor(row_factory=tuple_row) as cursor,
        ):
            await cursor.execute(_question(), prepare=False)
            found = answer(required, await cursor.fetchall())
    except (psycopg.Error, OSError) as error:
        return _not_ready(required, error)
    if found:
        runtime.migrated.add(source)
    return found


def schema_ready_sync(source: Any, *, timeout_s: float = 1.0) -> SchemaReadiness:
    """`schema_ready` for threads: `source` is a pool or connection of theirs."""
    runtime, required = Runtime.current(), _required()
    if not required or source in runtime.migrated:
        return SchemaReadiness()
    lent = source.connection(timeout_s) if hasattr(source, "getconn") else nullcontext(source)
    try:
        with lent as connection, connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {round(timeout_s * 1000)}", prepare=False)
            cursor.execute(_question(), prepare=False)
            found = answer(required, cursor.fetchall())
    except (psycopg.Error, OSError) as error:
        return _not_ready(required, error)
    if found:
        runtime.migrated.add(source)
    return found


def _required() -> frozenset[str]:
    return required_of(Runtime.current().config.required_schema)


def _question() -> str:
    section = Runtime.current().config.sections.get("migrations")
    return question(MigrationsPolicy.from_manifest(section) if section else MigrationsPolicy())


def _not_ready(required: frozenset[str], error: Exception) -> SchemaReadiness:
    if getattr(error, "sqlstate", None) in _NO_LEDGER:
        return no_ledger(required)
    return unasked(required, error_name(error))  # the message may name hosts and users, and /readyz is read by anybody


def _left_s(guard: CircuitBreaker, context: RequestContext | None) -> float | None:
    """How long what begins now may take: the dependency's deadline or the request's, whichever ends first."""
    bounds = []
    if guard.deadline_s is not None:
        bounds.append(max(guard.deadline_s / 2, guard.deadline_s - _CANCEL_S))
    if context is not None and context.deadline is not None:
        bounds.append(max(0.0, context.deadline - time.monotonic() - _MARGIN_S))
    return min(bounds) if bounds else None


def _is_down(error: BaseException) -> bool | None:
    """True when the database did not answer, or could not; a statement it timed out or refused itself is an answer.

    None for a statement that was given up, which says nothing about the database.
    """
    if not isinstance(error, Exception):
        return None
    state = getattr(error, "sqlstate", None)
    if state is None:
        return isinstance(error, psycopg.OperationalError | OSError)
    return state not in _TIMEOUTS and state.startswith(_SERVER_CLASSES)


def _outcome(error: BaseException | None, context: RequestContext) -> Outcome:
    if error is None:
        return "ok"
    if isinstance(error, asyncio.CancelledError):
        # a server that cancels at the deadline may be faster than our own timeout
        left = None if context.deadline is None else context.deadline - time.monotonic()
        return "timeout" if left is not None and left <= _MARGIN_S else "client_gone"
    if isinstance(error, TimeoutError):
        return "timeout"
    state = getattr(error, "sqlstate", None)
    if state in _TIMEOUTS:
        return "timeout"
    if state is None or state.startswith(_SERVER_CLASSES):
        return "server_error"
    return "client_error"
