"""Django behind the port of migrations: what it knows, what is applied, and one migration at a time."""

# Only quoted names are put into the statements.
# ruff: noqa: S608
from __future__ import annotations

import ast
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.migrations import codes, graph, sql
from dodai.migrations.interpreter import AgentConversation, Interpreter
from dodai.migrations.migration import Direction, Migration, MigrationFolder, Statement
from dodai.migrations.ports import Shadow, SqlConnection, Worker, url_of
from dodai.migrations.python_file import constant, parsed
from dodai.providers.django_migrations.static import (
    SKIPPED,
    is_configuration,
    is_migration,
    read_migration,
    read_tree,
    replacements,
)

SETTINGS = "DJANGO_SETTINGS_MODULE"
RENDER_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class DjangoMigrations:
    """`folder` (the one with manage.py) below `root`; Django runs in the user's `interpreter`."""

    root: Path
    folder: str
    interpreter: Interpreter
    table: str = "django_migrations"
    needs_every_file: bool = False

    @property
    def place(self) -> Path:
        return self.root / self.folder

    @cached_property
    def _tree(self) -> MigrationFolder:
        """Read once: a run asks for it after every migration."""
        top, files = str(self.place), dict[str, bytes]()
        shown = self.place.relative_to(self.root).as_posix()
        for folder, below, names in os.walk(top):
            below[:] = sorted(name for name in below if name not in SKIPPED and not name.startswith("."))
            inside = folder[len(top) :].strip("/")
            for name in names:
                path = f"{inside}/{name}" if inside else name
                if name.endswith(".py") and _wanted(path):
                    files[path if shown == "." else f"{shown}/{path}"] = Path(folder, name).read_bytes()
        return read_tree(files)

    @cached_property
    def _replaced(self) -> dict[str, tuple[str, ...]]:
        return replacements(self._tree.migrations)

    def read(self) -> MigrationFolder:
        """The migrations of the repository without their statements: nothing is executed."""
        return self._tree

    def at(self, ref: str) -> MigrationFolder:
        """The same at a commit."""
        from dodai.migrations.check.git import files_at  # the rules come with it, and `up` needs none

        found = files_at(self.root, ref, self.folder, ".py", below=True)
        return read_tree({path: data for path, data in found.items() if _wanted(path)})

    def listed(self) -> MigrationFolder:
        """What Django itself knows: also the migrations of installed packages. DOD226 when it does not say."""
        return self.listed_by(lambda: self._ask("listing"))

    def listed_by(self, ask: Callable[[], Mapping[str, Any]]) -> MigrationFolder:
        """The same where `ask` gives Django's answer."""
        static = self.read()
        if static.problems or static.heads:
            return static
        read = {migration.path: migration for migration in static.migrations}
        rows = ask()["migrations"]
        found = tuple(self._migration(row, order, read) for order, row in enumerate(rows, start=1))
        return MigrationFolder(found, graph.problems(found), graph.heads(found))

    def rendered(
        self, shadow: Shadow, there_and_back: Collection[str] | None = None, wanted: Collection[str] = ()
    ) -> MigrationFolder:
        """The migrations with the statements that Django sent when each ran on an empty database, up and down."""
        found = self.listed()
        back = [m.id for m in found.migrations] if there_and_back is None else list(there_and_back)
        ends = graph.ends(found.migrations, wanted)
        with shadow() as database:
            conn = database()()
            try:
                request = {
                    "url": url_of(conn),
                    "timeoutS": RENDER_TIMEOUT_S,
                    "thereAndBack": back,
                    "ends": ends,
                    **_UNLIMITED,
                }
            finally:
                conn.close()
            answer = self._ask("render", request)
        rows = answer["rendered"]
        if answer["failed"] and not answer["failed"]["sqlstate"]:
            failed = answer["failed"]
            message = f"`{list(rows)[-1] if rows else 'the first one'}` cannot run on an empty database"
            said = f"{message}: {failed['type']}: {failed['message']} ({failed['file']}:{failed['line']})"
            raise DodaiError(codes.EXTERNAL, said, codes.EXTERNAL.fix.en, exit_code=1)
        return replace(found, migrations=tuple(_with_statements(m, rows.get(m.id)) for m in found.migrations))

    def applied(self, conn: SqlConnection, table: str) -> Sequence[tuple[str, datetime | None]]:
        """What Django's table has, in its order; a squashed one counts once all that it replaces are there.

        Rows of apps that are not installed any more, and those that a squash replaced, are Django's past: left out.
        """
        at = "to_char(applied AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00:00')"
        rows = conn.execute(f"SELECT app, name, {at} FROM {table} ORDER BY id", prepare=False).fetchall()
        there = {f"{row[0]}.{row[1]}": datetime.fromisoformat(row[2]) for row in rows}
        replaced = self._replaced
        for squash, parts in replaced.items():
            if squash not in there and parts and all(part in there for part in parts):
                there[squash] = max(there[part] for part in parts)
        past = {part for parts in replaced.values() for part in parts}
        return [(id_, at) for id_, at in there.items() if id_ not in past]

    def record_sql(self, table: str, migration: Migration, direction: Direction) -> str:
        """As `manage.py migrate --fake`: what a squash replaces has rows as well, its own alone counts for nothing."""
        if direction == "down":
            return f"DELETE FROM {table} WHERE {_is(migration.id)};"
        parts = replacements([migration]).get(migration.id, ())
        return "".join(
            f"INSERT INTO {table} (app, name, applied) SELECT {_pair(id_)}, now()"
            f" WHERE NOT EXISTS (SELECT FROM {table} WHERE {_is(id_)});"
            for id_ in (*parts, migration.id)
        )

    def replace_sql(
        self,
        table: str,
        gone: Sequence[str],
        added: Sequence[Migration],
        kept: Sequence[Migration],  # noqa: ARG002 - the port
    ) -> str:
        """New ones get the places of old ones of their app, so that they stand before what follows them (`down`)."""
        free, script = list(gone), ""
        for migration in added:
            old = next((id_ for id_ in free if id_.startswith(f"{migration.group}.")), "")
            if not old or migration.id in replacements([migration]):
                script += self.record_sql(table, migration, "up")
                continue
            free.remove(old)
            script += f"UPDATE {table} SET (app, name, applied) = ROW({_pair(migration.id)}, now()) WHERE {_is(old)};"
        return script + "".join(f"DELETE FROM {table} WHERE {_is(id_)};" for id_ in free)

    def shows_sql(self, table: str, migration: Migration) -> str:
        """It has a row; for a squash, whose own row Django writes at the end of a run, all that it replaces have."""

        def has(id_: str) -> str:
            return f"EXISTS (SELECT FROM {table} WHERE {_is(id_)})"

        parts = " AND ".join(has(part) for part in self._replaced.get(migration.id, ()))
        return f"({has(migration.id)} OR ({parts}))" if parts else has(migration.id)

    def create_sql(self, table: str) -> str:
        """As Django makes it (django/db/migrations/recorder.py)."""
        return (
            f"CREATE TABLE {table} (id bigint NOT NULL PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY,"
            " app varchar(255) NOT NULL, name varchar(255) NOT NULL, applied timestamptz NOT NULL);"
        )

    def open(self, url: str = "") -> Worker:
        """Django at work; it loads itself meanwhile."""
        at_work = DjangoAtWork(self, self.interpreter.open(self.place, {SETTINGS: self._settings()}), [url])
        at_work.conversation.begin(at_work.request | {"do": "warm"})
        return at_work

    def new(self, name: str) -> str:
        """`manage.py makemigrations APP --empty --name NAME`, where `name` is `APP.NAME`."""
        self.read().sound()
        app, dot, rest = name.partition(".")
        if not dot or not app or not rest.replace("_", "").isalnum():
            fix = f"name the app too: `{proposal.MIGRATE_NEW().replace('NAME', 'APP.NAME')}`"
            raise DodaiError(codes.FILE_NAME, f"`{name}` does not say which app it is for", fix, exit_code=2)
        made = Path(self._ask("new", {"name": name})["file"])
        return str((self.place / made).resolve().relative_to(self.root.resolve()))

    def _ask(self, do: str, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        asked = {"tool": "django", "do": do, **(request or {})}
        return self.interpreter.ask(asked, self.place, {SETTINGS: self._settings()})

    def _settings(self) -> str:
        """The settings module that `[check].environment` names, else the one in manage.py."""
        if named := self.interpreter.environment.get(SETTINGS):
            return named
        manage = self.place / "manage.py"
        if manage.is_file():
            for node in ast.walk(parsed("manage.py", manage.read_bytes())[1]):
                if isinstance(node, ast.Call) and [constant(a) for a in node.args[:1]] == [SETTINGS] and node.args[1:]:
                    return str(constant(node.args[1]))
        fix = f"let `[migrations].folder` be the folder of manage.py, or put `{SETTINGS}` into `[check].environment`"
        message = f"`{self.folder}/manage.py` does not say which settings are used"
        raise DodaiError(codes.EXTERNAL, message, fix, exit_code=1)

    def _migration(self, row: Mapping[str, Any], order: int, read: Mapping[str, Migration]) -> Migration:
        """What the file says, corrected by what Django made of it; `read` are those that were read, by path."""
        file = os.path.realpath(row["file"])
        path = self._shown(file)
        found = read.get(path)
        if found is None or found.group != row["app"]:
            found = read_migration(path, Path(file).read_bytes(), row["app"])
        if found is None:
            message = f"`{path}` has no class `Migration` of its own"
            raise DodaiError(codes.EXTERNAL, message, codes.EXTERNAL.fix.en, exit_code=1)
        return replace(
            found,
            order=order,
            transactional=bool(row["atomic"]),
            parents=tuple(row["parents"]),
            undoable=bool(row["reversible"]),
            touches=found.touches | frozenset(row["tables"]),
        )

    def _shown(self, file: str) -> str:
        """The path below the root, or for an installed package below the folder that it is installed in."""
        _, installed, inside = file.partition("/site-packages/")
        return inside if installed else file.removeprefix(self._real_root)

    @cached_property
    def _real_root(self) -> str:
        return f"{self.root.resolve()}/"


@dataclass(frozen=True, slots=True)
class DjangoAtWork:
    tool: DjangoMigrations
    conversation: AgentConversation
    url: list[str]

    @property
    def request(self) -> dict[str, Any]:
        """The part that all its requests have."""
        return {"tool": "django", "do": "run", "url": self.url[-1]}

    def begin(self, url: str) -> None:
        self.url.append(url)
        self.conversation.begin(self.request | {"do": "listing"})

    def listed(self) -> MigrationFolder:
        """What was begun is the list; in a process that was not begun it is asked for."""
        return self.tool.listed_by(self._listing)

    def _listing(self) -> Mapping[str, Any]:
        """The last answer that is owed; the one before it is about what was loaded first."""
        while len(self.conversation.owed) > 1:
            self.conversation.begun()
        return self.conversation.begun()

    def plan(self, request: Mapping[str, Any], conn: SqlConnection, table: str) -> Mapping[str, Any]:  # noqa: ARG002 - the port
        """As `manage.py migrate` makes it."""
        return self.conversation.ask({**self.request, **request, "do": "plan"})

    def finish(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Content types, permissions, and squashes of which all parts are there."""
        return self.conversation.ask({**self.request, **request, "do": "finish"})

    def start(self, request: Mapping[str, Any], todo: Sequence[tuple[str, Sequence[str]]]) -> None:
        """See `dodai.agent.migrate`."""
        steps = [{"id": id_, "row": row} for id_, row in todo]
        self.conversation.start({**self.request, **request, "todo": steps})

    def ran(self, migration: Migration, direction: Direction, timeout_s: float) -> Mapping[str, Any]:  # noqa: ARG002 - the port
        """The answer about the next one."""
        answer = self.conversation.next(timeout_s)
        own = [each for each in answer["statements"] if _is_own(each["sql"])]
        return {**answer, "statements": [each | {"line": _line(migration, each)} for each in own]}

    def ended(self, timeout_s: float) -> Mapping[str, Any]:
        """The answer about the end."""
        return self.conversation.next(timeout_s)

    def cancel(self) -> None:
        self.conversation.cancel()

    def close(self) -> None:
        self.conversation.close()


_UNLIMITED = {
    "holder": 0,
    "locks": [0, 0],
    "lockTimeout": "0",
    "statementTimeout": "0",
    "patienceS": 0,
    "probe": "",
}
"""On an empty server of our own there is nobody to wait for."""


def _pair(id_: str) -> str:
    """App and name, as literals."""
    return ", ".join(sql.literal(part) for part in id_.split(".", 1))


def _is(id_: str) -> str:
    return f"(app, name) = ({_pair(id_)})"


def _wanted(path: str) -> bool:
    return is_migration(path) or is_configuration(path)


def _with_statements(migration: Migration, row: Mapping[str, Any] | None) -> Migration:
    if row is None:
        return migration
    up, down = (
        tuple(Statement(each["sql"], _line(migration, each)) for each in row[direction] if _is_own(each["sql"]))
        for direction in ("up", "down")
    )
    return replace(migration, up=up, down=down)


def _line(migration: Migration, statement: Mapping[str, Any]) -> int:
    lines = migration.steps
    number = int(statement.get("operation") or 0)
    return lines[min(number, len(lines) - 1)] if lines else migration.line


def _is_own(text: str) -> bool:
    """Not Django's bookkeeping: its own table, savepoints, and looks at the catalog."""
    first = text.lstrip()[:40].upper()
    if first.startswith(("SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO")):
        return False
    return "django_migrations" not in text and not (first.startswith("SELECT") and "pg_catalog" in text)
