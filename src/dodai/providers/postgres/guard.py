"""Which connections are good enough for migrations and locks: direct ones, and verified ones when they leave here."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import psycopg

from dodai.core.errors import DodaiError
from dodai.providers.postgres.codes import POOLED, UNVERIFIED_TLS
from dodai.providers.postgres.connection import address, coded, parameters

POOLER_PORTS = ("6432",)
POOLER_MARK = "-pooler."
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1", "ip6-localhost")
Opener = Callable[[], psycopg.Connection[Any]]


@dataclass(frozen=True, slots=True)
class Directness:
    """What was seen of a connection. `pooled` are proofs; `signs` alone prove nothing: a direct host may proxy too."""

    pooled: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()


def require_verified_tls(dsn: str, *, plain_hosts: Collection[str] = ()) -> None:
    """Raises DOD379 when `dsn` leaves this machine without `sslmode=verify-full`.

    Sockets and loopback are exempt, and `plain_hosts` (a private network that encrypts by itself). `PGSSLMODE` counts
    when the URL says nothing, as it does for libpq.
    """
    words = parameters(dsn)
    hosts = [*str(words.get("host") or "").split(","), *str(words.get("hostaddr") or "").split(",")]
    remote = [host for host in hosts if is_remote(host) and host not in plain_hosts]
    mode = str(words.get("sslmode") or os.environ.get("PGSSLMODE") or "prefer")
    if remote and mode != "verify-full":
        raise DodaiError(
            UNVERIFIED_TLS,
            f"`{address(dsn)}` is remote and has `sslmode={mode}`",
            "add `sslmode=verify-full` to the URL (and `sslrootcert=system` for a public certificate)",
            exit_code=2,
        )


def is_remote(host: str) -> bool:
    return bool(host) and not host.startswith(("/", "@")) and host.lower() not in LOOPBACK_HOSTS


def pooled_by_name(dsn: str) -> tuple[str, ...]:
    """What in `dsn` itself says pooler: a host like Neon's, PgBouncer's port."""
    words = parameters(dsn)
    host, port = str(words.get("host") or ""), str(words.get("port") or "")
    found = [f"host `{name}` is a pooler's" for name in host.split(",") if POOLER_MARK in f"{name}."]
    found += [f"port `{number}` is PgBouncer's" for number in port.split(",") if number in POOLER_PORTS]
    return tuple(found)


def directness(connection: psycopg.Connection[Any], open_second: Opener) -> Directness:
    """What two live sessions show. `connection` is idle; `open_second` opens another one to the same URL.

    A setting made on the first must stay there and must not be seen by the second, which keeps a transaction open in
    between so that a transaction pooler has to hand out another server session. `connection` is left as it was.
    """
    signs = differing_pids(connection)
    mark = secrets.token_hex(8)
    pooled: tuple[str, ...]
    set_mark(connection, mark)
    with open_second() as second, second.transaction():
        if read_mark(second) == mark:  # and with a pool of one, the first could now wait for ever
            pooled = ("a SET of this session was seen by another one",)
        elif read_mark(connection) != mark:
            pooled = ("a SET of this session was lost between two transactions",)
        else:
            pooled = ()
    set_mark(connection, "")
    return Directness(pooled, signs)


def differing_pids(connection: psycopg.Connection[Any]) -> tuple[str, ...]:
    """A proxy's made-up process id: the one of the handshake is not the one the server says."""
    promised = connection.info.backend_pid
    row = fetch(connection, "SELECT pg_backend_pid()")
    return () if row == promised else (f"the handshake said backend {promised}, the server says {row}",)


def require_direct(dsn: str, open_session: Opener) -> tuple[str, ...]:
    """The signs of a proxy that were seen (none on a direct connection); raises DOD378 when `dsn` leads to a pooler."""
    named = pooled_by_name(dsn)
    if named:
        raise pooled(dsn, named)
    with coded(dsn), open_session() as connection:
        found = directness(connection, open_session)
    if found.pooled:
        raise pooled(dsn, (*found.pooled, *found.signs))
    return found.signs


def pooled(dsn: str, evidence: tuple[str, ...]) -> DodaiError:
    where = address(dsn)
    host = where.host.replace("-pooler", "") if POOLER_MARK in f"{where.host}." else ""
    return DodaiError(
        POOLED,
        f"`{where}` leads through a transaction pooler",
        f"use the direct host `{host}`" if host else "use the address of the server itself, not the pooler's",
        exit_code=2,
        details=evidence,
    )


def set_mark(connection: psycopg.Connection[Any], mark: str) -> None:
    fetch(connection, "SELECT set_config('dodai.mark', %s, false)", mark)


def read_mark(connection: psycopg.Connection[Any]) -> str:
    return str(fetch(connection, "SELECT current_setting('dodai.mark', true)"))


def fetch(connection: psycopg.Connection[Any], query: str, *values: str) -> Any:
    """The single value of a query in a transaction of its own."""
    with connection.transaction():
        row = connection.execute(query, values or None).fetchone()
    return row[0] if row else None
