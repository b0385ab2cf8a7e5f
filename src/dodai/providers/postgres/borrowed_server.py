"""Server that is lent to `check` (`[database] shadow_url`): databases of its own come and go there, nothing else.

It has to be proven that nobody keeps anything on it, for a migration may also change what belongs to the whole server:
every database of it is looked at, and one that holds a table or function of anybody's is reason to refuse. Databases
are made by name and mark, and only those that this process made, or that bear the mark and are not in use, are dropped.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import field
from functools import partial
from threading import RLock
from typing import Any, NoReturn

import psycopg
from psycopg import conninfo, sql

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.migrations import codes
from dodai.migrations.ports import Connect
from dodai.providers.postgres.connection import address, connect

PREFIX = "dodai_shadow_"
ASIDE = "dodai_aside_"
MARK = "made for a check of migrations, which drops it; roles and tablespaces before it: "
_LOCK_ID = 4_013_268_268
_PATIENCE = "300s"
_DATABASES = """
SELECT datname, datallowconn, coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database
WHERE datname <> 'template0' ORDER BY 1
"""
_KEPT_THERE = """
WITH ext AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
ns AS (SELECT oid, nspname FROM pg_namespace WHERE nspname <> 'information_schema' AND nspname !~ '^pg_')
SELECT nspname || '.' || relname FROM pg_class c JOIN ns ON ns.oid = relnamespace
WHERE NOT EXISTS (SELECT FROM ext WHERE classid = 'pg_class'::regclass AND objid = c.oid)
UNION ALL SELECT nspname || '.' || proname FROM pg_proc p JOIN ns ON ns.oid = pronamespace
WHERE NOT EXISTS (SELECT FROM ext WHERE classid = 'pg_proc'::regclass AND objid = p.oid)
UNION ALL SELECT 'large object ' || oid FROM pg_largeobject_metadata ORDER BY 1 LIMIT 1
"""
_WIDE = {"ROLE": "SELECT rolname FROM pg_roles", "TABLESPACE": "SELECT spcname FROM pg_tablespace"}


@dataclass(slots=True)
class BorrowedServer:
    """A `Shadow` on the server at `url`; one walk at a time, since roles are the whole server's."""

    url: str
    turn: Any = field(default_factory=RLock)
    admin: psycopg.Connection[Any] | None = None
    made: list[str] = field(default_factory=list)
    before: dict[str, frozenset[str]] = field(default_factory=dict)

    @contextlib.contextmanager
    def __call__(self) -> Iterator[Callable[[], Connect]]:
        """Makers of empty databases, dropped after the block; DOD268 where the server is not proven to be unused.

        Opened inside itself it is the same server, with the roles that were made since then under other names.
        """
        with self.turn:
            if self.admin is not None:
                with self._said():
                    self._put_aside()
                yield self._new_database
                return
            with connect(self.url, autocommit=True) as admin:
                self.admin = admin
                try:
                    with self._said():
                        self._prove()
                    yield self._new_database
                finally:
                    try:
                        with self._said():
                            self._clean()
                    finally:
                        self.admin = None

    def _prove(self) -> None:
        self._run(f"SET lock_timeout = '{_PATIENCE}'")
        self._run(f"SELECT pg_advisory_lock({_LOCK_ID})")
        left_over: list[str] = []
        for name, reachable, comment in self._rows(_DATABASES):
            if name.startswith(PREFIX) and comment.startswith(MARK):
                left_over.append(comment.removeprefix(MARK))
                self._run("DROP DATABASE IF EXISTS {}", name)  # not one that somebody is connected to
            elif not reachable:
                self._refuse(f"nobody may connect to its database `{name}`, so what it holds is not known")
            else:
                with connect(self._way_to(name), autocommit=True) as conn:
                    found = conn.execute(_KEPT_THERE).fetchone()
                if found:
                    self._refuse(f"its database `{name}` holds `{found[0]}`")
        if left_over:  # of a process that was killed: what it found here is what its first database says
            self.before = {kind: frozenset(names) for kind, names in json.loads(left_over[0]).items()}
            self._drop_wide()
        self.before = {kind: self._wide(kind) for kind in _WIDE}

    def _new_database(self) -> Connect:
        name = f"{PREFIX}{secrets.token_hex(6)}"
        self.made.append(name)
        with self._said():
            self._run("CREATE DATABASE {} TEMPLATE template0", name)
            found_here = json.dumps({kind: sorted(names) for kind, names in self.before.items()})
            comment = sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), MARK + found_here)
            self._rows(comment)
        return partial(connect, self._way_to(name))

    def _put_aside(self) -> None:
        for kind in _WIDE:
            for name in self._since(kind):
                if not name.startswith(ASIDE):
                    self._run(f"ALTER {kind} {{}} RENAME TO {ASIDE}{secrets.token_hex(6)}", name)

    def _clean(self) -> None:
        """Away with what this process made; roles after the databases that they own things in."""
        while self.made:
            self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.made[-1])
            self.made.pop()
        self._drop_wide()

    def _drop_wide(self) -> None:
        for kind in reversed(self.before):
            for name in self._since(kind):
                self._run(f"DROP {kind} {{}}", name)
        self.before = {}

    def _since(self, kind: str) -> list[str]:
        return sorted(self._wide(kind) - self.before[kind])

    def _wide(self, kind: str) -> frozenset[str]:
        return frozenset(row[0] for row in self._rows(_WIDE[kind]))

    def _way_to(self, database: str) -> str:
        return conninfo.make_conninfo(self.url, dbname=database)

    def _run(self, statement: str, *names: str) -> None:
        self._rows(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _rows(self, query: str | sql.Composed) -> list[Any]:
        assert self.admin is not None  # noqa: S101 - for the type checker
        cursor = self.admin.execute(query)
        return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            said = error.diag.message_primary or str(error).partition("\n")[0]
            self._refuse(f"PostgreSQL says: {said}", error)

    def _refuse(self, why: str, cause: BaseException | None = None) -> NoReturn:
        message = f"`[database] shadow_url` (`{address(self.url)}`) cannot be used: {why}"
        raise DodaiError(codes.SHADOW_REFUSED, message, codes.SHADOW_REFUSED.fix.en, exit_code=1) from cause
