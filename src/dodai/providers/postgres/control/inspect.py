"""A control database as somebody sees it who changes nothing: not even what dodai makes when it first comes."""

from __future__ import annotations

import os
import time
from dataclasses import field
from typing import Any

import psycopg

from dodai.core.database_url import refuse_unfit
from dodai.core.dataclass import dataclass
from dodai.engine.journal import Head
from dodai.providers.postgres.connection import connect, parameters
from dodai.providers.postgres.control.control_connection import SCHEMA_VERSION
from dodai.providers.postgres.control.lease_table import LeaseState, standing_of

TIMEOUT_S = 3


@dataclass(frozen=True, slots=True)
class ControlState:
    """`schema` 0: dodai was never here. `offset_s`: this machine is so much ahead. `copied`: its hash of `copy.seq`."""

    server: str
    offset_s: float
    schema: int = 0
    head: Head = field(default_factory=Head)
    copied: str = ""
    holder: LeaseState | None = None

    @property
    def newer(self) -> bool:
        """Whether a newer dodai has been here."""
        return self.schema > SCHEMA_VERSION


def look(dsn: str, env: str, copy: Head) -> ControlState:
    """What the control database says of `env`, in one read-only session; `copy` is the head of the copy here.

    Raises DOD784 and DOD785 when it does not answer, DOD067 and DOD066 for an address unfit for locks.
    """
    refuse_unfit(parameters(dsn), os.environ)
    with connect(dsn, application_name="dodai doctor", autocommit=True, timeout_s=TIMEOUT_S) as connection:
        connection.execute("SET default_transaction_read_only = on")
        began = time.time()
        seconds = _one(connection, "SELECT extract(epoch FROM clock_timestamp())::float8")
        seen = ControlState(_one(connection, "SHOW server_version"), (began + time.time()) / 2 - seconds)
        if _one(connection, "SELECT to_regclass('dodai.control_version')") is None:
            return seen
        newest = connection.execute(
            "SELECT seq, hash FROM dodai.control_event WHERE env = %s ORDER BY seq DESC LIMIT 1", (env,)
        ).fetchone()
        copied = connection.execute(
            "SELECT hash FROM dodai.control_event WHERE env = %s AND seq = %s", (env, copy.seq)
        ).fetchone()
        return ControlState(
            seen.server,
            seen.offset_s,
            _one(connection, "SELECT coalesce(max(version), 0) FROM dodai.control_version"),
            Head(*newest) if newest else Head(),
            copied[0] if copied else "",
            standing_of(connection, env),
        )


def size_bytes(dsn: str) -> int:
    """What all databases of the server take, and so about a restore point."""
    with connect(dsn, application_name="dodai doctor", autocommit=True, timeout_s=TIMEOUT_S) as connection:
        return int(_one(connection, "SELECT sum(pg_database_size(oid))::bigint FROM pg_database"))


def server_version(dsn: str) -> int:
    """The major version of the server at `dsn`."""
    with connect(dsn, application_name="dodai doctor", autocommit=True, timeout_s=TIMEOUT_S) as connection:
        return connection.info.server_version // 10_000


def _one(connection: psycopg.Connection[Any], query: Any) -> Any:
    row = connection.execute(query).fetchone()
    return row[0] if row else None
