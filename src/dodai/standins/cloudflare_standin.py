"""A stand-in for Cloudflare: the API version 4 of one zone, its settings, records, rulesets and address ranges."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.standins.standin_server import Asked, Reply, StandIn, StandInRefusal, StandInRoute, route

PREFIX = "/client/v4"
EDIT = "edit"
_AT = "2026-11-29T00:00:00.000000Z"
_CODES = {400: 10001, 401: 10000, 403: 10000, 404: 10003, 405: 10405, 409: 20120, 429: 10429}


LIMITS = "http_ratelimit"
PHASES = (
    *("http_request_cache_settings", "http_request_dynamic_redirect", "http_request_firewall_custom"),
    *("http_request_late_transform", LIMITS),
)
"""Those of a zone that this stand-in keeps rules for; Cloudflare has more."""


PERIODS_S = (10, 15, 20, 30, 40, 45, 60, 90, 120, 180, 240, 300, 480, 600, 900, 1200, 1800, 2400, 3600, 65535)
_FREE = frozenset({"http.request.uri.path", "cf.bot_management.verified_bot"})
_PRO = _FREE | {"http.host", "http.request.uri", "http.request.full_uri", "http.request.uri.query"}
OF_PLAN = {
    "free": (_FREE, 10),
    "pro": (_PRO, 60),
    "business": (_PRO | {"http.request.method", "ip.src", "http.user_agent"}, 600),
}
"""What expressions of rate limits may speak of, and over how long they may count; other plans may do all of it here."""


@dataclass(frozen=True, slots=True)
class _AskedSetting:
    value: Any


@dataclass(frozen=True, slots=True)
class _AskedRecordChange:
    """A record is kept as it was sent; this is what has to be right about it."""

    type: str = "A"
    name: str = ""
    content: str = ""
    proxied: bool = False
    ttl: float = 1


@dataclass(frozen=True, slots=True)
class _AskedRecord:
    type: str
    name: str
    content: str
    proxied: bool = False
    ttl: float = 1


@dataclass(frozen=True, slots=True)
class _AskedRuleset:
    phase: str


@dataclass(frozen=True, slots=True)
class _AskedLimit:
    characteristics: tuple[str, ...]
    period: int
    requests_per_period: int
    mitigation_timeout: int = 0


@dataclass(frozen=True, slots=True)
class _AskedRule:
    action: str
    expression: str
    ref: str
    action_parameters: Mapping[str, Any] | None = None
    ratelimit: _AskedLimit | None = None


class CloudflareStandIn(StandIn):
    """The zone `name`. `plan` is shown as Cloudflare does and kept to, `most_rules` is the limit for each phase."""

    def __init__(
        self,
        tokens: Mapping[str, frozenset[str]],
        *,
        name: str = "example.com",
        most_rules: int = 5,
        plan: str = "business",
    ) -> None:
        super().__init__(tokens)
        self.name, self.most_rules, self.plan = name, most_rules, plan
        self.zone = uuid.uuid4().hex
        self.settings: dict[str, str] = {"ssl": "flexible", "always_use_https": "off", "min_tls_version": "1.0"}
        self.records: list[dict[str, Any]] = []
        self.rulesets: dict[str, dict[str, Any]] = {}
        self.origin_pulls = self.global_pulls = False
        self.ranges: dict[str, list[str]] = {"ipv4_cidrs": [], "ipv6_cidrs": []}
        self._alone = threading.Lock()
        self.routes = tuple(self._routes())

    @property
    def url(self) -> str:
        return f"{super().url}{PREFIX}"

    def error(self, status: int, text: str) -> Reply:
        failed = {"success": False, "errors": [{"code": _CODES.get(status, 10000), "message": text}], "messages": []}
        return Reply(status, {**failed, "result": None})

    def answer(self, method: str, target: str, headers: Mapping[str, str], content: bytes) -> Reply | None:
        """What is no token by its form is a bad request, not a stranger."""
        if re.search("[^A-Za-z0-9_-]", self.bearer(headers)):
            chain = [{"code": 6111, "message": "Invalid format for Authorization header"}]
            told = [{"code": 6003, "message": "Invalid request headers", "error_chain": chain}]
            return Reply(400, {"success": False, "errors": told, "messages": [], "result": None})
        return super().answer(method, target, headers, content)

    def foreign_rule(self, phase: str, ref: str, expression: str) -> dict[str, Any]:
        """A rule that somebody else wrote, put behind those that are there."""
        ruleset = self.rulesets.setdefault(phase, self._empty(phase))
        rule = self._rule({"ref": ref, "action": "block", "expression": expression, "description": "theirs"})
        ruleset["rules"].append(rule)
        return deepcopy(rule)

    # --- routes ---

    def _routes(self) -> list[StandInRoute]:
        zone = f"{PREFIX}/zones/{{zone}}"
        rules = f"{zone}/rulesets/{{ruleset}}/rules"
        table = (
            ("GET", zone, self._zone, ""),
            ("GET", f"{zone}/settings/{{setting}}", self._setting, ""),
            ("PATCH", f"{zone}/settings/{{setting}}", self._set, EDIT),
            ("GET", f"{zone}/dns_records", self._list_records, ""),
            ("POST", f"{zone}/dns_records", self._make_record, EDIT),
            ("PATCH", f"{zone}/dns_records/{{record}}", self._set_record, EDIT),
            ("DELETE", f"{zone}/dns_records/{{record}}", self._delete_record, EDIT),
            ("GET", f"{zone}/rulesets/phases/{{phase}}/entrypoint", self._entrypoint, ""),
            ("POST", f"{zone}/rulesets", self._make_ruleset, EDIT),
            ("POST", rules, self._make_rule, EDIT),
            ("PATCH", f"{rules}/{{rule}}", self._set_rule, EDIT),
            ("DELETE", f"{rules}/{{rule}}", self._delete_rule, EDIT),
            ("GET", f"{zone}/origin_tls_client_auth/settings", self._origin_pulls, ""),
            ("GET", f"{PREFIX}/ips", lambda _: _ok({**self.ranges, "etag": uuid.uuid4().hex}), ""),
        )
        return [route(method, path, handler, scope) for method, path, handler, scope in table]

    def _in_zone(self, asked: Asked) -> None:
        if asked.params["zone"] != self.zone:
            raise StandInRefusal(self.error(404, "could not route to the zone, perhaps its identifier is invalid"))

    # --- zone and settings ---

    def _zone(self, asked: Asked) -> Reply:
        self._in_zone(asked)
        return _ok(
            {
                "id": self.zone,
                "name": self.name,
                "account": {"id": uuid.uuid5(uuid.NAMESPACE_DNS, self.name).hex, "name": "Quiz"},
                "owner": {"id": uuid.uuid5(uuid.NAMESPACE_DNS, self.name).hex, "name": "Quiz", "type": "organization"},
                "meta": {"cdn_only": False, "custom_certificate_quota": 0, "dns_only": False, "foundation_dns": False,
                         "page_rule_quota": 3, "phishing_detected": False, "step": 4},
                "name_servers": ["bob.ns.cloudflare.com", "lola.ns.cloudflare.com"],
                "original_dnshost": "none", "original_name_servers": ["ns1.example.net"], "original_registrar": "none",
                "plan": {"id": uuid.uuid5(uuid.NAMESPACE_DNS, self.plan).hex, "legacy_id": self.plan},
                "development_mode": 0, "activated_on": _AT, "created_on": _AT, "modified_on": _AT,
            }
        )  # fmt: skip

    def _setting(self, asked: Asked) -> Reply:
        self._in_zone(asked)
        name = asked.params["setting"]
        there = {"tls_client_auth": "on" if self.global_pulls else "off", **self.settings}
        if name not in there:
            return self.error(404, f"no setting {name}")
        return _ok({"id": name, "value": there[name], "editable": True, "modified_on": _AT})

    def _set(self, asked: Asked) -> Reply:
        self._in_zone(asked)
        self.settings[asked.params["setting"]] = asked.read(_AskedSetting).value
        return self._setting(asked)

    def _origin_pulls(self, asked: Asked) -> Reply:
        self._in_zone(asked)
        return _ok({"enabled": self.origin_pulls})

    # --- records ---

    def _list_records(self, asked: Asked) -> Reply:
        self._in_zone(asked)
        name = asked.query.get("name", "")
        return _page(asked, [record for record in self.records if not name or record["name"] == name])

    def _make_record(self, asked: Asked) -> Reply:
        self._in_zone(asked)
        wanted = asked.read(_AskedRecord)
        with self._alone:
            if any(record["name"] == wanted.name for record in self.records):
                return self.error(400, "an A, AAAA or CNAME record with that host already exists")
            made = {"id": uuid.uuid4().hex, "proxiable": True, "created_on": _AT, "modified_on": _AT, **asked.body}
            self.records.append(made)
        return _ok(made)

    def _one_record(self, asked: Asked) -> dict[str, Any]:
        self._in_zone(asked)
        for record in self.records:
            if record["id"] == asked.params["record"]:
                return record
        raise StandInRefusal(self.error(404, "record does not exist"))

    def _set_record(self, asked: Asked) -> Reply:
        record = self._one_record(asked)
        asked.read(_AskedRecordChange)
        record.update(asked.body or {})
        return _ok(record)

    def _delete_record(self, asked: Asked) -> Reply:
        record = self._one_record(asked)
        self.records.remove(record)
        return _ok({"id": record["id"]})

    # --- rulesets ---

    def _empty(self, phase: str) -> dict[str, Any]:
        shown = {"id": uuid.uuid4().hex, "name": "default", "description": "", "kind": "zone", "phase": phase}
        return {**shown, "version": "1", "last_updated": _AT, "rules": []}

    def _rule(self, body: Mapping[str, Any], rule_id: str = "") -> dict[str, Any]:
        return {"enabled": True, **body, "id": rule_id or uuid.uuid4().hex, "version": "1", "last_updated": _AT}

    def _entrypoint(self, asked: Asked) -> Reply:
        self._in_zone(asked)
        found = self.rulesets.get(asked.params["phase"])
        return _ok(found) if found else self.error(404, "could not find entrypoint ruleset")

    def _make_ruleset(self, asked: Asked) -> Reply:
        self._in_zone(asked)
        phase = asked.read(_AskedRuleset).phase
        if phase not in PHASES:
            return self.error(400, f"no phase {phase}")
        with self._alone:
            if phase in self.rulesets:
                return self.error(400, "a ruleset with that phase exists already")
            self.rulesets[phase] = self._empty(phase)
        return _ok(self.rulesets[phase])

    def _ruleset(self, asked: Asked) -> dict[str, Any]:
        self._in_zone(asked)
        for ruleset in self.rulesets.values():
            if ruleset["id"] == asked.params["ruleset"]:
                return ruleset
        raise StandInRefusal(self.error(404, "could not find ruleset"))

    def _changed(self, ruleset: dict[str, Any]) -> Reply:
        ruleset["version"] = str(int(ruleset["version"]) + 1)
        return _ok(ruleset)

    def _make_rule(self, asked: Asked) -> Reply:
        ruleset, wanted = self._ruleset(asked), asked.read(_AskedRule)
        if refused := self._odd_limit(ruleset, wanted):
            return refused
        with self._alone:
            if any(rule["ref"] == wanted.ref for rule in ruleset["rules"]):
                return self.error(400, "the ref is used by another rule")
            if len(ruleset["rules"]) >= self.most_rules:
                return self.error(400, f"exceeded the maximum number of rules in the phase: {self.most_rules}")
            ruleset["rules"].append(self._rule(asked.body))
        return self._changed(ruleset)

    def _odd_limit(self, ruleset: dict[str, Any], wanted: _AskedRule) -> Reply | None:
        """What Cloudflare refuses of rate limits: one elsewhere, none here, no data centre, a period of its own."""
        limit = wanted.ratelimit
        if (limit is not None) != (ruleset["phase"] == LIMITS):
            return self.error(400, "rules of http_ratelimit, and no others, have ratelimit")
        if limit is not None and "cf.colo.id" not in limit.characteristics:
            return self.error(400, "characteristics must include cf.colo.id")
        if limit is not None and limit.period not in PERIODS_S:
            return self.error(400, f"period must be one of {PERIODS_S}")
        if limit is not None and self.plan in OF_PLAN:
            fields, longest_s = OF_PLAN[self.plan]
            if limit.period > longest_s:
                return self.error(400, f"not entitled to use the period {limit.period}")
            said = re.sub(r'"(?:\\.|[^"\\])*"', "", wanted.expression)
            for field in re.findall(r"[a-z_]+(?:\.[a-z_]+)+", said):
                if field not in fields:
                    why = f"is not a valid value for expression because the use of field {field} is not allowed"
                    return self.error(400, f"'{wanted.expression}' {why}")
        return None

    def _place(self, asked: Asked, ruleset: dict[str, Any]) -> int:
        for index, rule in enumerate(ruleset["rules"]):
            if rule["id"] == asked.params["rule"]:
                return index
        raise StandInRefusal(self.error(404, "could not find rule"))

    def _set_rule(self, asked: Asked) -> Reply:
        ruleset = self._ruleset(asked)
        if refused := self._odd_limit(ruleset, asked.read(_AskedRule)):
            return refused
        place = self._place(asked, ruleset)
        ruleset["rules"][place] = self._rule(asked.body, ruleset["rules"][place]["id"])
        return self._changed(ruleset)

    def _delete_rule(self, asked: Asked) -> Reply:
        ruleset = self._ruleset(asked)
        del ruleset["rules"][self._place(asked, ruleset)]
        return self._changed(ruleset)


def _page(asked: Asked, found: Sequence[Any]) -> Reply:
    """One page; clients ask for the next until they get an empty one."""
    size, number = asked.number("per_page", 100, 1), asked.number("page", 1, 1)
    shown = found[(number - 1) * size : number * size]
    counts = {"count": len(shown), "total_count": len(found), "total_pages": -(-len(found) // size)}
    return _ok(list(shown), result_info={"page": number, "per_page": size, **counts})


def _ok(result: Any, **more: Any) -> Reply:
    return Reply(200, {"success": True, "errors": [], "messages": [], "result": deepcopy(result), **more})
