"""The two roles that services sign in as, in turn: made, given a password, closed. Each acts as the owner of the data.

A login is a member of the role that migrates and acts as it from the first statement on (`ALTER ROLE ... SET role`), so
that nothing that a service makes belongs to a login, and nothing changes for it when the login does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from dodai.core.database_url import with_login
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.operations import codes
from dodai.operations.ports import Login
from dodai.providers.postgres.codes import REFUSED
from dodai.providers.postgres.connection import coded, connect

_ROLE = """
SELECT rolcanlogin, rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication, rolname = current_user,
       EXISTS (SELECT FROM pg_catalog.pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND refobjid = r.oid
               AND deptype = 'o')
FROM pg_catalog.pg_roles r WHERE rolname = %s
"""


@dataclass(frozen=True, slots=True)
class LoginRoles:
    """`dodai.operations.ports.Logins` of the database that its owner reaches by `owner`, services by `service`."""

    owner: Callable[[], str]
    service: Callable[[], str]

    def refused(self, login: Login, /) -> str:
        url = with_login(self.service(), login.role, login.password)
        try:
            with connect(url, autocommit=True) as session, connect(self.owner(), autocommit=True) as own:
                wanted = _one(own, "SELECT current_user")
                seen = _one(session, "SELECT current_user")
        except DodaiError as error:
            if error.code is not REFUSED:
                raise
            return error.message
        return "" if seen == wanted else f"`{login.role}` acts as `{seen[0]}`, not as `{wanted[0]}`"

    def make(self, login: Login, /) -> None:
        role, url = sql.Identifier(login.role), self.owner()
        with connect(url) as session, _changing(url, login.role):
            owner = _one(session, "SELECT current_user")[0]
            if _role(session, login.role) is None:
                session.execute(sql.SQL("CREATE ROLE {}").format(role))
            if not _one(session, "SELECT pg_has_role(%s, current_user, 'MEMBER')", login.role)[0]:
                session.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(owner), role))
            session.execute(sql.SQL("ALTER ROLE {} SET role = {}").format(role, sql.Literal(owner)))
            kept = session.pgconn.encrypt_password(  # what the server keeps: no statement has the password
                login.password.encode(), login.role.encode(), b"scram-sha-256"
            ).decode()
            session.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(kept)))

    def close(self, role: str, /) -> None:
        url = self.owner()
        with connect(url, autocommit=True) as session, _changing(url, role):
            if _role(session, role) is not None:
                session.execute(sql.SQL("ALTER ROLE {} NOLOGIN PASSWORD NULL").format(sql.Identifier(role)))
                session.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (role,))

    def is_closed(self, role: str, /) -> bool:
        with connect(self.owner(), autocommit=True) as session:
            found = _role(session, role)
            busy = _one(session, "SELECT count(*) FROM pg_stat_activity WHERE usename = %s", role)[0]
        return (found is None or not found[0]) and not busy


@contextmanager
def _changing(url: str, role: str) -> Iterator[None]:
    try:
        with coded(url, f"change the role {role}"):
            yield
    except psycopg.Error as error:
        said = f"`{role}` cannot be changed: {error.diag.message_primary or type(error).__name__}"
        fix = "let the role that migrates make roles, or take `database_roles` out"
        raise DodaiError(codes.LOGIN_ROLE_UNFIT, said, fix, exit_code=1) from None


def _role(session: psycopg.Connection[Any], role: str) -> tuple[Any, ...] | None:
    """Its row; DOD569 when it is the role of somebody else."""
    found = session.execute(_ROLE, (role,)).fetchone()
    if found is not None and any(found[1:]):
        why = "is the owner itself" if found[2] else "owns objects" if found[3] else "may do more than sign in"
        said = f"`{role}` is there already and {why}"
        raise DodaiError(codes.LOGIN_ROLE_UNFIT, said, codes.LOGIN_ROLE_UNFIT.fix.en, exit_code=1)
    return found


def _one(session: psycopg.Connection[Any], query: str, *values: str) -> tuple[Any, ...]:
    found: tuple[Any, ...] = session.execute(query.encode(), values).fetchall()[0]
    return found
