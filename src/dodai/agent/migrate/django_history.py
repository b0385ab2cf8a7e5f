"""Django's migrations: listed without a database, run one at a time as `manage.py migrate` would.

Django is the user's and is loaded by name: this package itself needs nothing but the standard library.
"""

from __future__ import annotations

import inspect
import io
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from . import failure
from .driver_session import DriverSession, RunRefusedError

ALIAS = "default"
Key = tuple[str, str]


class DjangoHistory:
    """One conversation about the migrations of a project; its connection stays open between two runs."""

    def __init__(self, request: Mapping[str, Any], give: Callable[[dict[str, Any]], None]) -> None:
        _setup(request)
        self.give = give
        self.session = DriverSession(request)
        self.forwards: _Forwards | None = None

    def listing(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Every migration of every installed app, parents first; raises what Django says of an unsound graph."""
        graph = _graph()
        return {"migrations": [_described(graph, key) for key in _in_order(graph)]}

    def new(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The file of a new, empty migration."""
        out = io.StringIO()
        app, _, name = request["name"].rpartition(".")
        import_module("django.core.management").call_command(
            "makemigrations", app, empty=True, name=name, interactive=False, scriptable=True, stdout=out
        )
        return {"file": out.getvalue().strip().splitlines()[-1]}

    def plan(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What `manage.py migrate` would run on this database, in its order."""
        self.session.begin(request)
        try:
            with _watched(self.session) as connection:
                self.forwards = _Forwards(self.session, connection)
        except RunRefusedError as error:
            return {"plan": [], "failed": failure(error)}
        return {"plan": [".".join(key) for key in self.forwards.left], "failed": None}

    def run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run the migrations of `todo` in one direction; each answer says what the session saw and what failed.

        Behind the `last` one comes everything that the command does at its end.
        """
        self.session.begin(request)
        try:
            with _watched(self.session) as connection:
                for step in request["todo"]:
                    self.session.begin(request, step)
                    if request.get("probe"):
                        self.session.stand(_asking(connection))
                    self._run(connection, _key(step["id"]), request["direction"])
                    committed = connection.get_autocommit() and not connection.in_atomic_block
                    self.give(self.session.answer(None, committed=committed))
                if request["direction"] == "up" and request["todo"][-1]["id"] == request["last"]:
                    self.session.begin(request)
                    self.forwards.settle()  # type: ignore[union-attr] # it ran the last one
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is an answer
            self.forwards = None  # the state in memory is half changed
            return self.session.answer(failure(error))
        return {"failed": None}

    def _run(self, connection: Any, key: Key, direction: str) -> None:
        if direction == "down":
            _one(self.session, connection, key, backwards=True)
            return
        self.forwards = self.forwards or _Forwards(self.session, connection)
        self.forwards.run(key)

    def finish(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What `manage.py migrate` does behind the last migration, for a run that was killed before it."""
        self.session.begin(request)
        try:
            with _watched(self.session) as connection:
                _Forwards(self.session, connection).settle()
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is an answer
            return self.session.answer(failure(error))
        return self.session.answer(None)

    def render(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What each migration sends, found out on an empty database: up, and where it is wanted down and up again."""
        found: dict[str, dict[str, Any]] = {}
        there_and_back = set(request["thereAndBack"])
        try:
            with _watched(self.session) as connection:
                ends = [_key(id_) for id_ in request.get("ends") or ()]
                forwards = _Forwards(self.session, connection, ends)
                for migration in list(forwards.plan):
                    key = migration.app_label, migration.name
                    id_ = ".".join(key)
                    seen = found[id_] = {"up": [], "down": []}
                    # The list itself: what was sent is in it also when one of its statements fails.
                    seen["up"] = self.session.statements = []
                    forwards.run(key)
                    if id_ in there_and_back and all(operation.reversible for operation in migration.operations):
                        seen["down"] = self.session.statements = []
                        back = _tried(partial(_one, self.session, connection, key, backwards=True, signals=False))
                        self.session.statements = []
                        forwards = _Forwards(self.session, connection, ends)
                        if back:
                            forwards.run(key)
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is an answer
            return {"rendered": found, "failed": failure(error)}
        return {"rendered": found, "failed": None}


def _tried(act: Callable[[], None]) -> bool:
    """Whether the way down went through; the statement that failed is what is asked for, not the error."""
    try:
        act()
    except Exception as error:
        if not failure(error)["sqlstate"]:
            raise
        return False
    return True


class _Forwards:
    """`manage.py migrate` on its way, one migration at a time: the plan is made once, the state of the models kept.

    With `ends` it goes no further than to these.
    """

    def __init__(self, session: DriverSession, connection: Any, ends: Sequence[Key] = ()) -> None:
        self.session = session
        self.connection = connection
        self.executor = _executor(session, connection)
        loader = self.executor.loader
        loader.check_consistent_history(connection)
        if conflicts := loader.detect_conflicts():
            named = "; ".join(f"{name}: {', '.join(names)}" for name, names in conflicts.items())
            raise RunRefusedError("order", f"the history has several ends ({named})")
        self.plan = [migration for migration, _ in self.executor.migration_plan(ends or loader.graph.leaf_nodes())]
        self.left = [(migration.app_label, migration.name) for migration in self.plan]
        self.executor.recorder.ensure_schema()
        self.state: Any = None

    def run(self, key: Key) -> None:
        """Exactly this migration."""
        if key not in self.left:
            raise RunRefusedError("order", f"`{'.'.join(key)}` is not in the plan of `manage.py migrate`")
        if key != self.left[0]:
            raise RunRefusedError("order", f"`{'.'.join(self.left[0])}` must run first")
        if self.state is None:
            self.state = self.executor._create_project_state(with_applied_migrations=True)  # noqa: SLF001 - as the command
            if self.session.request["do"] == "run":
                self._signal("pre")
                self.state = self.state.clone()
        if "apps" not in self.state.__dict__:
            self.state.apps  # noqa: B018 - renders the models, as the executor does
        migration = _numbered(self.session, self.executor.loader.graph.nodes[key])
        self.state = self.executor.apply_migration(self.state, migration)
        self.left.pop(0)

    def settle(self) -> None:
        """Squashes whose parts are all there are recorded, and the signal goes out that content types wait for."""
        self.executor.check_replacements()
        if self.state is None:
            self.state = self.executor._create_project_state(with_applied_migrations=True)  # noqa: SLF001 - as the command
        self.state.clear_delayed_apps_cache()
        self._render_real_models(self.state.apps)
        self._signal("post")

    def _render_real_models(self, apps: Any) -> None:
        """Models of apps without migrations are rendered anew over the final state, as the command does."""
        own = import_module("django.apps").apps
        of_model = import_module("django.db.migrations.state").ModelState.from_model
        with apps.bulk_update():
            keys = [(model.app_label, model.name_lower) for model in apps.real_models]
            for key in keys:
                apps.unregister_model(*key)
        apps.render_multiple([of_model(own.get_model(*key)) for key in keys])

    def _signal(self, when: str) -> None:
        emit = getattr(import_module("django.core.management.sql"), f"emit_{when}_migrate_signal")
        plan = [(migration, False) for migration in self.plan]
        emit(0, False, self.connection.alias, apps=self.state.apps, plan=plan)


def _setup(request: Mapping[str, Any]) -> None:
    databases = import_module("django.conf").settings.DATABASES
    if request.get("url"):
        databases[ALIAS] = _pointed_at(dict(databases.get(ALIAS) or {}), request["url"])
    import_module("django").setup()


def _pointed_at(settings: dict[str, Any], url: str) -> dict[str, Any]:
    """The project's own settings of the database, but where dodai's connection is."""
    if not str(settings.get("ENGINE", "")).startswith(("django.db.backends.postgresql", "django.contrib.gis")):
        raise RunRefusedError("elsewhere", f"the engine of `{ALIAS}` is `{settings.get('ENGINE')}`, not PostgreSQL")
    parts = urlsplit(url)
    more = dict(parse_qsl(parts.query))
    options = {k: v for k, v in (settings.get("OPTIONS") or {}).items() if k not in ("service", "passfile", "pool")}
    return {
        **settings,
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": more.pop("host", "") or parts.hostname or "",
        "PORT": more.pop("port", "") or str(parts.port or ""),
        "OPTIONS": {**options, **more},
    }


@contextmanager
def _watched(session: DriverSession) -> Iterator[Any]:
    """The connection of the project, each statement of the block seen by `session`."""

    def created(connection: Any, **_: Any) -> None:
        session.settle(_asking(connection), type(connection.connection).__module__.partition(".")[0])

    signal = import_module("django.db.backends.signals").connection_created
    connection = import_module("django.db").connections[ALIAS]
    signal.connect(created, dispatch_uid="dodai")
    if connection.connection is None:
        connection.ensure_connection()
    else:
        session.stand(_asking(connection))

    def around(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Mapping[str, Any]) -> Any:
        began = time.perf_counter()
        try:
            found = execute(sql, params, many, context)
        except Exception:
            session.failed(str(sql), began)
            raise
        text = str(sql)
        if session.request["do"] == "render" and not many:
            # What is run again on an empty server has its values; a log of a run does not get them.
            text = connection.ops.last_executed_query(context["cursor"], sql, params) or text
        session.sent(text, began, _asking(connection))
        return found

    try:
        with connection.execute_wrapper(around):
            yield connection
    finally:
        signal.disconnect(dispatch_uid="dodai")


def _asking(connection: Any) -> Callable[[str], list[Any]]:
    """Straight through the driver: what we ask is no statement of the migration."""

    def ask(sql: str) -> list[Any]:
        with connection.connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []

    return ask


def _executor(session: DriverSession, connection: Any) -> Any:
    """Django's own, which has the row of dodai's log written in the transaction in which it records a migration.

    Django records behind the migration's transaction where that leaves statements for its end (foreign keys), where it
    is `atomic = False`, and on the way down: there the two rows are a transaction of their own.
    """
    executor = import_module("django.db.migrations.executor").MigrationExecutor(connection)
    applied, unapplied = executor.record_migration, executor.recorder.record_unapplied

    def together(record: Callable[..., None], *what: Any) -> None:
        atomic = import_module("django.db.transaction").atomic
        with nullcontext() if connection.in_atomic_block else atomic(using=connection.alias):
            record(*what)
            session.record(_asking(connection))

    def one_of_down(app: str, name: str) -> None:
        if (app, name) == _key(session.step_id):
            together(unapplied, app, name)
        else:
            unapplied(app, name)

    executor.record_migration = partial(together, applied)
    executor.recorder.record_unapplied = one_of_down
    return executor


def _one(session: DriverSession, connection: Any, key: Key, *, backwards: bool, signals: bool = True) -> None:
    """Exactly this migration, with the signals that `manage.py migrate` sends around it."""
    executor = _executor(session, connection)
    signal = import_module("django.core.management.sql")
    executor.loader.check_consistent_history(connection)
    node = executor.loader.graph.node_map.get(key)
    if node is None:
        said = "replaces migrations of which some are applied: let `manage.py migrate` finish those first"
        raise RunRefusedError("order", f"`{'.'.join(key)}` {said}")
    applied = executor.loader.applied_migrations
    in_the_way = (
        [child.key for child in node.children if child.key in applied]
        if backwards
        else [parent.key for parent in node.parents if parent.key not in applied]
    )
    if in_the_way:
        raise RunRefusedError("order", f"`{'.'.join(in_the_way[0])}` must {'be undone' if backwards else 'run'} first")
    plan = [(_numbered(session, executor.loader.graph.nodes[key]), backwards)]
    if signals:
        state = executor._create_project_state(with_applied_migrations=True)  # noqa: SLF001 - as the command does
        signal.emit_pre_migrate_signal(0, False, connection.alias, apps=state.apps, plan=plan)
    after = executor.migrate(None, plan=plan)
    if signals:
        after.clear_delayed_apps_cache()
        signal.emit_post_migrate_signal(0, False, connection.alias, apps=after.apps, plan=plan)


def _numbered(session: DriverSession, migration: Any) -> Any:
    """The migration, whose operations say that it is their turn: a statement then knows its place in the file."""
    for number, operation in enumerate(migration.operations):
        for name in ("database_forwards", "database_backwards"):
            own = getattr(type(operation), name)
            setattr(operation, name, partial(_at, session, number, own, operation))
    return migration


def _at(session: DriverSession, number: int, act: Callable[..., Any], *args: Any, **more: Any) -> Any:
    session.operation = number
    return act(*args, **more)


def _graph() -> Any:
    """What is on disk; no database is asked."""
    return import_module("django.db.migrations.loader").MigrationLoader(None, ignore_no_migrations=True).graph


def _in_order(graph: Any) -> list[Key]:
    """Parents first, as Django itself would run them."""
    found: dict[Key, None] = {}
    for leaf in sorted(graph.leaf_nodes()):
        found |= dict.fromkeys(graph.forwards_plan(leaf))
    return list(found)


def _key(id_: str) -> Key:
    app, _, name = id_.partition(".")
    return app, name


def _described(graph: Any, key: Key) -> dict[str, Any]:
    migration = graph.nodes[key]
    module = sys.modules[type(migration).__module__]
    return {
        "app": key[0],
        "name": key[1],
        "file": inspect.getsourcefile(module) or "",
        "parents": [".".join(parent.key) for parent in sorted(graph.node_map[key].parents)],
        "replaces": [".".join(each) for each in migration.replaces],
        "atomic": bool(migration.atomic),
        "reversible": all(operation.reversible for operation in migration.operations),
        "tables": _tables(key[0], migration),
    }


def _tables(app: str, migration: Any) -> list[str]:
    """Names that its tables have when nobody chose others."""
    found: set[str] = set()
    for operation in migration.operations:
        model = getattr(operation, "model_name", None) or getattr(operation, "name", None)
        options = getattr(operation, "options", None)
        if isinstance(model, str):
            found.add(f"{app}_{model.lower()}")
        if isinstance(options, dict) and options.get("db_table"):
            found.add(str(options["db_table"]))
    return sorted(found)
