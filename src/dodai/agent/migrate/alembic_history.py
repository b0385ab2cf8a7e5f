"""Alembic's revisions, run one after the other through the user's own env.py.

Alembic is the user's and is loaded by name: this package itself needs nothing but the standard library.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import gc
import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from . import failure
from .driver_session import DriverSession, RunRefusedError


class AlembicHistory:
    """One conversation about the revisions of an alembic.ini, which are loaded once.

    env.py runs once for as many revisions as commit by themselves; each is answered once it has (`give`). Where env.py
    keeps a transaction of its own open, or migrates several databases one after the other, it runs anew for each.
    """

    def __init__(self, request: Mapping[str, Any], give: Callable[[dict[str, Any]], None]) -> None:
        self.session = DriverSession(request)
        self.give = give
        self.ini = request["ini"]
        self.flask = _flask(request)
        self.flowing = False
        self.loaded: Any = None
        if request.get("url"):
            _listen(self.session)

    @property
    def scripts(self) -> Any:
        """Every revision, loaded when the first is asked for."""
        if self.loaded is None:
            self.loaded = import_module("alembic.script").ScriptDirectory.from_config(self.config())
        return self.loaded

    def config(self) -> Any:
        """That of the file; Flask-Migrate's names no folder, it is its own."""
        found = import_module("alembic.config").Config(self.ini)
        if not found.get_main_option("script_location"):
            found.set_main_option("script_location", str(Path(self.ini).parent).replace("%", "%%"))
        return found

    def load(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Every revision is loaded; the database is not asked for anything."""
        self.scripts.get_heads()
        return {}

    def plan(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The revisions that `alembic upgrade heads` would run on a database that is `at` these, in its order."""
        steps = self.scripts._upgrade_revs("heads", tuple(request["at"]))  # noqa: SLF001 - as the command does
        return {"plan": [step.revision.revision for step in steps]}

    def run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run the revisions of `todo` in one direction; each answer says what the session saw and what failed."""
        flow = _Flow(self, request)
        while flow.todo:
            flow.times, flow.given = 0, False
            self.session.begin(request, flow.todo[0])
            try:
                self._env(flow.steps)
            except BaseException as error:  # noqa: BLE001 - SystemExit of an env.py is an answer too
                return self.session.answer(failure(error))
            if flow.todo[not flow.given :]:
                gc.collect()  # an engine that env.py let go of gives its connections back before the next one is made
            self.flowing = flow.times == 1 and flow.committed
            if not flow.given:
                flow.answer()
        return {"failed": None}

    def finish(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Alembic does nothing behind its last revision."""
        return {"failed": None}

    def render(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What each revision sends on an empty database: up, and where it is wanted down and up again."""
        found: dict[str, dict[str, Any]] = {}
        only_up: set[str] = set()
        while True:
            try:
                self._env(partial(self._rendered, request, found))
            except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is an answer
                said, last = failure(error), next(reversed(found), "")
                if not said["sqlstate"] or last in only_up or not found.get(last, {}).get("down"):
                    return {"rendered": found, "failed": said}
                # The way down failed and was rolled back: it goes on from there.
                only_up.add(last)
            else:
                return {"rendered": found, "failed": None}

    def _rendered(
        self,
        request: Mapping[str, Any],
        found: dict[str, dict[str, Any]],
        heads: Any,
        _: Any,
    ) -> Iterator[Any]:
        ends = tuple(request.get("ends") or ()) or "heads"
        for step in self.scripts._upgrade_revs(ends, heads):  # noqa: SLF001 - as the command does
            id_ = step.revision.revision
            seen = found[id_] = {"up": [], "down": []}
            # The list itself: what was sent is in it also when one of its statements fails.
            for direction in ("up", "down") if id_ in request["thereAndBack"] else ("up",):
                seen[direction] = self.session.statements = []
                yield self.step(id_, direction)
            if seen["down"]:
                self.session.statements = []
                yield self.step(id_, "up")

    def new(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The file of a new, empty revision."""
        script = import_module("alembic.command").revision(self.config(), message=request["name"])
        return {"file": script.path}

    def step(self, id_: str, direction: str) -> Any:
        """As `alembic upgrade` makes it; a merge has no way down that could be named."""
        step = import_module("alembic.runtime.migration").MigrationStep
        make = step.upgrade_from_script if direction == "up" else step.downgrade_from_script
        return make(self.scripts.revision_map, self.scripts.get_revision(id_))

    def _env(self, steps: Callable[[Any, Any], Iterator[Any]]) -> None:
        """Run env.py over `steps`, each in a transaction of its own, as far as env.py leaves that to Alembic."""
        around = import_module("alembic.runtime.environment").EnvironmentContext
        with ExitStack() as stack:
            if self.flask:
                stack.enter_context(self.flask.context())
            config = self.flask.config(str(Path(self.ini).parent)) if self.flask else self.config()
            environment = stack.enter_context(around(config, self.scripts, fn=steps, destination_rev="heads"))
            configure = environment.configure

            def each_by_itself(*words: Any, **options: Any) -> Any:
                theirs = options.get("on_version_apply") or ()
                calls = (*(theirs if isinstance(theirs, Iterable) else (theirs,)), self._record)
                return configure(*words, **{**options, "transaction_per_migration": True, "on_version_apply": calls})

            environment.configure = each_by_itself
            self.scripts.run_env()

    def _record(self, *, ctx: Any, **_: Any) -> None:
        """Called by Alembic behind its own row, in the same transaction."""
        if not ctx.as_sql:
            self.session.record(_asking(ctx.connection.connection))


def _flask(request: Mapping[str, Any]) -> Any:
    """The application that env.py asks, as Flask-Migrate's does; None for any other env.py."""
    env = Path(request["ini"]).parent / "env.py"
    if not env.is_file() or b"current_app" not in env.read_bytes():
        return None
    return import_module(".flask_application", __package__).FlaskApplication(request)


class _Flow:
    """The revisions of one request; `todo` are those that have no answer yet, `given` says whether the last one has."""

    def __init__(self, history: AlembicHistory, request: Mapping[str, Any]) -> None:
        self.history = history
        self.request = request
        self.todo = list(request["todo"])
        self.times = 0
        self.committed = False
        self.given = False

    def steps(self, _: Any, context: Any) -> Iterator[Any]:
        """Called by Alembic, once for each database that env.py migrates."""
        self.times += 1
        session = self.history.session
        if self.times > 1 and self.given:
            raise RunRefusedError("order", "env.py went on to another database, which it did not do before")
        while True:
            self.given = False
            yield self.history.step(self.todo[0]["id"], self.request["direction"])
            # Alembic asks for the next step once it is through with this one.
            self.committed = not context.as_sql and not context.connection.in_transaction()
            if not (self.history.flowing and self.committed and self.times == 1):
                return
            self.answer(committed=True)
            if not self.todo:
                return
            session.begin(self.request, self.todo[0])
            if self.request.get("probe"):
                session.stand(_committing(context.connection.connection.dbapi_connection))

    def answer(self, *, committed: bool = False) -> None:
        """About the first of `todo`, which is done."""
        self.history.give(self.history.session.answer(None, committed=committed))
        self.todo.pop(0)
        self.given = True


def _committing(raw: Any) -> Callable[[str], list[Any]]:
    """Asks in the driver's session, and ends the transaction that the driver began for it."""
    ask = _asking(raw)

    def asked(sql: str) -> list[Any]:
        rows = ask(sql)
        raw.commit()
        return rows

    return asked


def _listen(session: DriverSession) -> None:
    """Every engine of this process, whatever env.py makes: a class has the events of all its instances."""
    event, engine = import_module("sqlalchemy.event"), import_module("sqlalchemy.engine").Engine
    began: list[float] = [0.0]

    def connected(raw: Any, _: Any) -> None:
        session.settle(_committing(raw), _driver(raw))

    def before(*_: Any) -> None:
        began[0] = time.perf_counter()

    def after(conn: Any, _: Any, statement: str, parameters: Any, *__: Any) -> None:
        for text in shown(statement, parameters):
            session.sent(text, began[0], _asking(conn.connection))

    def failed(context: Any) -> None:
        if context.statement is not None:
            for text in shown(context.statement, context.parameters):
                session.failed(text, began[0])

    def shown(statement: str, parameters: Any) -> list[str]:
        """What is run again on an empty server has its values; a log of a run does not get them."""
        return with_values(statement, parameters) if session.request["do"] == "render" else [statement]

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


_NUMBERED = re.compile(r"\$(\d+)")


def with_values(statement: str, parameters: Any) -> list[str]:
    """The statement once for each set of values; as it stands where a value has no literal that is known here."""
    many = isinstance(parameters, list) and parameters and isinstance(parameters[0], Mapping | tuple | list)
    return [_filled(statement, each) for each in (parameters if many else [parameters])]


def _filled(statement: str, parameters: Any) -> str:
    try:
        if isinstance(parameters, Mapping):
            return statement % {name: literal(value) for name, value in parameters.items()}
        values = [literal(value) for value in parameters or ()]
        if values and _NUMBERED.search(statement):
            return _NUMBERED.sub(lambda found: values[int(found[1]) - 1], statement)
        return statement % tuple(values)
    except (TypeError, ValueError, KeyError, IndexError):
        return statement


def literal(value: Any) -> str:
    """`value` as PostgreSQL reads it, without a type where its text decides; raises `TypeError` for others."""
    if value is None:
        return "NULL"
    if isinstance(value, enum.Enum):
        return literal(value.value)
    if isinstance(value, bool | int | float | decimal.Decimal):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"'\\x{bytes(value).hex()}'::bytea"
    if hasattr(value, "obj") or isinstance(value, Mapping):  # psycopg's Jsonb has the value in `obj`
        return literal(json.dumps(getattr(value, "obj", value)))
    if isinstance(value, str | uuid.UUID | dt.date | dt.time | dt.timedelta):
        quoted = str(value).replace("'", "''")
        return f"E'{quoted}'".replace("\\", "\\\\") if "\\" in quoted else f"'{quoted}'"
    if isinstance(value, Sequence):
        return "ARRAY[" + ", ".join(literal(each) for each in value) + "]"
    raise TypeError(type(value).__name__)
