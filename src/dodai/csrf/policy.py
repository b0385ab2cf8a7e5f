"""The `[csrf]` section of the manifest, as values; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

from dodai.core.dataclass import dataclass
from dodai.core.section import bind, key, rows, seconds, size

Mode = Literal["both", "either", "header", "framework", "report"]
When = Literal["always", "bearer"]
Services = Mapping[str, Mapping[str, Any]]
"""The `[service.NAME]` tables of a manifest."""

RESERVED_PREFIX = "/-/dodai"
PROBE_PATH = "/-/dodai/probe"
REFRESH_PATH = "/-/dodai/csrf"
_DAY = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Exemption:
    """One route that is not checked, named by the id that `dodai routes` prints: `POST /webhooks/grade`.

    `control` says what protects the route instead (`webhook signature`, `bearer token only`, `OIDC state`). `expires`
    is an ISO day (`2027-03-31`), the last on which the exemption holds; empty means it holds until somebody removes it.
    `when` is "always", or "bearer": for requests without any cookie and with a bearer token, which no page can make a
    browser send; then `route` may end in `*` (`POST /api/*`, `* /api/*`). `service` is the only one in which it holds.
    """

    route: str
    reason: str
    owner: str = ""
    control: str = ""
    expires: str = ""
    when: When = "always"
    service: str = ""

    def covers(self, route: str) -> bool:
        """Whether this is the exemption of the route id `route`."""
        if self.when == "always" or not self.route.endswith("*"):
            return self.route == route
        method, _, path = self.route[:-1].partition(" ")
        asked, _, where = route.partition(" ")
        return method in ("*", asked) and where.startswith(path)

    def holds(self, today: str) -> bool:
        """True while the exemption is in force on the ISO day `today`; never with an `expires` that is no ISO day."""
        return not self.expires or (self.has_day and today <= self.expires)

    @property
    def has_day(self) -> bool:
        """Whether `expires` is a day: what is not (`31.12.2026`, `2026-9-1`) cannot be compared, so it never holds."""
        return _DAY.fullmatch(self.expires) is not None


@dataclass(frozen=True, slots=True)
class ExemptionRow:
    """One `[[csrf.exemption]]` as it is written: the same for `route` and for each of `routes`."""

    reason: str
    route: str = ""
    routes: tuple[str, ...] = ()
    owner: str = ""
    control: str = ""
    expires: str = ""
    when: When = "always"
    service: str = ""


def _of_each_route(written: Iterable[ExemptionRow]) -> tuple[Exemption, ...]:
    """An exemption for each route that is named; those that always hold come first."""
    found = [
        Exemption(route, row.reason, row.owner, row.control, row.expires, row.when, row.service)
        for row in written
        for route in (row.route, *row.routes)
        if route
    ]
    return tuple(sorted(found, key=lambda row: row.when != "always"))


@dataclass(frozen=True, slots=True)
class OuterLayer:
    """One `[[csrf.outer]]`: code in front of every check that answers by itself, and what protects what it does.

    `layer` is its name as `dodai routes` prints it. It changes nothing in the app; the audit counts its rows as exempt.
    """

    layer: str
    reason: str
    owner: str = ""
    control: str = ""
    expires: str = ""


def _as_exemptions(written: Iterable[OuterLayer]) -> tuple[Exemption, ...]:
    """The same terms, with the layer in the place of a route."""
    return tuple(Exemption(row.layer, row.reason, row.owner, row.control, row.expires) for row in written)


@dataclass(frozen=True, slots=True)
class Limit:
    """One route whose body may be larger or must be smaller than `body_limit`."""

    route: str
    size_bytes: int = size()


def _by_route(limits: Iterable[Limit]) -> Mapping[str, int]:
    return {limit.route: limit.size_bytes for limit in limits}


@dataclass(frozen=True, slots=True)
class CsrfPolicy:
    """How state-changing requests are protected: `[csrf]`."""

    mode: Mode = "both"
    field: str = "csrf_token"
    header: str = key("x-csrf-token", read=str.lower)
    max_age_s: float = seconds("24h")
    search_bytes: int = size("64KiB")
    search_timeout_s: float = seconds("20s")
    body_limit_bytes: int = size("10MiB")
    limits: Mapping[str, int] = rows(Limit, name="limit", read=_by_route)
    trusted_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    templates: tuple[str, ...] = ("**/templates/**/*.html", "**/templates/**/*.jinja", "**/templates/**/*.j2")
    fetch_helpers: tuple[str, ...] = ()
    template_helpers: tuple[str, ...] = ()
    sign_in: str = ""
    examples: Mapping[str, str] = key(dict, name="example")
    lifespan: bool = True
    audit_timeout_s: float = seconds("60s")
    session_cookie: str = ""
    exemptions: tuple[Exemption, ...] = rows(ExemptionRow, name="exemption", read=_of_each_route)
    outer: tuple[Exemption, ...] = rows(OuterLayer, name="outer", read=_as_exemptions)

    @classmethod
    def from_manifest(cls, section: Mapping[str, Any]) -> CsrfPolicy:
        """The policy of a validated `[csrf]` section; keys that are absent have their defaults."""
        return bind(cls, section)

    def of_service(self, service: str, services: Services) -> CsrfPolicy:
        """The same with the exemptions that hold in a process of `service`, one of the tables `services`."""
        return replace(self, exemptions=tuple(row for row in self.exemptions if _is_of(row.service, service, services)))

    def unassigned(self, services: Services) -> tuple[Exemption, ...]:
        """The exemptions of which nobody can say whose they are: they name no service, and several are checked."""
        several = len(checked_services(services)) > 1
        return tuple(row for row in self.exemptions if several and not row.service)

    def outer_layer(self, name: str) -> Exemption | None:
        """The terms of the layer called `name`, which stand for a route's; or None."""
        return next((row for row in self.outer if row.route == name), None)

    def exemption(self, route: str | None) -> Exemption | None:
        """The exemption of exactly this route id, or None; one that always holds before one that asks for more."""
        return next((row for row in self.exemptions if row.covers(route)), None) if route else None

    def limit_bytes(self, route: str | None) -> int:
        """How many bytes a body for this route may have; the default when the route is not known."""
        return self.limits.get(route, self.body_limit_bytes) if route and self.limits else self.body_limit_bytes


def checked_services(services: Services) -> tuple[str, ...]:
    """The names of those whose requests dodai checks: servers that speak HTTP and have not switched it off."""
    return tuple(
        name
        for name, row in services.items()
        if (row.get("kind", "server"), row.get("protocol", "http"), row.get("csrf", "on")) == ("server", "http", "on")
    )


def told(section: Mapping[str, Any], service: str, services: Services) -> dict[str, Any]:
    """A validated `[csrf]` as a process of `service` is told it that does not read the manifest itself."""
    own = [row for row in section.get("exemption") or () if _is_of(row.get("service") or "", service, services)]
    return {**section, "exemption": own}


def _is_of(named: str, service: str, services: Services) -> bool:
    """Whether an exemption that names the service `named`, or none, is that of `service`.

    Without a name it is that of the only service that is checked, or the only one at all; of several it is nobody's.
    """
    checked = checked_services(services) or tuple(services) or (service,)
    only = checked[0] if len(checked) == 1 else ""
    return (named or only) == service


def nobodys(exemption: Exemption, services: Services) -> str:
    """What is wrong with an exemption of `CsrfPolicy.unassigned`, in words."""
    named = ", ".join(f"`{name}`" for name in checked_services(services))
    return f"the exemption of `{exemption.route}` names no `service`, and requests to {named} are checked"


def is_reserved(path: str) -> bool:
    """True for paths that belong to dodai."""
    return path.startswith(RESERVED_PREFIX) and path[len(RESERVED_PREFIX) :][:1] in ("", "/")
