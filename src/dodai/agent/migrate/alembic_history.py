"""Alembic's revisions, run one at a time through the user's own env.py.

Alembic is the user's and is loaded by name: this package itself needs nothing but the standard library.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from . import failure
from .session import Session


class History:
    """One conversation about the revisions of an alembic.ini; each run makes its connections anew, in env.py."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self.session = Session(request)
        if request["do"] == "run":
            _listen(self.session)

    def run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run one revision in one direction; the answer says what the session saw and what failed."""
        self.session.begin(request)
        try:
            _one_step(request)
        except BaseException as error:  # noqa: BLE001 - SystemExit of an env.py is an answer too
            return self.session.answer(failure(error))
        gc.collect()  # an engine that env.py let go of gives its connections back
        return self.session.answer(None)

    def new(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The file of a new, empty revision."""
        script = import_module("alembic.command").revision(_config(request), message=request["name"])
        return {"file": script.path}


def _config(request: Mapping[str, Any]) -> Any:
    return import_module("alembic.config").Config(request["ini"])


def _one_step(request: Mapping[str, Any]) -> None:
    """As `alembic upgrade` does it, with a plan of exactly one step: a merge has no way down that could be named."""
    step = import_module("alembic.runtime.migration").MigrationStep
    config = _config(request)
    scripts = import_module("alembic.script").ScriptDirectory.from_config(config)
    revision = scripts.get_revision(request["id"])
    make = step.upgrade_from_script if request["direction"] == "up" else step.downgrade_from_script

    def plan(_: Any, __: Any) -> list[Any]:
        return [make(scripts.revision_map, revision)]

    around = import_module("alembic.runtime.environment").EnvironmentContext
    with around(config, scripts, fn=plan, destination_rev=request["id"]):
        scripts.run_env()


def _listen(session: Session) -> None:
    """Every engine of this process, whatever env.py makes: a class has the events of all its instances."""
    event, engine = import_module("sqlalchemy.event"), import_module("sqlalchemy.engine").Engine
    began: list[float] = [0.0]

    def connected(raw: Any, _: Any) -> None:
        ask = _asking(raw)

        def asked(sql: str) -> list[Any]:
            rows = ask(sql)
            raw.commit()
            return rows

        session.settle(asked, _driver(raw))

    def before(*_: Any) -> None:
        began[0] = time.perf_counter()

    def after(conn: Any, _: Any, statement: str, *__: Any) -> None:
        session.sent(statement, began[0], _asking(conn.connection))

    def failed(context: Any) -> None:
        if context.statement is not None:
            session.failed(context.statement, began[0])

    event.listen(engine, "connect", connected)
    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    event.listen(engine, "handle_error", failed)


def _asking(raw: Any) -> Callable[[str], list[Any]]:
    def ask(sql: str) -> list[Any]:
        cursor = raw.cursor()
        try:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []
        finally:
            cursor.close()

    return ask


def _driver(raw: Any) -> str:
    """The distribution that the session belongs to: `psycopg`, `psycopg2`, `asyncpg`, `pg8000`."""
    inner = getattr(raw, "driver_connection", None) or getattr(raw, "_connection", None) or raw
    return type(inner).__module__.partition(".")[0]
