"""A connection that the server has ended is DOD282 in every command, whichever question finds it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from tests.migrations.conftest import direct, up

from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.ports import MigrationTarget, Shadow, SqlConnection
from dodai.migrations.run.belonging import announce, mark, newest_token, owner, refuse
from dodai.providers.postgres.connection import connect

COMMANDS: dict[str, Callable[..., Any]] = {
    "up": lambda target, _: run.up(target),
    "up, which asks whose it is": lambda target, _: run.up(target, admit=lambda conn: conn.execute("SELECT 1")),
    "down": lambda target, _: run.down(target),
    "status": lambda target, _: run.status(target),
    "preview": lambda target, _: run.preview(target),
    "adopt": run.adopt,
    "adopt a squash": partial(run.adopt, baselines=["1"]),
    "repair": lambda target, _: run.repair(target, "1", reason="so"),
    "applied": lambda target, _: run.applied_ids(target),
    "whose it is": lambda target, _: owner(target),
    "not another's": lambda target, _: refuse(target, "production"),
    "mark": lambda target, _: mark(target, "production"),
    "announce": lambda target, _: announce(target, 7),
    "newest token": lambda target, _: newest_token(target),
}


@pytest.mark.parametrize("way", [connect, direct], ids=["psycopg", "libpq"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_session_that_the_server_has_ended(
    command: str,
    way: Callable[[str], SqlConnection],
    make_target: Callable[..., MigrationTarget],
    database: str,
    conn: SqlConnection,
    shadow: Shadow,
):
    """It was there when the command began."""
    target = make_target({"1_a.sql": up("CREATE TABLE a (b int);", down=("DROP TABLE a;",))})
    run.up(target)
    before = conn.execute("SELECT count(*) FROM dodai.migration_log").fetchone()

    def ended() -> SqlConnection:
        opened = way(database)
        conn.execute("SELECT pg_terminate_backend(%s, 10000)", [opened.info.backend_pid])
        return opened

    with pytest.raises(DodaiError) as caught:
        COMMANDS[command](replace(target, connect=ended), shadow)
    assert (caught.value.code.id, caught.value.exit_code, caught.value.fault) == ("DOD282", 4, "provider")
    assert conn.execute("SELECT count(*) FROM dodai.migration_log").fetchone() == before
