"""Alembic behind the port of migrations: its revisions read, rendered to SQL, and run one at a time."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.migrations import codes, graph, sql
from dodai.migrations.interpreter import AgentConversation, Interpreter
from dodai.migrations.migration import Direction, Migration, MigrationFolder, Statement
from dodai.migrations.policy import AGENT_LOCK_ID, GOOSE_LOCK_ID
from dodai.migrations.ports import Shadow, SqlConnection, Worker, url_of
from dodai.providers.alembic.revision import read_revisions, upgrade_line

RENDER_TIMEOUT_S = 60.0
ONLINE_TIMEOUT_S = 300.0
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "VIRTUAL_ENV", "SYSTEMROOT")
_STEP = re.compile(r"^-- Running (?:upgrade|downgrade) (\S*(?:, \S+)*) ?-> (\S*(?:, \S+)*)$", re.MULTILINE)


@dataclass(frozen=True)
class Alembic:
    """`folder` (the one with the revision files) below `root`; env.py runs in the user's `interpreter`.

    `application` is the import path of the one that the manifest names, for the env.py of Flask-Migrate.
    """

    root: Path
    folder: str
    interpreter: Interpreter
    table: str = "alembic_version"
    needs_every_file: bool = True
    application: str = ""

    @property
    def ini(self) -> Path:
        """The nearest alembic.ini from the revisions upwards, not above `root`."""
        place = self.root / self.folder
        while place not in (self.root, self.root.parent) and not (place / "alembic.ini").is_file():
            place = place.parent
        return place / "alembic.ini"

    @cached_property
    def of_flask(self) -> bool:
        """Whether env.py asks a Flask application, as Flask-Migrate's does."""
        env = self.ini.parent / "env.py"
        return env.is_file() and b"current_app" in env.read_bytes()

    @property
    def place(self) -> Path:
        """The folder in which Alembic is run; `flask` where its application is, above the one with alembic.ini."""
        if not self.of_flask:
            return self.ini.parent
        named = self.interpreter.environment.get("FLASK_APP") or self.application
        module = named.partition(":")[0].removesuffix(".py").partition(".")[0]
        wanted = (module, f"{module}.py") if module else ("wsgi.py", "app.py", ".flaskenv")
        above = [folder for folder in self.ini.parents[1:] if folder.is_relative_to(self.root)]
        found = (folder for folder in above if any((folder / name).exists() for name in wanted))
        return next(found, self.ini.parent.parent)

    @cached_property
    def _tree(self) -> MigrationFolder:
        """Read once: a run asks for it after every revision."""
        paths = sorted((self.root / self.folder).glob("*.py"))
        return _folder({str(path.relative_to(self.root)): path.read_bytes() for path in paths})

    def read(self) -> MigrationFolder:
        """The revisions without their statements: nothing is executed."""
        return self._tree

    def listed(self) -> MigrationFolder:
        """The same: a revision is all that Alembic knows of it."""
        return self.read()

    def at(self, ref: str) -> MigrationFolder:
        """The revisions at a commit."""
        from dodai.migrations.check.git import files_at  # the rules come with it, and `up` needs none

        return _folder(files_at(self.root, ref, self.folder, ".py"))

    def rendered(
        self, shadow: Shadow, there_and_back: Collection[str] | None = None, wanted: Collection[str] = ()
    ) -> MigrationFolder:
        """The revisions with the statements that they send on an empty server, in the order in which Alembic runs them.

        Where env.py does not get to that server they are those that `alembic upgrade --sql` prints. Raises DOD226 when
        neither can be had; that is not a finding about the revisions.
        """
        found = self.read()
        undoable = [m.id for m in found.migrations if m.undoable]
        back = undoable if there_and_back is None else [id_ for id_ in undoable if id_ in there_and_back]
        try:
            rows = self._online(shadow, back, graph.ends(found.migrations, wanted))
        except DodaiError as online:
            if self.of_flask:
                raise
            try:
                return self._printed(found)
            except DodaiError as offline:
                message = f"{offline.message}; on an empty server: {online.message}"
                raise DodaiError(offline.code, message, online.fix, exit_code=1, details=online.details) from online
        known = {migration.id: migration for migration in found.migrations}
        sent = [self._with_sent(known[id_], row) for id_, row in rows.items() if id_ in known]
        return replace(found, migrations=(*sent, *(m for m in found.migrations if m.id not in rows)))

    def _online(self, shadow: Shadow, there_and_back: Sequence[str], ends: Sequence[str]) -> Mapping[str, Any]:
        """What each revision sent; DOD226 when env.py works somewhere else or a revision raises an error of its own."""
        from dodai.migrations.apply.external import refusal  # how files are applied comes with it

        with shadow() as database:
            conn = database()()
            try:
                conn.autocommit = True
                # Held here, looked for in the session of env.py: it is on this server, or nothing runs.
                pid = conn.execute(f"SELECT pg_backend_pid() FROM pg_advisory_lock({GOOSE_LOCK_ID})").fetchone()[0]  # noqa: S608 - a number of ours
                asked = {
                    "tool": "alembic", "do": "render", "ini": str(self.ini), "url": url_of(conn),
                    "application": self.application,
                    "thereAndBack": there_and_back, "ends": ends, "holder": pid,
                    "locks": [GOOSE_LOCK_ID, AGENT_LOCK_ID],
                    "lockTimeout": "0", "statementTimeout": "0", "patienceS": 0, "probe": "",
                    "timeoutS": ONLINE_TIMEOUT_S,
                }  # fmt: skip
                answer = self.interpreter.ask(asked, self.place)
            finally:
                conn.close()
        rows: Mapping[str, Any] = answer["rendered"]
        if (failed := answer["failed"]) and self.of_flask and (refused := refusal(failed)):
            raise refused
        if failed and not failed["sqlstate"]:
            place = f" ({failed['file']}:{failed['line']})" if failed["file"] else ""
            which = f"`{next(reversed(list(rows)))}` cannot run on an empty server: " if rows else ""
            raise _unrendered(f"{which}{failed['type']}: {failed['message']}{place}")
        return rows

    def _with_sent(self, revision: Migration, row: Mapping[str, Any]) -> Migration:
        up, down = (
            tuple(Statement(each["sql"], line) for each in row[direction] if self._is_own(each["sql"]))
            for direction, line in (("up", upgrade_line(revision)), ("down", revision.line))
        )
        return replace(revision, up=up, down=down if revision.undoable else ())

    def _is_own(self, text: str) -> bool:
        """Not the bookkeeping of Alembic, nor what SQLAlchemy asks a new connection and the catalog."""
        first = text.lstrip()[:40].lower()
        asked = first.startswith("select") and ("pg_catalog" in text or "current_schema()" in text)
        return self.table.rpartition(".")[2] not in text and not asked and not first.startswith("show ")

    def _printed(self, found: MigrationFolder) -> MigrationFolder:
        up = _split(self._offline("upgrade", "heads"), "up")
        down = _split(self._offline("downgrade", "heads:base"), "down")
        known = {migration.id: migration for migration in found.migrations}
        ordered = [*(known[id_] for id_ in up if id_ in known), *(m for m in found.migrations if m.id not in up)]
        with_sql = (_with_statements(m, up.get(m.id, ""), down.get(m.id, "")) for m in ordered)
        return replace(found, migrations=tuple(with_sql))

    def applied(self, conn: SqlConnection, table: str) -> Sequence[tuple[str, datetime | None]]:
        """The heads that the database is at, and all they follow; Alembic keeps no times."""
        at = [str(row[0]) for row in conn.execute(f"SELECT version_num FROM {table}", prepare=False).fetchall()]  # noqa: S608
        known = self.read().migrations
        done = graph.ancestors(known, at)
        unknown = sorted(set(at) - {m.id for m in known})
        return [(id_, None) for id_ in (*(m.id for m in known if m.id in done), *unknown)]

    def record_sql(self, table: str, migration: Migration, direction: Direction) -> str:
        """Heads replace their parents on the way up; on the way down only a person can say what they leave."""
        if direction == "down":
            fix = f"restore its file, or `alembic stamp` what the database is at without `{migration.id}`"
            message = f"`{migration.id}` has no file, so what it followed is not known"
            raise DodaiError(codes.REFUSED_MISSING, message, fix, exit_code=1)
        names = ", ".join(sql.literal(parent) for parent in migration.parents)
        replaced = f"DELETE FROM {table} WHERE version_num IN ({names});" if names else ""  # noqa: S608
        return f"{replaced}INSERT INTO {table} (version_num) VALUES ({sql.literal(migration.id)});"  # noqa: S608

    def replace_sql(
        self,
        table: str,
        gone: Sequence[str],
        added: Sequence[Migration],  # noqa: ARG002 - the port
        kept: Sequence[Migration],
    ) -> str:
        """As `alembic stamp --purge`: heads, and nothing else."""
        ids = [m.id for m in kept]
        known = ", ".join(sql.literal(id_) for id_ in (*gone, *ids))
        heads = ", ".join(f"({sql.literal(id_)})" for id_ in graph.ends(kept, ids))
        return f"DELETE FROM {table} WHERE version_num IN ({known});INSERT INTO {table} (version_num) VALUES {heads};"  # noqa: S608

    def shows_sql(self, table: str, migration: Migration) -> str:
        """It is a head: what was run just now always is."""
        return f"EXISTS (SELECT FROM {table} WHERE version_num = {sql.literal(migration.id)})"

    def create_sql(self, table: str) -> str:
        """As Alembic makes it (alembic/ddl/impl.py, `version_table_impl`)."""
        key = sql.identifier(f"{self.table.rpartition('.')[2]}_pkc")
        return f"CREATE TABLE {table} (version_num varchar(32) NOT NULL, CONSTRAINT {key} PRIMARY KEY (version_num));"

    def open(self, url: str = "") -> Worker:
        """Alembic at work; it loads itself meanwhile."""
        at_work = AlembicAtWork(self, self.interpreter.open(self.place), [url])
        at_work.conversation.begin(at_work.request | {"do": "warm"})
        return at_work

    def new(self, name: str) -> str:
        """`alembic revision -m NAME`; its parent is the head, which must be one."""
        self.read().sound()
        asked = {"tool": "alembic", "do": "new", "ini": str(self.ini), "name": name}
        made = Path(self.interpreter.ask(asked, self.place)["file"])
        return str(made.resolve().relative_to(self.root.resolve()))

    def _offline(self, *words: str) -> str:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        command = [self.interpreter.python, "-m", "alembic", "-c", str(self.ini), *words, "--sql"]
        try:
            done = subprocess.run(
                command, cwd=self.ini.parent, env={**kept, **self.interpreter.environment}, capture_output=True,
                text=True, timeout=RENDER_TIMEOUT_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _unrendered(str(error)) from error
        if done.returncode != 0:
            raise _unrendered((done.stderr.strip().splitlines() or ["alembic failed"])[-1])
        return done.stdout


@dataclass(frozen=True, slots=True)
class AlembicAtWork:
    tool: Alembic
    conversation: AgentConversation
    url: list[str]

    @property
    def request(self) -> dict[str, Any]:
        """The part that all its requests have."""
        tool = self.tool
        asked = {"tool": "alembic", "do": "run", "ini": str(tool.ini), "url": self.url[-1]}
        return asked | {"application": tool.application} if tool.application else asked

    def begin(self, url: str) -> None:
        self.url.append(url)
        self.conversation.begin(self.request | {"do": "load"})

    def listed(self) -> MigrationFolder:
        """What the files say: that is all that Alembic knows."""
        return self.tool.listed()

    def plan(self, request: Mapping[str, Any], conn: SqlConnection, table: str) -> Mapping[str, Any]:
        """As `alembic upgrade heads` makes it from the heads that the database is at."""
        rows = conn.execute(f"SELECT version_num FROM {table}", prepare=False).fetchall() if table else []  # noqa: S608
        return self.conversation.ask({**self.request, **request, "do": "plan", "at": [str(row[0]) for row in rows]})

    def finish(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Alembic does nothing there."""
        return self.conversation.ask({**self.request, **request, "do": "finish"})

    def start(self, request: Mapping[str, Any], todo: Sequence[tuple[str, Sequence[str]]]) -> None:
        """See `dodai.agent.migrate`."""
        steps = [{"id": id_, "row": row} for id_, row in todo]
        self.conversation.start({**self.request, **request, "todo": steps})

    def ran(self, migration: Migration, direction: Direction, timeout_s: float) -> Mapping[str, Any]:
        """The answer about the next one."""
        answer = self.conversation.next(timeout_s)
        line = upgrade_line(migration) if direction == "up" else migration.line
        return {**answer, "statements": [each | {"line": line} for each in answer["statements"]]}

    def ended(self, timeout_s: float) -> Mapping[str, Any]:
        """The answer about the end."""
        return self.conversation.next(timeout_s)

    def cancel(self) -> None:
        self.conversation.cancel()

    def close(self) -> None:
        self.conversation.close()


def _unrendered(said: str) -> DodaiError:
    fix = "let env.py support `--sql` (offline mode), and name what it needs in `[check].environment`"
    return DodaiError(codes.EXTERNAL, f"the revisions cannot be rendered to SQL: {said}", fix, exit_code=1)


def _folder(files: Mapping[str, bytes]) -> MigrationFolder:
    return graph.folder(*read_revisions(files))


def _split(text: str, direction: Direction) -> dict[str, str]:
    """What Alembic prints for each revision, by the revision that the step is about."""
    steps = list(_STEP.finditer(text))
    ends = [step.start() for step in steps[1:]] + [len(text)]
    about = 2 if direction == "up" else 1
    return {step[about]: text[step.end() : end] for step, end in zip(steps, ends, strict=True)}


def _with_statements(revision: Migration, up: str, down: str) -> Migration:
    (forward, one), (back, two) = _statements(up, upgrade_line(revision)), _statements(down, revision.line)
    return replace(revision, up=forward, down=back if revision.undoable else (), transactional=one and two)


def _statements(text: str, line: int) -> tuple[tuple[Statement, ...], bool]:
    """The statements without Alembic's own bookkeeping; False when it left its transaction on the way."""
    found: list[Statement] = []
    inside = True
    spans = [span.text for span in sql.statements(text)]
    own = [span for span in spans if "alembic_version" not in span]
    for number, span in enumerate(own):
        first = sql.words(span, 1)
        if first in (("begin",), ("commit",)):
            # The last COMMIT of the whole output belongs to no revision.
            inside = inside and (first == ("begin",) or number == len(own) - 1)
            continue
        found.append(Statement(span, line))
    return tuple(found), inside
