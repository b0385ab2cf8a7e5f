"""The `[csrf]` section of the manifest, as values; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as field_of
from typing import Any, Literal

Mode = Literal["both", "either", "header", "report"]

PROBE_PATH = "/-/dodai/probe"
REFRESH_PATH = "/-/dodai/csrf"
_DAY = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Exemption:
    """One route that is not checked, named by the id that `dodai routes` prints: `POST /webhooks/grade`.

    `control` says what protects the route instead (`webhook signature`, `bearer token only`, `OIDC state`). `expires`
    is an ISO day (`2027-03-31`), the last on which the exemption holds; empty means it holds until somebody removes it.
    `when` is "always", or "bearer": for requests without any cookie and with a bearer token, which no page can make a
    browser send; then `route` may end in `*` (`POST /api/*`, `* /api/*`).
    """

    route: str
    reason: str = ""
    owner: str = ""
    control: str = ""
    expires: str = ""
    when: Literal["always", "bearer"] = "always"

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
class CsrfPolicy:
    """How state-changing requests are protected; the defaults are those of the manifest."""

    mode: Mode = "both"
    field: str = "csrf_token"
    header: str = "x-csrf-token"
    max_age_s: float = 86_400.0
    search_bytes: int = 64 * 1024
    search_timeout_s: float = 20.0
    body_limit_bytes: int = 10 * 1024 * 1024
    limits: Mapping[str, int] = field_of(default_factory=dict)
    trusted_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    templates: tuple[str, ...] = ("**/templates/**/*.html", "**/templates/**/*.jinja", "**/templates/**/*.j2")
    fetch_helpers: tuple[str, ...] = ()
    sign_in: str = ""
    session_cookie: str = ""
    exemptions: tuple[Exemption, ...] = ()

    @classmethod
    def from_manifest(cls, section: Mapping[str, Any]) -> CsrfPolicy:
        """The policy of a validated `[csrf]` section; keys that are absent have their defaults."""
        default = cls()
        return cls(
            mode=section.get("mode", default.mode),
            field=section.get("field", default.field),
            header=str(section.get("header", default.header)).lower(),
            max_age_s=float(section.get("max_age", default.max_age_s)),
            search_bytes=int(section.get("search", default.search_bytes)),
            search_timeout_s=float(section.get("search_timeout", default.search_timeout_s)),
            body_limit_bytes=int(section.get("body_limit", default.body_limit_bytes)),
            limits={str(row["route"]): int(row["size"]) for row in section.get("limit", ())},
            trusted_origins=tuple(section.get("trusted_origins", ())),
            trusted_proxies=tuple(section.get("trusted_proxies", ())),
            templates=tuple(section.get("templates", default.templates)),
            fetch_helpers=tuple(section.get("fetch_helpers", ())),
            sign_in=str(section.get("sign_in", "")),
            session_cookie=str(section.get("session_cookie", "")),
            exemptions=_exemptions(section.get("exemption", ())),
        )

    def exemption(self, route: str | None) -> Exemption | None:
        """The exemption of exactly this route id, or None; one that always holds before one that asks for more."""
        return next((row for row in self.exemptions if row.covers(route)), None) if route else None

    def limit_bytes(self, route: str | None) -> int:
        """How many bytes a body for this route may have; the default when the route is not known."""
        return self.limits.get(route, self.body_limit_bytes) if route and self.limits else self.body_limit_bytes


def _exemptions(rows: Iterable[Mapping[str, Any]]) -> tuple[Exemption, ...]:
    """One for `route` and each of `routes`; those that always hold come first."""
    found = [
        Exemption(
            route=str(route),
            reason=str(row.get("reason", "")),
            owner=str(row.get("owner", "")),
            control=str(row.get("control", "")),
            expires=str(row.get("expires", "")),
            when=row.get("when", "always"),
        )
        for row in rows
        for route in (row.get("route"), *(row.get("routes") or ()))
        if route
    ]
    return tuple(sorted(found, key=lambda exemption: exemption.when != "always"))
