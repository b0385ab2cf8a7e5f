"""The Cloudflare zone and the Authentik application of a production rehearsal: stand-ins, and what leads to them."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.operations.environment_policy import EnvironmentPolicy
from dodai.providers.cloudflare import cloudflare_api
from dodai.providers.local.browser import HttpBrowser
from dodai.rehearsal.ports import Difference
from dodai.standins.authentik_standin import AuthentikStandIn
from dodai.standins.cloudflare_standin import CloudflareStandIn
from dodai.standins.zone_visitors import ZoneVisitors
from dodai.vendor_api.codes import NO_STAND_IN

FOREIGN = ("http_request_firewall_custom", "theirs", 'ip.geoip.country eq "XX"')
"""A rule of somebody else, which has to be there afterwards as it was."""


@dataclass(frozen=True, slots=True)
class ZoneHere:
    """The zone, and how a visitor comes to a URL: by the zone's own server where that is the public one."""

    zone: CloudflareStandIn
    visit: Callable[[str], HttpBrowser]
    variables: dict[str, str]
    differences: tuple[Difference, ...]
    theirs: Mapping[str, Any]

    @property
    def foreign_is_untouched(self) -> bool:
        """Whether the rule of somebody else is there as it was."""
        return dict(self.theirs) in self.zone.rulesets[FOREIGN[0]]["rules"]


def stand_zone(config: EnvironmentPolicy, origin_url: str, stack: ExitStack) -> ZoneHere:
    """The zone as it is before dodai comes: flexible TLS, no record, a rule of somebody else."""
    origin, host = config.public_origins[0], urlsplit(config.public_origins[0]).hostname or ""
    token = secrets.token_hex(16)
    zone = CloudflareStandIn({token: frozenset({"*"})}, name=host.partition(".")[2] or host)
    zone.zone = config.cloudflare.zone
    stack.enter_context(zone)
    theirs = zone.foreign_rule(*FOREIGN)
    try:
        there = {config.cloudflare.origin.lower(): urlsplit(origin_url).netloc}
        visitors = stack.enter_context(ZoneVisitors(zone, host, there))
    except OSError as error:
        said = f"a server with TLS for `{host}` cannot be made: {error}"
        raise DodaiError(NO_STAND_IN, said, "install openssl", exit_code=2) from error
    told = {cloudflare_api.TOKEN: token, cloudflare_api.ADDRESS: zone.url}
    here = "one place, where header, firewall, limit and cache rules of these words are carried out at once"
    rows = (
        Difference("zone", "Cloudflare: managed WAF, its own caches and counts, when a change is everywhere", here),
        Difference("TLS", "a public authority; strict up to Fly's certificate", "an authority made here, none behind"),
        Difference("edge's own lines", "Cloudflare's log, found by its ray", "the ray that the web tier was given"),
    )
    return ZoneHere(zone, partial(_visit, visitors, origin, count(1)), told, rows, theirs)


def _visit(visitors: ZoneVisitors, origin: str, people: Iterator[int], url: str) -> HttpBrowser:
    """People resolve the public name; here it leads to the stand-in, whose certificate is checked for that name.

    Each comes from an address of its own, where the system lets a process have any of 127.0.0.0/8.
    """
    if url.rstrip("/") != origin:
        return HttpBrowser(url)
    number = next(people)
    own = f"127.{64 + (number >> 16) % 64}.{(number >> 8) % 256}.{number % 256}" if sys.platform == "linux" else ""
    at = f"https://{visitors.address}"
    return HttpBrowser(at, origin=origin, authority=str(visitors.authority), address=own)


def stand_identity(config: EnvironmentPolicy, stack: ExitStack) -> tuple[AuthentikStandIn, str, Difference]:
    """The application at Authentik, and the token of its API; sign-in itself is done with another stand-in.

    As the manifest says that it is, or, where a deploy applies a blueprint, with an address of before.
    """
    wanted, token = config.authentik, secrets.token_hex(16)
    found = AuthentikStandIn({token: frozenset({"*"})}, slug=wanted.application)
    found.client["client_id"] = wanted.client_id or found.client["client_id"]
    found.client["redirect_uris"] = [{"matching_mode": "strict", "url": uri} for uri in wanted.redirect_uris]
    if wanted.blueprint_file:
        found.client["redirect_uris"] = [{"matching_mode": "strict", "url": f"{wanted.url.rstrip('/')}/before"}]
    elif wanted.blueprint:
        found.shelf.add(wanted.blueprint, status="successful")
    stack.enter_context(found)
    here = "its API says what the manifest says; people sign in at a provider that runs beside it"
    if wanted.blueprint_file:
        here = (
            "its API, a worker that applies two kinds of objects, other fields of them taken unseen;"
            " people sign in at a provider that runs beside it"
        )
    said = "Authentik: its address, flows, users, sessions, database"
    return found, token, Difference("identity", said, here)
