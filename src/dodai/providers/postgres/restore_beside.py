"""A dump put in the place of a database on a server that others run: built beside it, counted, exchanged by name."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from psycopg import conninfo, sql

from dodai.core.errors import DodaiError
from dodai.engine.journal import stale_token
from dodai.migrations import fence
from dodai.migrations.side_tables import fenced, make_schema
from dodai.providers.postgres.backup import BACKUP_TIMEOUT_S, binaries_for, failed, run_tool
from dodai.providers.postgres.codes import COPY_FAILED
from dodai.providers.postgres.connection import address, coded, connect, without_secrets
from dodai.providers.postgres.dump import Dump, password_variable, rows_of, without_password

MARKS = "migration_restored"
EMPTYING_S = 15.0
NAME_BYTES = 63
_IN_USE = ("55006",)


def restored_by(dsn: str, side: str) -> str:
    """The mark of the restore whose data the database behind `dsn` has; "" when it was never restored."""
    with connect(dsn, autocommit=True) as session, coded(dsn, "looking"):
        marks = sql.Identifier(side, MARKS)
        row = session.execute("SELECT to_regclass(%s) IS NOT NULL", (marks.as_string(session),)).fetchone()
        if row is None or not row[0]:
            return ""
        found = session.execute(sql.SQL("SELECT mark FROM {}").format(marks)).fetchone()
        return str(found[0]) if found else ""


def restore_beside(dsn: str, point: Dump, mark: str, token: int, side: str) -> str:
    """The name under which the replaced data is kept; the database behind `dsn` has the data of `point` under `mark`.

    Our own tables are in the schema `side`.

    The copy is built in a database of its own and counted there; the exchange is two renames in one transaction, so
    that a killed restore has either changed nothing or everything. Raises DOD351 when somebody with a newer token was
    there; DOD786 when the archive changed, the role may not create or rename databases, or sessions do not end.
    """
    point.refuse_changed()
    name = address(dsn).database
    fresh, kept = _beside(name, "restoring", mark), _beside(name, "before", mark)
    tokens = newest_tokens(dsn, token)
    with _maintenance(dsn, name) as session:
        _drop(session, fresh)
        try:
            _create_like(session, name, fresh)
            _fill(_to(dsn, fresh), point)
            _settle(_to(dsn, fresh), point, mark, {name: max(token, seen) for name, seen in tokens.items()}, side)
            newest_tokens(dsn, token)  # copying took its time
            _exchange(session, name, fresh, kept)
        except psycopg.Error as error:
            _drop(session, fresh)
            raise _refused(dsn, error) from error
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                _drop(session, fresh)
            raise
    return kept


def _refused(dsn: str, error: psycopg.Error) -> DodaiError:
    said = str(error.diag.message_primary or error)
    fix = {
        "42501": f"`ALTER ROLE {address(dsn).user or 'NAME'} CREATEDB`, and let it own the database",
        "55006": "end the sessions that are left (`SELECT * FROM pg_stat_activity`), then try again",
        "42P04": "rename or drop the database of that name, then try again",
    }.get(error.sqlstate or "", "read what the server says below")
    message = f"`{address(dsn)}` was not restored, its data is what it was"
    return DodaiError(COPY_FAILED, message, fix, fault="provider", details=(said,), reply="rejected")


def _beside(name: str, what: str, mark: str) -> str:
    """A name that the same restore finds again, and no longer than PostgreSQL keeps."""
    suffix = f"_{what}_{hashlib.sha256(mark.encode()).hexdigest()[:8]}"
    return name.encode()[: NAME_BYTES - len(suffix)].decode(errors="ignore") + suffix


def _to(dsn: str, name: str) -> str:
    return conninfo.make_conninfo(dsn, dbname=name)


@contextlib.contextmanager
def _maintenance(dsn: str, name: str) -> Iterator[psycopg.Connection[Any]]:
    """A session in another database of the same server: nobody can rename the one they are in."""
    with connect(_to(dsn, "template1" if name == "postgres" else "postgres"), autocommit=True) as session:
        yield session


def newest_tokens(dsn: str, token: int) -> dict[str, int]:
    """The newest fencing token of each ledger, in any schema; DOD351 when one of them is newer than `token`."""
    with connect(dsn, autocommit=True) as session, coded(dsn, "looking"):
        found: dict[str, int] = {}
        for side in fenced(session):
            for ledger, seen in fence.all_newest(session, side).items():
                found[ledger] = max(seen, found.get(ledger, 0))
    if newer := [seen for seen in found.values() if seen > token]:
        raise stale_token(token, max(newer))
    return found


def _drop(session: psycopg.Connection[Any], name: str) -> None:
    session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _create_like(session: psycopg.Connection[Any], name: str, fresh: str) -> None:
    """An empty database with the owner, encoding, locale, settings and grants of `name`: no dump carries them."""
    row = session.execute(
        "SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), to_jsonb(d) FROM pg_database d"
        " WHERE datname = %s",
        (name,),
    ).fetchone()
    if row is None:
        raise DodaiError(COPY_FAILED, f"there is no database `{name}`", "check `database_url`", reply="rejected")
    owner, encoding, found = row
    words = [
        sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(fresh)),
        sql.SQL("OWNER {} ENCODING {}").format(sql.Identifier(owner), sql.Literal(encoding)),
        sql.SQL("LC_COLLATE {} LC_CTYPE {}").format(sql.Literal(found["datcollate"]), sql.Literal(found["datctype"])),
    ]
    locale = found.get("datlocale") or found.get("daticulocale")
    if found.get("datlocprovider", "c") == "i":
        words.append(sql.SQL("LOCALE_PROVIDER icu ICU_LOCALE {}").format(sql.Literal(locale)))
    if found.get("datlocprovider") == "b":
        words.append(sql.SQL("LOCALE_PROVIDER builtin BUILTIN_LOCALE {}").format(sql.Literal(locale)))
    session.execute(sql.SQL(" ").join(words))
    for statement in session.execute(_LIKE, {"name": name, "fresh": fresh}).fetchall():
        session.execute(statement[0].encode())


_LIKE = """
SELECT format('REVOKE ALL ON DATABASE %%I FROM PUBLIC', %(fresh)s::text) FROM pg_database
 WHERE datname = %(name)s AND datacl IS NOT NULL
UNION ALL
SELECT format('GRANT %%s ON DATABASE %%I TO %%s%%s', privilege_type, %(fresh)s::text,
    CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
    CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
  FROM pg_database, aclexplode(datacl) WHERE datname = %(name)s
UNION ALL
SELECT format('ALTER %%s %%I %%s SET %%I = %%L', CASE WHEN setrole = 0 THEN 'DATABASE' ELSE 'ROLE' END,
    CASE WHEN setrole = 0 THEN %(fresh)s::text ELSE pg_get_userbyid(setrole) END,
    CASE WHEN setrole = 0 THEN '' ELSE format('IN DATABASE %%I', %(fresh)s::text) END,
    split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1))
  FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase, unnest(setconfig) setting
 WHERE datname = %(name)s AND split_part(setting, '=', 1) <> 'search_path'
UNION ALL
SELECT format('ALTER %%s %%I %%s SET search_path = %%s', CASE WHEN setrole = 0 THEN 'DATABASE' ELSE 'ROLE' END,
    CASE WHEN setrole = 0 THEN %(fresh)s::text ELSE pg_get_userbyid(setrole) END,
    CASE WHEN setrole = 0 THEN '' ELSE format('IN DATABASE %%I', %(fresh)s::text) END,
    substr(setting, strpos(setting, '=') + 1))
  FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase, unnest(setconfig) setting
 WHERE datname = %(name)s AND split_part(setting, '=', 1) = 'search_path'
"""


def _fill(fresh: str, point: Dump) -> None:
    """The archive restored into the empty database; DOD786 at the first thing that does not go in."""
    binaries = binaries_for(fresh, None)
    argv = [str(binaries.tool("pg_restore")), "--exit-on-error", "--no-password"]
    argv += [f"--dbname={without_password(fresh)}", str(point.archive)]
    if said := run_tool(argv, password_variable(fresh), BACKUP_TIMEOUT_S):
        raise failed(fresh, f"`{point.path}` could not be restored", without_secrets(said, fresh))


def _settle(fresh: str, point: Dump, mark: str, tokens: dict[str, int], side: str) -> None:
    """The rows counted, the statistics gathered, the mark and the newest fencing tokens written."""
    with connect(fresh, autocommit=True) as session:
        session.execute("SET row_security = off")
        rows = rows_of(session)
        wrong = [
            f"{name}: {rows.get(name, 'none')} of {n} rows" for name, n in point.tables.items() if rows.get(name) != n
        ]
        if wrong:
            said, fix = f"`{point.path}` did not come back whole", "use another restore point"
            raise DodaiError(COPY_FAILED, said, fix, details=tuple(wrong[:8]), reply="rejected")
        session.execute("ANALYZE")
        session.execute(make_schema(side).encode())
        marks = sql.Identifier(side, MARKS)
        session.execute(
            sql.SQL("CREATE TABLE IF NOT EXISTS {} (mark text NOT NULL, point text NOT NULL, at timestamptz)").format(
                marks
            )
        )
        with session.transaction():
            session.execute(sql.SQL("DELETE FROM {}").format(marks))
            session.execute(sql.SQL("INSERT INTO {} VALUES (%s, %s, now())").format(marks), (mark, point.name))
    carry_tokens(fresh, tokens, side)


def carry_tokens(dsn: str, tokens: Mapping[str, int], side: str) -> None:
    """The newest fencing token of each ledger written down in the database behind `dsn`, unless a newer one is."""
    with connect(dsn, autocommit=True) as session, coded(dsn, "the fencing tokens"):
        if tokens:
            fence.create(session, side)
        for ledger, token in tokens.items():
            fence.write(session, side, ledger, token)


def _exchange(session: psycopg.Connection[Any], name: str, fresh: str, kept: str) -> None:
    """Both renames or none; sessions of others in the old one are ended first."""
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY(%s) AND pid <> pg_backend_pid()"
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    deadline = time.monotonic() + EMPTYING_S
    while True:
        session.execute(end, ([name, fresh],))
        try:
            with session.transaction():
                session.execute(rename.format(sql.Identifier(name), sql.Identifier(kept)))
                session.execute(rename.format(sql.Identifier(fresh), sql.Identifier(name)))
        except psycopg.Error as error:
            if error.sqlstate not in _IN_USE or time.monotonic() > deadline:
                raise
            continue
        return
