"""What a database hears of the locks granted on its environment, whoever holds them and wherever they are kept."""

from __future__ import annotations

from dodai.migrations import fence, ledger
from dodai.migrations.apply import readable
from dodai.migrations.ports import MigrationTarget

_PATIENCE = "SET lock_timeout = '3s'; SET statement_timeout = '8s'"
"""Whoever grants a lock waits for the answer."""


def announce(target: MigrationTarget, token: int) -> None:
    """From now on migrations under an older token change nothing there, and a runner that has one is ended.

    Raises what `target.connect` raises, DOD284 when the role may not write there, and DOD351 when the database has seen
    a newer token already.
    """
    conn = target.connect()
    try:
        conn.autocommit = True
        conn.execute(_PATIENCE)
        readable(lambda: fence.advance(conn, ledger.locate(conn, target.policy, target.tool).name, token))
    finally:
        conn.close()


def newest_token(target: MigrationTarget) -> int:
    """The newest token the database has seen, 0 when none: a control database that was restored may have forgotten."""
    with target.reading() as conn:
        return readable(lambda: fence.newest(conn, ledger.locate(conn, target.policy, target.tool).name))
