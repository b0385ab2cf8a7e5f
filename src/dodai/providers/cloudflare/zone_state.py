"""What the zone should hold for one host name, what it holds, and how the two differ; pure values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.text import counted
from dodai.operations.ports import OPEN_RESERVED, EdgeSpec, RateLimit
from dodai.providers.cloudflare.cloudflare_api import AddressRanges, CloudflareRecord, CloudflareRule

REF = "dodai_"
"""Rules whose ref begins so are ours; no other is ever changed."""
CACHE, FIREWALL, LIMITS = "http_request_cache_settings", "http_request_firewall_custom", "http_ratelimit"
HEADERS = "http_request_late_transform"
PHASES = (CACHE, FIREWALL, LIMITS, HEADERS)
KEY_RULE = f"{REF}origin_key"
SETTINGS: Mapping[str, str] = {"ssl": "strict", "always_use_https": "on", "min_tls_version": "1.2"}
"""What a zone has to say; a stricter TLS version is as good."""
PERIODS_S = (10, 15, 20, 30, 40, 45, 60, 90, 120, 180, 240, 300, 480, 600, 900, 1200, 1800, 2400, 3600, 65535)
"""Over which seconds Cloudflare counts at all (the same page, footnote 3; the longest one on Enterprise alone)."""
KEY_HEADER = "x-edge-key"
"""In which the origin looks for it: `dodai.runtime.edge_gate`."""
PINNED_ON = "2023-09-28"
PINNED = AddressRanges(
    (
        *("173.245.48.0/20", "103.21.244.0/22", "103.22.200.0/22", "103.31.4.0/22", "141.101.64.0/18"),
        *("108.162.192.0/18", "190.93.240.0/20", "188.114.96.0/20", "197.234.240.0/22", "198.41.128.0/17"),
        *("162.158.0.0/15", "104.16.0.0/13", "104.24.0.0/14", "172.64.0.0/13", "131.0.72.0/22"),
    ),
    (
        *("2400:cb00::/32", "2606:4700::/32", "2803:f800::/32", "2405:b500::/32"),
        *("2405:8100::/32", "2a06:98c0::/29", "2c0f:f248::/32"),
    ),
)
"""Cloudflare's list as it was last changed on `PINNED_ON` (https://www.cloudflare.com/ips)."""


@dataclass(frozen=True, slots=True)
class ZonePlan:
    """How many rate limits a zone of a plan takes, over how many seconds they may count, what they may speak of."""

    most: int
    longest_s: int
    fields: frozenset[str]


_FREE = frozenset({"http.request.uri.path", "cf.bot_management.verified_bot"})
_PRO = _FREE | {"http.host", "http.request.uri", "http.request.full_uri", "http.request.uri.query"}
_BUSINESS = _PRO | {"http.request.method", "ip.src", "http.user_agent"}
PLANS: Mapping[str, ZonePlan] = {
    "free": ZonePlan(1, 10, _FREE),
    "pro": ZonePlan(2, 60, _PRO),
    "business": ZonePlan(5, 600, _BUSINESS),
}
"""https://developers.cloudflare.com/waf/rate-limiting-rules, "Availability"; of other plans nothing is known."""
_LITERAL = re.compile(r'"(?:\\.|[^"\\])*"')


@dataclass(frozen=True, slots=True)
class OwnRule:
    """A rule of ours as it is sent."""

    ref: str
    action: str
    expression: str
    description: str
    parameters: Any = None
    ratelimit: Any = None

    @property
    def body(self) -> dict[str, Any]:
        told = {"ref": self.ref, "action": self.action, "expression": self.expression, "enabled": True}
        more = {"action_parameters": self.parameters, "ratelimit": self.ratelimit}
        return {**told, "description": self.description, **{name: one for name, one in more.items() if one is not None}}

    def without_value(self) -> OwnRule:
        """What is kept of it on this machine: of the rule that sends the key, not the key."""
        return replace(self, parameters=None) if self.ref == KEY_RULE else self

    def is_there(self, rule: CloudflareRule) -> bool:
        same = (rule.action, rule.expression, rule.enabled) == (self.action, self.expression, True)
        return same and (rule.action_parameters or None) == self.parameters and self._counts_as(rule.ratelimit or None)

    def _counts_as(self, there: Any) -> bool:
        """What Cloudflare adds of its own to what it was told does not make it another rule."""
        if self.ratelimit is None or there is None:
            return there is self.ratelimit
        same = {name: there.get(name) for name in self.ratelimit}
        characteristics = sorted(same.get("characteristics") or ())
        return bool({**same, "characteristics": characteristics} == self.ratelimit)


@dataclass(frozen=True, slots=True)
class ZoneWish:
    """What the zone should say about `host`, whose requests go to `origin`."""

    host: str
    origin: str
    rules: Mapping[str, tuple[OwnRule, ...]]


@dataclass(frozen=True, slots=True)
class ZoneSeen:
    """What it says. `rules` are those of ours by phase, `foreign` how many are not, `rulesets` the id of each phase.

    `plan` is what is paid for, `foreign_limits` how many rate limits of others it has to hold too, `zone` its name.
    """

    settings: Mapping[str, str] = field(default_factory=dict)
    records: tuple[CloudflareRecord, ...] = ()
    rules: Mapping[str, tuple[CloudflareRule, ...]] = field(default_factory=dict)
    rulesets: Mapping[str, str] = field(default_factory=dict)
    foreign: int = 0
    plan: str = ""
    foreign_limits: int = 0
    zone: str = ""

    def as_json(self) -> dict[str, Any]:
        """What is kept to come back to: only what may be changed here."""
        return {
            "settings": dict(self.settings),
            "records": [{"type": one.type, "content": one.content, "proxied": one.proxied} for one in self.records],
            "rules": {
                phase: [one.without_value().body for one in _by_ref(rules)]
                for phase, rules in self.rules.items()
                if rules
            },
        }


def _by_ref(rules: Iterable[CloudflareRule]) -> list[OwnRule]:
    """Rules that are there, as they would be sent. Ours exclude each other, so that their order says nothing."""
    kept = [
        OwnRule(one.ref, one.action, one.expression, one.description, one.action_parameters, one.ratelimit)
        for one in rules
    ]
    return sorted(kept, key=lambda one: one.ref)


def key_rule(key: str, hosts: Iterable[str]) -> OwnRule:
    """What is sent on to the origin says `key`, whatever the visitor said under that name."""
    names = " ".join(sorted(map(_quoted, hosts)))
    told = {"headers": {KEY_HEADER: {"operation": "set", "value": key}}}
    return OwnRule(KEY_RULE, "rewrite", f"(http.host in {{{names}}})", "dodai: what the origin knows its edge by", told)


def wish(spec: EdgeSpec, host: str, origin: str, key: str = "", hosts: Iterable[str] = ()) -> ZoneWish:
    """What `spec` means in a zone: static paths cached, everything else never, our own paths closed from outside.

    Without a time of the edge's own: with one, Cloudflare cuts off `Set-Cookie` and stores the answer for everybody,
    `private` and `no-store` or not (https://developers.cloudflare.com/cache/concepts/cache-behavior).
    `key` is added to every request of `hosts`; "" for none.
    """
    here = f"http.host eq {_quoted(host)}"
    shared = [rule.prefix for rule in spec.cache]
    cache = []
    if shared:
        said, why = f"({here} and {_any_of(shared)})", "dodai: paths that everybody may share"
        cache.append(OwnRule(f"{REF}cache_shared", "set_cache_settings", said, why, {"cache": True}))
    rest = f"({here} and not {_any_of(shared)})" if shared else f"({here})"
    cache.append(
        OwnRule(f"{REF}cache_rest", "set_cache_settings", rest, "dodai: private to who asked", {"cache": False})
    )
    let_through = " ".join(map(_quoted, OPEN_RESERVED))
    closed = f"({here} and {_any_of(['/-/dodai/'])} and not http.request.uri.path in {{{let_through}}})"
    reserved = OwnRule(f"{REF}reserved", "block", closed, "dodai: paths for operators are closed from outside")
    limits = tuple(_limit_rule(one, here) for one in spec.limits)
    told = {HEADERS: (key_rule(key, hosts),)} if key else {}
    return ZoneWish(host, origin, {CACHE: tuple(cache), FIREWALL: (reserved,), LIMITS: limits} | told)


def _limit_rule(limit: RateLimit, here: str) -> OwnRule:
    """Who is over the limit is answered 429 for as long as the window is; each data centre counts by itself.

    A relief ends by the clock of Cloudflare: `http.request.timestamp.sec` is when it received the request.
    """
    methods = " ".join(_quoted(method) for method in limit.methods)
    way = _any_of([limit.path.rstrip("*")]) if limit.path.endswith("*") else _is_path(limit.path)
    later = f" and http.request.timestamp.sec ge {int(limit.relieved_until_s)}" if limit.relieved_until_s else ""
    counted = {
        "characteristics": ["cf.colo.id", "ip.src"],
        "period": int(limit.window_s),
        "requests_per_period": limit.requests,
        "mitigation_timeout": int(limit.window_s),
    }
    said = f"({here} and http.request.method in {{{methods}}} and {way}{later})"
    return OwnRule(f"{REF}limit_{limit.name}", "block", said, "dodai: how much one client may send", None, counted)


def _is_path(path: str) -> str:
    return f"http.request.uri.path eq {_quoted(path)}"


def _any_of(prefixes: Iterable[str]) -> str:
    return "(" + " or ".join(f"starts_with(http.request.uri.path, {_quoted(one)})" for one in prefixes) + ")"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def beyond_plan(limits: tuple[RateLimit, ...], seen: ZoneSeen) -> Iterator[str]:
    """Why Cloudflare would refuse the rate limits, found before anything is changed."""
    for one in limits:
        if int(one.window_s) not in PERIODS_S:
            known = ", ".join(map(str, PERIODS_S))
            yield f"`{one.name}` counts over {int(one.window_s)} s, and Cloudflare over {known} s"
    plan = PLANS.get(seen.plan)
    if plan is None:
        return
    most, longest_s = plan.most, plan.longest_s
    wanted = len(limits) + seen.foreign_limits
    if limits and wanted > most:
        theirs = f", {seen.foreign_limits} of them not ours" if seen.foreign_limits else ""
        yield f"the plan `{seen.plan}` takes {counted(most, 'rate limit')}, and {wanted} are wanted{theirs}"
    for one in limits:
        window_s = int(one.window_s)
        if window_s > longest_s and window_s in PERIODS_S:
            yield f"the plan `{seen.plan}` counts over at most {longest_s} s, and `{one.name}` over {window_s} s"
        # Without a field the rule would hold back people whom the manifest does not mean: of other hosts or methods.
        if lacks := sorted(_fields(_limit_rule(one, "http.host").expression) - plan.fields):
            shown = " and ".join(f"`{name}`" for name in lacks)
            yield f"rate limits of the plan `{seen.plan}` cannot speak of {shown}, as that of `{one.name}` has to"


def _fields(expression: str) -> frozenset[str]:
    """What a rule asks of a request."""
    return frozenset(re.findall(r"[a-z_]+(?:\.[a-z_]+)+", _LITERAL.sub("", expression)))


def differences(wanted: ZoneWish, seen: ZoneSeen) -> tuple[str, ...]:
    """What has to change before the zone is as it should be, in words; nothing when it is."""
    return (*_settings(seen), *_record(wanted, seen), *_rules(wanted, seen))


def fits(name: str, value: str) -> bool:
    """Whether a setting is as it should be, or stricter."""
    if name == "min_tls_version":
        return value in ("1.2", "1.3")
    return value == SETTINGS[name]


def _settings(seen: ZoneSeen) -> Iterator[str]:
    for name, value in seen.settings.items():
        if not fits(name, value):
            yield f"`{name}` is `{value}`, not `{SETTINGS[name]}`"


def _record(wanted: ZoneWish, seen: ZoneSeen) -> Iterator[str]:
    if not seen.records:
        yield f"`{wanted.host}` has no record"
    for record in seen.records:
        if record.content.rstrip(".").lower() != wanted.origin.lower():
            yield f"`{wanted.host}` leads to `{record.content}`, not `{wanted.origin}`"
        if not record.proxied:
            yield f"`{wanted.host}` is not proxied: visitors reach the origin itself"


def _rules(wanted: ZoneWish, seen: ZoneSeen) -> Iterator[str]:
    for phase, rules in wanted.rules.items():
        there = {rule.ref: rule for rule in seen.rules.get(phase, ())}
        for rule in rules:
            if rule.ref not in there:
                yield f"the rule `{rule.ref}` is missing"
            elif not rule.is_there(there[rule.ref]):
                yield f"the rule `{rule.ref}` is another one"
        for ref in there.keys() - {rule.ref for rule in rules}:
            yield f"the rule `{ref}` is not wanted any more"
