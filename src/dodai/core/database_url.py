"""PostgreSQL addresses: the one rule for where a URL leads, and whether locks and passwords may go there."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from dodai.core import codes
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError

POOLER_MARK = "-pooler."
"""In the host names of Neon's poolers."""
POOLER_PORT = "6432"
"""PgBouncer's."""
DEFAULT_PORT = "5432"
_HERE = re.compile(r"[/@].*|localhost|ip6-localhost|::1|127(\.\d{1,3}){3}", re.IGNORECASE | re.DOTALL)
"""Sockets (`/`, abstract ones `@`) and loopback; a name that only begins with 127 is anybody's."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place that libpq may connect to: at `address` when that is given, by the name `host`, which TLS verifies."""

    host: str
    address: str
    port: str

    def __str__(self) -> str:
        return f"{self.host or self.address or 'localhost'}:{self.port}"

    @property
    def is_pooler(self) -> bool:
        return POOLER_MARK in f"{self.host}." or self.port == POOLER_PORT

    def is_remote(self, plain_hosts: Collection[str] = ()) -> bool:
        """Whether a password sent there leaves this machine; `plain_hosts` are private networks that encrypt.

        Both names count: `host=localhost hostaddr=203.0.113.5` leads away, and so may what a remote name stands for.
        """
        return any(name not in plain_hosts and not _is_here(name) for name in (self.host, self.address) if name)


def _is_here(name: str) -> bool:
    return _HERE.fullmatch(name) is not None


_DRIVER = re.compile(r"\A(postgres(?:ql)?)\+\w+(?=://)", re.IGNORECASE)
"""What SQLAlchemy writes into the scheme."""
_OF_PRISMA = ("connection_limit", "pool_timeout", "socket_timeout", "statement_cache_size", "sslaccept", "pgbouncer")
"""Parameters of Prisma's client that libpq refuses and that say nothing of where the URL leads."""


def libpq_url(url: str) -> str:
    """`url` as libpq reads it, without SQLAlchemy's driver and Prisma's parameters; its schema is the search path."""
    scheme_to_path, mark, query = _DRIVER.sub(r"\1", url, count=1).partition("?")
    if not mark or "://" not in scheme_to_path:
        return scheme_to_path + mark + query
    words = [word for word in query.split("&") if word.partition("=")[0] not in _OF_PRISMA]
    schema = next((word.partition("=")[2] for word in words if word.startswith("schema=")), "")
    kept = [word for word in words if not word.startswith("schema=")]
    if schema and schema != "public":
        kept.append(f"options=-csearch_path%3D{schema}")
    return scheme_to_path + ("?" + "&".join(kept) if kept else "")


def endpoints(words: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """Every place that these libpq words lead to, in the order in which they are tried.

    `host`, `hostaddr` and `port` are lists; one port stands for all. What is not said is in `PGHOST`, `PGHOSTADDR` and
    `PGPORT`, as libpq reads them (https://www.postgresql.org/docs/current/libpq-envars.html).
    """
    hosts, addresses, ports = (
        str(words.get(word) or environ.get(variable) or "").split(",")
        for word, variable in (("host", "PGHOST"), ("hostaddr", "PGHOSTADDR"), ("port", "PGPORT"))
    )
    count = max(len(hosts), len(addresses))
    ports = ports * count if len(ports) == 1 else ports
    return tuple(
        Endpoint(
            hosts[n] if n < len(hosts) else "",
            addresses[n] if n < len(addresses) else "",
            (ports[n] if n < len(ports) else "") or DEFAULT_PORT,
        )
        for n in range(count)
    )


def sslmode(words: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """What the words demand of TLS; `PGSSLMODE`, then libpq's own default, when they say nothing."""
    return str(words.get("sslmode") or environ.get("PGSSLMODE") or "prefer")


def with_login(url: str, role: str, password: str) -> str:
    """`url`, or libpq's words, with another role and its password."""
    if "://" not in url:
        words = (("user", role), ("password", password))
        return " ".join([url, *(f"{name}='{_quoted(value)}'" for name, value in words)]).strip()
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(role, safe='')}:{quote(password, safe='')}@{place}"))


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def refuse_unfit(words: Mapping[str, Any], environ: Mapping[str, str], plain_hosts: Collection[str] = ()) -> None:
    """Refuse an address that is unfit for locks or passwords, before anything is sent there (exit 1).

    DOD067 for a transaction pooler; DOD066 for a remote server whose certificate nobody verifies.
    """
    found = endpoints(words, environ)
    if pooler := next((one for one in found if one.is_pooler), None):
        raise pooled(f"`{pooler}` is a connection pooler", pooler)
    remote = next((one for one in found if one.is_remote(plain_hosts)), None)
    if remote and (mode := sslmode(words, environ)) != "verify-full":
        named = remote.address if remote.address and not _is_here(remote.address) else remote.host
        message = f"`{named}` is remote and the URL has `sslmode={mode}`"
        raise DodaiError(codes.UNVERIFIED_TLS, message, codes.UNVERIFIED_TLS.fix.en, exit_code=1)


def pooled(message: str, endpoint: Endpoint | None = None) -> DodaiError:
    """DOD067, with the direct host where it can be told from the pooler's."""
    direct = endpoint.host.replace("-pooler", "", 1) if endpoint and POOLER_MARK in f"{endpoint.host}." else ""
    fix = f"use the direct host `{direct}`" if direct else codes.POOLED.fix.en
    return DodaiError(codes.POOLED, message, fix, exit_code=1)
