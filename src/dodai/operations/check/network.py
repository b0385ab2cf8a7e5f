"""The rules about the network of a running environment: what people reach safely, and what must be closed."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import ClassVar
from urllib.parse import urlsplit

from dodai.core.dataclass import dataclass
from dodai.core.errors import Code
from dodai.core.fact import Cost, Unknown
from dodai.core.finding import Finding
from dodai.core.manifest import Manifest
from dodai.core.rule import declared, rule
from dodai.operations import codes
from dodai.operations.check.secrets import place_of
from dodai.operations.policy import OperationsPolicy
from dodai.operations.ports import DirectSeen, OriginSeen, PortSeen

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class OriginsSeen:
    """The `https` origins of the environment `env`, each asked once."""

    cost: ClassVar[Cost] = "live"
    env: str
    origins: tuple[OriginSeen, ...]

    @property
    def gaps(self) -> tuple[Unknown, ...]:
        fix = "ask from a machine that reaches it, or correct `public_origins`"
        lost = (f"`{one.origin}` cannot be reached: {one.unreachable}" for one in self.origins if one.unreachable)
        unsaid = (f"`{one.origin}`: {one.unknown}" for one in self.origins if one.unknown)
        return tuple(Unknown(reason, fix) for reason in (*lost, *unsaid))


@dataclass(frozen=True, slots=True)
class DirectRequests:
    """Requests to the public service of `env` that went around its edge."""

    cost: ClassVar[Cost] = "live"
    env: str
    asked: tuple[DirectSeen, ...]

    @property
    def gaps(self) -> tuple[Unknown, ...]:
        fix = "ask from a machine that the edge lets in, or correct `direct_origins`"
        return tuple(Unknown(one.unknown, fix) for one in self.asked if one.unknown)


@dataclass(frozen=True, slots=True)
class ClosedPorts:
    """The ports of `env` that nobody may reach from here."""

    cost: ClassVar[Cost] = "live"
    env: str
    tried: tuple[PortSeen, ...]

    @property
    def gaps(self) -> tuple[Unknown, ...]:
        fix = "ask from a machine that reaches the environment, or correct `closed_ports`"
        return tuple(Unknown(one.unknown, fix) for one in self.tried if one.unknown)


@rule(codes.CERTIFICATE_REFUSED, needs=(Manifest, OriginsSeen))
def browsers_trust_every_origin(manifest: Manifest, seen: OriginsSeen) -> Iterator[Finding]:
    for one in seen.origins:
        if one.problem:
            yield _finding(codes.CERTIFICATE_REFUSED, manifest, seen.env, f"`{one.origin}`: {one.problem}")


@rule(codes.CERTIFICATE_ENDS, needs=(Manifest, OriginsSeen))
def no_certificate_ends_soon(manifest: Manifest, seen: OriginsSeen) -> Iterator[Finding]:
    least_s = OperationsPolicy.from_manifest(manifest).environments[seen.env].certificate_left_s
    for one in seen.origins:
        if one.ends_in_s is not None and one.ends_in_s < least_s:
            said = f"the certificate of `{one.origin}` ends in {one.ends_in_s / DAY_S:.1f} days"
            yield _finding(codes.CERTIFICATE_ENDS, manifest, seen.env, f"{said}, {least_s / DAY_S:g} are asked for")


@rule(codes.PLAIN_HTTP, needs=(Manifest, OriginsSeen))
def plain_http_leads_to_https(manifest: Manifest, seen: OriginsSeen) -> Iterator[Finding]:
    for one in seen.origins:
        if one.plain:
            yield _finding(codes.PLAIN_HTTP, manifest, seen.env, f"`{one.origin}`: {one.plain}")


@rule(codes.PLAIN_HTTP, needs=(Manifest,))
def every_origin_is_https(manifest: Manifest) -> Iterator[Finding]:
    for name, environment in OperationsPolicy.from_manifest(manifest).environments.items():
        for origin in environment.public_origins:
            if urlsplit(origin).scheme != "https" and not is_loopback(urlsplit(origin).hostname or ""):
                yield _finding(codes.PLAIN_HTTP, manifest, name, f"`{origin}` is not https")


@rule(codes.OLD_TLS, needs=(Manifest, OriginsSeen))
def no_origin_speaks_old_tls(manifest: Manifest, seen: OriginsSeen) -> Iterator[Finding]:
    for one in seen.origins:
        if one.old_tls:
            yield _finding(codes.OLD_TLS, manifest, seen.env, f"`{one.origin}` accepts {one.old_tls}")


@rule(codes.ANSWERS_DIRECTLY, needs=(Manifest, DirectRequests))
def nobody_gets_around_the_edge(manifest: Manifest, seen: DirectRequests) -> Iterator[Finding]:
    for one in seen.asked:
        for said in one.let_in:
            yield _finding(codes.ANSWERS_DIRECTLY, manifest, seen.env, said, "direct_origins")


@rule(codes.PORT_OPEN, needs=(Manifest, ClosedPorts))
def every_closed_port_is_closed(manifest: Manifest, seen: ClosedPorts) -> Iterator[Finding]:
    for one in seen.tried:
        if one.taken:
            said = f"`{one.address}` takes a connection from here"
            yield _finding(codes.PORT_OPEN, manifest, seen.env, said, "closed_ports")


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can mean it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _finding(code: Code, manifest: Manifest, env: str, said: str, key: str = "public_origins") -> Finding:
    return Finding(code, said, place_of(manifest, "env", env, key))


RULES = declared(globals())
