"""Connections to any PostgreSQL whose failures are coded and never show a password."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import conninfo
from psycopg.abc import ConnParam

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError, Reply
from dodai.providers.postgres.codes import REFUSED, UNREACHABLE
from dodai.providers.postgres.settings import APPLICATION_NAME, CONNECT_TIMEOUT_S, KEEPALIVE


@dataclass(frozen=True, slots=True)
class Address:
    """Where a connection string leads, without its password. `host` is empty or a path for a unix socket."""

    host: str
    port: str
    database: str
    user: str

    @property
    def is_socket(self) -> bool:
        return not self.host or self.host.startswith(("/", "@"))

    def __str__(self) -> str:
        ports = self.port.split(",")
        hosts = self.host.split(",")
        places = [f"{host}:{(ports[n] if len(ports) > 1 else ports[0]) or '5432'}" for n, host in enumerate(hosts)]
        return f"postgresql://{self.user + '@' if self.user else ''}{','.join(places)}/{self.database}"


def address(dsn: str) -> Address:
    """Where `dsn` (a URL or `key=value` words) leads; raises DOD785 when libpq cannot read it."""
    words = parameters(dsn)
    host = words.get("host") or words.get("hostaddr") or ""
    database = words.get("dbname") or words.get("user") or ""
    return Address(str(host), str(words.get("port") or ""), str(database), str(words.get("user") or ""))


def parameters(dsn: str) -> Mapping[str, Any]:
    """The libpq words of `dsn`; DOD785 where it cannot be read, or only as something that nobody meant."""
    try:
        words = conninfo.conninfo_to_dict(dsn)
    except psycopg.Error as error:
        raise unreadable(_why_unreadable(str(error))) from None
    if any("@" in host[1:] for host in str(words.get("host") or "").split(",")):
        raise unreadable("an `@` comes before the one in front of the host")
    if "://" in dsn and "@" in str(words.get("dbname") or ""):
        raise unreadable("an `@` comes after the first `/`, so that no user and no password stand before the host")
    ports = str(words.get("port") or "").split(",")
    if not all(port.isascii() and port.isdigit() for port in ports if port):
        raise unreadable("what stands where the port belongs is not a number")
    return words


def unreadable(why: str) -> DodaiError:
    """DOD785; `why` quotes nothing, because any piece of a URL that was misread may be one of its password."""
    return DodaiError(
        REFUSED,
        f"the database URL cannot be read: {why}",
        "write it as `postgresql://user:password@host:5432/name`; in a password `@` is written `%40`, `/` `%2F`, "
        "`:` `%3A`, `#` `%23`, `?` `%3F`, `%` `%25` and a blank `%20`",
        exit_code=2,
    )


def _why_unreadable(said: str) -> str:
    """Libpq's reason, without the pieces that it quotes."""
    reasons = (
        (r"percent-encoded token|forbidden value %00", "a `%` is not followed by two hexadecimal digits"),
        (r"unexpected spaces", "it has a blank in it"),
        (r'missing "="', "a word is not followed by `=`; a value with a blank stands in single quotes"),
        (r"unterminated quoted string", "a single quote is not closed"),
        (r"invalid URI query parameter", "behind the `?` stands a parameter that libpq does not know"),
        (r"invalid connection option", "it has a word that libpq does not know"),
        (r"\]", "an IPv6 address does not end with `]`"),
    )
    return next(
        (why for words, why in reasons if re.search(words, said)), "it is neither a URL nor a list of `key=value`"
    )


def connect(
    dsn: str,
    *,
    application_name: str = APPLICATION_NAME,
    timeout_s: int = CONNECT_TIMEOUT_S,
    autocommit: bool = False,
    **options: ConnParam,
) -> psycopg.Connection[Any]:
    """An open connection; `options` are further libpq words (`options="-c lock_timeout=2s"`).

    Raises DOD784 when nothing answers within `timeout_s` (per address of the host), DOD785 when the server refuses.
    """
    words = {**defaults(dsn, timeout_s), "application_name": application_name, **options}
    try:
        return psycopg.Connection.connect(
            conninfo.make_conninfo(dsn, **words), autocommit=autocommit, prepare_threshold=None
        )
    except psycopg.Error as error:
        raise not_connected(error, dsn) from None


async def connect_async(
    dsn: str,
    *,
    application_name: str = APPLICATION_NAME,
    timeout_s: int = CONNECT_TIMEOUT_S,
    autocommit: bool = False,
    **options: ConnParam,
) -> psycopg.AsyncConnection[Any]:
    """The same as `connect`, for a running event loop."""
    words = {**defaults(dsn, timeout_s), "application_name": application_name, **options}
    try:
        return await psycopg.AsyncConnection.connect(
            conninfo.make_conninfo(dsn, **words), autocommit=autocommit, prepare_threshold=None
        )
    except psycopg.Error as error:
        raise not_connected(error, dsn) from None


def defaults(dsn: str, timeout_s: int) -> dict[str, ConnParam]:
    """What bounds a connection whose peer has vanished; what `dsn` says itself is kept."""
    given = parameters(dsn)
    wanted: dict[str, ConnParam] = {"connect_timeout": timeout_s, **KEEPALIVE}
    return {name: value for name, value in wanted.items() if name not in given}


@contextmanager
def coded(dsn: str, doing: str = "") -> Iterator[None]:
    """Failures of the connection inside the block become DodaiErrors; errors of the SQL itself pass through.

    `doing` (`apply 0003_add.sql`) is put before the message.
    """
    try:
        yield
    except psycopg.Error as error:
        mapped = failure(error, dsn, doing)
        if mapped is None:
            raise
        raise mapped from error


def not_connected(error: psycopg.Error, dsn: str) -> DodaiError:
    said = str(error)
    if re.search(r"invalid (integer value|port number|[a-z_]+ value)", said):
        option = re.search(r'(?:connection option "|invalid )([a-z_]+)', said)
        return unreadable(f"the value of `{option[1] if option else 'an option'}` is not one that libpq takes")
    return failure(error, dsn, sent=False) or unreachable(dsn, without_secrets(said, dsn))


def failure(error: psycopg.Error, dsn: str, doing: str = "", *, sent: bool = True) -> DodaiError | None:
    """What `error` means to a person when it is about the connection or the server; None when it is about the SQL.

    `sent` False: nothing but the connection was asked for, so nothing can have happened.
    """
    lost: Reply = "ambiguous" if sent else "unavailable"
    said = without_secrets(str(error), dsn)
    where = address(dsn)
    before = f"{doing}: " if doing else ""
    for problem in PROBLEMS:
        if problem.matches(error.sqlstate, said):
            return DodaiError(
                REFUSED if problem.refused else UNREACHABLE,
                before + problem.message.format(where=where, user=where.user, database=where.database),
                problem.fix,
                fault="user" if problem.refused else "provider",
                details=tail(said),
                reply="rejected" if problem.refused else lost,
            )
    if is_broken(error):
        return replace(unreachable(dsn, said, before), reply=lost)
    return None


def is_broken(error: psycopg.Error) -> bool:
    """Whether the connection itself failed: libpq reports that without an SQLSTATE, a dying server with class 57/08."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate[:2] == "08"


def unreachable(dsn: str, said: str, before: str = "") -> DodaiError:
    return DodaiError(
        UNREACHABLE,
        f"{before}no database server answers at `{address(dsn)}`",
        "check host, port and network from this machine, then try again",
        fault="provider",
        details=tail(said),
    )


@dataclass(frozen=True, slots=True)
class ConnectionProblem:
    """One way to fail: by SQLSTATE, or by the words libpq gives while connecting, when there is none."""

    states: tuple[str, ...]
    words: str
    message: str
    fix: str
    refused: bool = True

    def matches(self, sqlstate: str | None, said: str) -> bool:
        if sqlstate is not None:
            return sqlstate in self.states
        return bool(self.words) and re.search(self.words, said) is not None


PROBLEMS = (
    ConnectionProblem(
        ("28P01", "28000"),
        r"password authentication failed|no password supplied|authentication failed|role \"[^\"]*\" does not exist"
        r"|no pg_hba\.conf entry|is not permitted to log in",
        "`{where}` refused user `{user}`",
        "correct the user name or the password in the secret that holds this URL",
    ),
    ConnectionProblem(
        ("3D000",),
        r"database \"[^\"]*\" does not exist",
        "`{where}` has no database `{database}`",
        "correct the database name, or create it",
    ),
    ConnectionProblem(
        ("53300",),
        r"too many (clients|connections)|remaining connection slots are reserved|connection limit exceeded",
        "`{where}` accepts no more connections",
        "lower the pool sizes, or wait until sessions end; `SELECT * FROM pg_stat_activity` shows who holds them",
    ),
    ConnectionProblem(
        ("25006",),
        r"session is read-only|server is in hot standby mode",
        "`{where}` is read-only",
        "use the URL of the primary, and end `default_transaction_read_only`",
    ),
    ConnectionProblem(
        ("53100",),
        r"No space left on device",
        "the disk of `{where}` is full",
        "give the server room, then repeat the command",
    ),
    ConnectionProblem(
        (),
        r"SSL|TLS|certificate|root\.crt",
        "no verified TLS connection to `{where}`",
        "check `sslmode` and `sslrootcert` (`system` for a public certificate) and the host name in the certificate",
        refused=False,
    ),
    ConnectionProblem(
        ("57P01", "57P02", "57P03"),
        r"terminating connection|the database system is (starting up|shutting down|not yet accepting|in recovery)",
        "`{where}` is starting, stopping or ended this session",
        "wait until it accepts connections, then repeat the command",
        refused=False,
    ),
)


def tail(said: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in said.splitlines() if line.strip())[:6]


def without_secrets(text: str, dsn: str) -> str:
    """`text` with the password of `dsn` taken out, however it was written.

    One that is also the name of the role or the database (`postgres:postgres`) stays: it is shown anyway.
    """
    secrets = set(re.findall(r"://[^:/@\s]*:([^@\s]+)@", dsn)) | set(re.findall(r"password\s*=\s*'?([^'\s&]+)", dsn))
    try:
        words = conninfo.conninfo_to_dict(dsn)
        secrets |= {str(words[name]) for name in ("password", "sslpassword") if words.get(name)}
        secrets -= {str(words.get(name)) for name in ("user", "dbname", "host")}
    except psycopg.Error:
        text = text.replace(dsn, "…")
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "…")
    return text
