"""One connection to the control database: opened late, opened again after a restart, its failures coded."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import field, replace
from typing import Any, LiteralString, TypeVar

import psycopg

from dodai.core import proposal
from dodai.core.database_url import refuse_unfit
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine import codes
from dodai.providers.postgres.connection import address, connect, failure, is_broken, parameters

T = TypeVar("T")
PATIENCE_S = 5.0
STATEMENT_TIMEOUT_MS = 10_000
IDLE_TIMEOUT_MS = 30_000
"""A holder that is paused in the middle of a transaction keeps its row locks no longer than this."""
SETUP_LOCK = 0x646F_6461_6900
SCHEMA_VERSION = 3
SCHEMA: tuple[LiteralString, ...] = (
    "CREATE SCHEMA IF NOT EXISTS dodai",
    "CREATE TABLE IF NOT EXISTS dodai.control_version (version integer PRIMARY KEY)",
    """CREATE TABLE IF NOT EXISTS dodai.control_lease (
      env text PRIMARY KEY, token bigint NOT NULL, holder text, granted_at timestamptz, expires_at timestamptz)""",
    """CREATE TABLE IF NOT EXISTS dodai.control_plan (
      plan_id text PRIMARY KEY, env text NOT NULL, plan_hash text NOT NULL, steps text NOT NULL, request text NOT NULL,
      manifest bytea NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS dodai.control_event (
      env text NOT NULL, seq bigint NOT NULL, plan_id text NOT NULL REFERENCES dodai.control_plan,
      step_id text NOT NULL, kind text NOT NULL, at text NOT NULL, token bigint NOT NULL, data text NOT NULL,
      prev_hash text NOT NULL, hash text NOT NULL, PRIMARY KEY (env, seq))""",
    "CREATE INDEX IF NOT EXISTS control_event_by_plan ON dodai.control_event (plan_id, seq)",
    # The newest record once more: a journal that lost its tail is noticed on a machine that has no copy of it.
    "CREATE TABLE IF NOT EXISTS dodai.control_head (env text PRIMARY KEY, seq bigint NOT NULL, hash text NOT NULL)",
    """INSERT INTO dodai.control_head SELECT DISTINCT ON (env) env, seq, hash FROM dodai.control_event
      ORDER BY env, seq DESC ON CONFLICT DO NOTHING""",
    """CREATE OR REPLACE FUNCTION dodai.control_refuse() RETURNS trigger LANGUAGE plpgsql
      AS $$BEGIN RAISE EXCEPTION 'append only'; END$$""",
    """CREATE OR REPLACE TRIGGER control_plan_final BEFORE UPDATE OR DELETE ON dodai.control_plan
      FOR EACH ROW EXECUTE FUNCTION dodai.control_refuse()""",
    """CREATE OR REPLACE TRIGGER control_event_final BEFORE UPDATE OR DELETE ON dodai.control_event
      FOR EACH ROW EXECUTE FUNCTION dodai.control_refuse()""",
    # Where the processes of the environment are, so that no second place serves under its name.
    "ALTER TABLE dodai.control_lease ADD COLUMN IF NOT EXISTS place text",
    "INSERT INTO dodai.control_version VALUES (3) ON CONFLICT DO NOTHING",
)


@dataclass(slots=True)
class ControlConnection:
    """A connection for one thread at a time, made when it is first needed.

    `run` tries again after a restart of the server, within `patience_s`; one that never answered is told at once.
    Raises DOD376 when the control database does not answer, DOD067 and DOD066 for an address unfit for locks.
    """

    dsn: str = field(repr=False)
    env: str
    patience_s: float = PATIENCE_S
    _connection: psycopg.Connection[Any] | None = field(default=None, init=False, repr=False)
    _answered: bool = field(default=False, init=False, repr=False)
    _alone: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)

    def run(self, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        """What `work` returns. It is called again after a lost connection, so it must find out what became of it."""
        deadline = time.monotonic() + (self.patience_s if self._answered else 0.0)
        with self._alone:
            while True:
                try:
                    return work(self._open())
                except psycopg.Error as error:
                    lost = self._connection is None or self._connection.closed or is_broken(error)
                    self.close()
                    if not lost or time.monotonic() > deadline:
                        raise self.unavailable(error) from error
                except DodaiError as error:
                    if error.fault != "provider" or time.monotonic() > deadline:
                        raise self.refused(error) from error
                time.sleep(0.1)

    def close(self) -> None:
        with self._alone:
            if self._connection is not None:
                with contextlib.suppress(psycopg.Error):
                    self._connection.close()
                self._connection = None

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            refuse_unfit(parameters(self.dsn), os.environ)
            self._connection = connect(
                self.dsn, application_name=f"dodai control {self.env}", autocommit=True, timeout_s=5
            )
            try:
                _settle(self._connection)
                _prepare(self._connection, self.env, self.dsn)
            except BaseException:
                self.close()
                raise
            self._answered = True
        return self._connection

    def unavailable(self, error: psycopg.Error) -> DodaiError:
        known = failure(error, self.dsn)
        what = known.message if known else f"`{address(self.dsn)}` refused: {error.diag.message_primary or error}"
        return self._lost(what, known.details if known else ())

    def refused(self, error: DodaiError) -> DodaiError:
        if error.code.id in ("DOD784", "DOD785"):
            return self._lost(error.message, error.details)
        return error

    def _lost(self, what: str, details: tuple[str, ...]) -> DodaiError:
        return DodaiError(
            codes.CONTROL_UNAVAILABLE,
            f"the control database of `{self.env}` cannot be used: {what}",
            f"bring it back, or correct `control_url` in `[env.{self.env}]`; nothing more is changed without it",
            fault="provider",
            exit_code=1,
            details=details,
        )


def _settle(connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false),"
        " set_config('idle_in_transaction_session_timeout', %s, false), set_config('synchronous_commit', 'on', false)",
        (str(STATEMENT_TIMEOUT_MS), str(STATEMENT_TIMEOUT_MS), str(IDLE_TIMEOUT_MS)),
    )


def _prepare(connection: psycopg.Connection[Any], env: str, dsn: str) -> None:
    """Make schema and lock row where they are missing, one process at a time; nothing is written when all is there."""
    there = connection.execute("SELECT to_regclass('dodai.control_version')").fetchone()
    if not there or there[0] is None or _version(connection) < SCHEMA_VERSION:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (SETUP_LOCK,))
            for statement in SCHEMA:
                connection.execute(statement)
    version = _version(connection)
    if version > SCHEMA_VERSION:
        raise DodaiError(
            codes.JOURNAL_NEWER,
            f"the control database `{address(dsn)}` has schema {version}, this dodai knows {SCHEMA_VERSION}",
            "install the newer dodai",
            exit_code=1,
        )
    known = connection.execute("SELECT 1 FROM dodai.control_lease WHERE env = %s", (env,)).fetchone()
    if known is None:
        connection.execute("INSERT INTO dodai.control_lease (env, token) VALUES (%s, 0) ON CONFLICT DO NOTHING", (env,))


def _version(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT coalesce(max(version), 0) FROM dodai.control_version").fetchone()
    return int(row[0]) if row else 0


@contextlib.contextmanager
def knowing_better(env: str) -> Iterator[None]:
    """A broken copy (DOD353) is no loss where the control database is whole: say how it is made anew."""
    try:
        yield
    except DodaiError as error:
        if error.code is not codes.JOURNAL_BROKEN:
            raise
        fix = f"`{proposal.TRUST_DATABASE(env=env)}` keeps it aside and makes it anew from the control database"
        raise replace(error, fix=fix) from error
