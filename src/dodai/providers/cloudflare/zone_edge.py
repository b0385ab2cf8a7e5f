"""`dodai.operations.ports.Edge` on a Cloudflare zone: seen, changed as little as needed, seen again, and taken back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.private_file import write_private
from dodai.operations.environment_policy import EnvironmentPolicy
from dodai.operations.ports import Edge, EdgeSpec, EdgeState
from dodai.operations.project import Project
from dodai.operations.provider import Opening, Provider
from dodai.operations.run.plans import edge_spec_of
from dodai.operations.run.relief import standing_reliefs
from dodai.operations.secret import EDGE_KEY, entries
from dodai.providers.cloudflare import codes
from dodai.providers.cloudflare.cloudflare_api import (
    ADDRESS,
    BASE_URL,
    DELETE_RECORD,
    DELETE_RULE,
    GET_PHASE,
    GET_RANGES,
    GET_SETTING,
    GET_ZONE,
    LIST_RECORDS,
    MAKE_RECORD,
    MAKE_RULE,
    MAKE_RULESET,
    ORIGIN_PULLS,
    SET_RECORD,
    SET_RULE,
    SET_SETTING,
    TOKEN,
    CloudflareRecord,
    CloudflareRuleset,
    CloudflareZone,
    cloudflare,
    is_malformed,
    is_of_the_plan,
)
from dodai.providers.cloudflare.zone_state import (
    HEADERS,
    KEY_RULE,
    LIMITS,
    PHASES,
    PINNED,
    PINNED_ON,
    REF,
    SETTINGS,
    OwnRule,
    ZoneSeen,
    ZoneWish,
    beyond_plan,
    differences,
    fits,
    key_rule,
    wish,
)
from dodai.vendor_api import Api, Operation, VendorError, api_of, token_from
from dodai.vendor_api.codes import TOKEN_REFUSED

SEEN_WITHIN_S, POLL_S, GLOBAL_PULLS = 15.0, 0.5, "tls_client_auth"
PREVIOUS = "edge-previous.json"


@dataclass(frozen=True, slots=True)
class ZoneEdge:
    """The host name of `url` in the zone `zone`, whose requests go to `origin`; `folder` keeps what was there before.

    `spec` is what it should serve as long as nothing else is asked for: a relief that has just begun is a part of it.

    `keys` is what the store has of the key that the zone sends, the first one of it now, with every request of `hosts`;
    None where it sends none, and then that part of the zone is not even looked at.

    Cloudflare knows no fencing token: that a holder was replaced is found by the engine before the step, and by compute
    and database.
    """

    connect: Callable[[], Api] = field(repr=False)
    zone: str
    url: str
    host: str
    origin: str
    folder: Path
    spec: Callable[[], EdgeSpec]
    plan: str = ""
    keys: Callable[[], str] | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    poll_s: float = POLL_S
    seen_within_s: float = SEEN_WITHIN_S

    def under(self, token: int, /) -> ZoneEdge:  # noqa: ARG002 - see above
        return self

    def of_plan(self, plan_id: str, /) -> ZoneEdge:
        return replace(self, plan=plan_id)

    @property
    def changed(self) -> bool:
        return self._previous().get("plan") == self.plan

    async def observe(self) -> EdgeState:
        return await asyncio.to_thread(self._observed, self.spec())

    async def apply(self, spec: EdgeSpec, /) -> EdgeState:
        return await asyncio.to_thread(self._applied, spec)

    async def back(self) -> bool:
        return await asyncio.to_thread(self._taken_back)

    async def possible(self, spec: EdgeSpec, /) -> None:
        seen = await asyncio.to_thread(self._look)
        self._refuse_foreign_records(seen)
        self._refuse_beyond_plan(spec, seen)
        self._refuse_closing_to_visitors(seen)

    def remarks(self) -> tuple[str, ...]:
        """What is not changed here and a person should know: who reaches the origin, from where requests come."""
        said = []
        if self.keys is None and not self._pulls_are_authenticated():
            why = "the origin cannot tell Cloudflare from anybody else"
            said.append(f"authenticated origin pulls are off: {why}; those of single host names were not looked at")
        ranges = self._call(GET_RANGES).all
        if new := sorted(ranges - PINNED.all):
            said.append(f"Cloudflare's addresses changed since {PINNED_ON}: {', '.join(new)} are new")
        if gone := sorted(PINNED.all - ranges):
            said.append(f"Cloudflare's addresses changed since {PINNED_ON}: {', '.join(gone)} are gone")
        return tuple(said)

    def _pulls_are_authenticated(self) -> bool:
        """Of all the zone, with Cloudflare's certificate or one's own: two switches that know nothing of each other
        (https://developers.cloudflare.com/ssl/origin-configuration/authenticated-origin-pull/set-up/global/).
        """
        return bool(self._call(ORIGIN_PULLS).enabled or self._call(GET_SETTING, setting=GLOBAL_PULLS).value == "on")

    # --- looking ---

    def _observed(self, spec: EdgeSpec) -> EdgeState:
        wanted, seen = self._wish(spec), self._look()
        served = any(record.proxied for record in seen.records)
        keyless = (f"`{EDGE_KEY}` has no value yet",) if self.keys and HEADERS not in wanted.rules else ()
        differs = (*differences(wanted, seen), *keyless, *beyond_plan(spec.limits, seen))
        return EdgeState(url=self.url if served else "", differs=differs)

    def _wish(self, spec: EdgeSpec) -> ZoneWish:
        return wish(spec, self.host, self.origin, self._key(), self.hosts)

    def _key(self) -> str:
        """The key that the zone sends; "" for none."""
        return next(iter(entries(self.keys())), "") if self.keys else ""

    def _look(self) -> ZoneSeen:
        """What the zone says now; DOD740 when the token sees no such zone, or the host name is not in it."""
        about = self._zone()
        zone = about.name
        if self.host != zone and not self.host.endswith(f".{zone}"):
            said = f"`{self.host}` is not in the zone `{zone}`"
            raise DodaiError(codes.MISSING, said, codes.MISSING.fix.en, exit_code=2, data={"absent": True})
        records = self._call(LIST_RECORDS, query={"name": self.host})
        asked = PHASES if self.keys else tuple(phase for phase in PHASES if phase != HEADERS)
        phases = {phase: found for phase in asked if (found := self._phase(phase)) is not None}
        return ZoneSeen(
            {name: str(self._call(GET_SETTING, setting=name).value) for name in SETTINGS},
            tuple(one for one in records if one.type in ("A", "AAAA", "CNAME")),
            {phase: tuple(rule for rule in found.rules if rule.ref.startswith(REF)) for phase, found in phases.items()},
            {phase: found.id for phase, found in phases.items()},
            sum(not rule.ref.startswith(REF) for found in phases.values() for rule in found.rules),
            about.plan.legacy_id if about.plan else "",
            sum(not rule.ref.startswith(REF) for rule in phases[LIMITS].rules) if LIMITS in phases else 0,
            zone,
        )

    def _zone(self) -> CloudflareZone:
        try:
            found: CloudflareZone = self._call(GET_ZONE)
        except VendorError as error:
            if error.status not in (400, 404):
                raise
            said = f"Cloudflare has no zone `{self.zone}` for this token"
            raise DodaiError(codes.MISSING, said, codes.MISSING.fix.en, exit_code=2) from None
        return found

    def _phase(self, phase: str) -> CloudflareRuleset | None:
        try:
            found: CloudflareRuleset = self._call(GET_PHASE, phase=phase)
        except VendorError as error:
            if error.status == 404:
                return None
            raise
        return found

    # --- changing ---

    def _applied(self, spec: EdgeSpec) -> EdgeState:
        wanted, seen = self._wish(spec), self._look()
        self._refuse_foreign_records(seen)
        self._refuse_beyond_plan(spec, seen)
        if differences(wanted, seen):
            self._remember(seen)
            self._change(wanted, seen)
        return self._confirmed(spec)

    def _refuse_foreign_records(self, seen: ZoneSeen) -> None:
        """DOD741 before anything is changed: records that lead elsewhere belong to somebody."""
        odd = [one for one in seen.records if one.type != "CNAME"]
        if len(seen.records) > 1 or odd:
            shown = ", ".join(f"{one.type} `{one.content}`" for one in seen.records)
            said = f"`{self.host}` has the records {shown}, and one CNAME to `{self.origin}` is wanted"
            raise DodaiError(codes.FOREIGN_RECORD, said, codes.FOREIGN_RECORD.fix.en, exit_code=1, reply="rejected")

    def _refuse_beyond_plan(self, spec: EdgeSpec, seen: ZoneSeen) -> None:
        """DOD742 before anything is changed: half of the rules would be there until they are taken back."""
        if beyond := list(beyond_plan(spec.limits, seen)):
            raise DodaiError(codes.PLAN, "; ".join(beyond), codes.PLAN.fix.en, exit_code=1, reply="rejected")

    def _refuse_closing_to_visitors(self, seen: ZoneSeen) -> None:
        """DOD744, DOD745: the origin would refuse who comes another way, or with a key that services are not told."""
        if self.keys is None:
            return
        if elsewhere := [host for host in self.hosts if host != seen.zone and not host.endswith(f".{seen.zone}")]:
            shown = ", ".join(f"`{host}`" for host in elsewhere)
            said = f"{shown} of `public_origins` comes to the origin without the key of the zone `{seen.zone}`"
            raise DodaiError(codes.ORIGIN_ELSEWHERE, said, codes.ORIGIN_ELSEWHERE.fix.en, exit_code=1, reply="rejected")
        there = next((rule for rule in seen.rules.get(HEADERS, ()) if rule.ref == KEY_RULE), None)
        if there and not any(key_rule(key, ()).parameters == there.action_parameters for key in entries(self.keys())):
            said = f"the rule `{KEY_RULE}` sends a key that the store has not as `{EDGE_KEY}`"
            raise DodaiError(codes.KEY_UNKNOWN, said, codes.KEY_UNKNOWN.fix.en, exit_code=1, reply="rejected")

    def _change(self, wanted: ZoneWish, seen: ZoneSeen) -> None:
        """Settings and rules first, the record last: visitors come when everything else is as it should be."""
        for name, value in seen.settings.items():
            if not fits(name, value):
                self._call(SET_SETTING, setting=name, body={"id": name, "value": SETTINGS[name]})
        for phase, rules in wanted.rules.items():
            self._merge(phase, rules, seen)
        body = {"type": "CNAME", "name": self.host, "content": self.origin, "proxied": True, "ttl": 1}
        self._put_record(body, seen.records)

    def _merge(self, phase: str, rules: tuple[OwnRule, ...], seen: ZoneSeen) -> None:
        """Our rules one by one, behind all others; nobody else's is sent anywhere."""
        there = {rule.ref: rule for rule in seen.rules.get(phase, ())}
        ruleset = seen.rulesets.get(phase, "") or (self._make_ruleset(phase) if rules else "")
        for ref, rule in there.items():
            if ref not in {one.ref for one in rules}:
                self._call(DELETE_RULE, ruleset=ruleset, rule=rule.id)
        for wanted in rules:
            known = there.get(wanted.ref)
            if known is None:
                self._call(MAKE_RULE, ruleset=ruleset, body=wanted.body, effect=partial(self._rule, phase, wanted))
            elif not wanted.is_there(known):
                self._call(SET_RULE, ruleset=ruleset, rule=known.id, body=wanted.body)

    def _make_ruleset(self, phase: str) -> str:
        body = {"name": "default", "kind": "zone", "phase": phase, "rules": []}
        return str(self._call(MAKE_RULESET, body=body, effect=lambda: self._phase(phase)).id)

    def _rule(self, phase: str, wanted: OwnRule) -> CloudflareRuleset | None:
        """The ruleset, when the rule is in it."""
        found = self._phase(phase)
        return found if found and any(rule.ref == wanted.ref for rule in found.rules) else None

    def _put_record(self, body: Mapping[str, Any] | None, there: tuple[CloudflareRecord, ...]) -> None:
        known = there[0] if there else None
        if body is None:
            for one in there:
                self._call(DELETE_RECORD, record=one.id)
        elif known is None:
            self._call(MAKE_RECORD, body=body, effect=self._record)
        elif (known.content, known.proxied, known.type) != (body["content"], body["proxied"], body["type"]):
            self._call(SET_RECORD, record=known.id, body=body)

    def _record(self) -> CloudflareRecord | None:
        found: tuple[CloudflareRecord, ...] = self._call(LIST_RECORDS, query={"name": self.host})
        return found[0] if found else None

    def _confirmed(self, spec: EdgeSpec) -> EdgeState:
        """What is there afterwards; DOD743 when it is still another thing after a while."""
        end = time.monotonic() + self.seen_within_s
        while (state := self._observed(spec)).differs:
            if time.monotonic() > end:
                said = f"the zone is not as it was asked to be: {state.differs[0]}"
                raise DodaiError(
                    codes.NOT_APPLIED, said, codes.NOT_APPLIED.fix.en, fault="provider", details=state.differs[1:]
                )
            time.sleep(self.poll_s)
        return state

    # --- going back ---

    @property
    def _file(self) -> Path:
        return self.folder / PREVIOUS

    def _remember(self, seen: ZoneSeen) -> None:
        """What was there before the first change of this plan; a repetition after a crash does not forget it."""
        if not self.changed:
            write_private(self._file, json.dumps({**seen.as_json(), "plan": self.plan}, indent=1).encode())

    def _previous(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return {}
        return found

    def _taken_back(self) -> bool:
        """Whether this plan had changed something; the zone is then as it was before."""
        kept = self._previous()
        if not self.changed:
            return False
        seen = self._look()
        record = kept["records"][0] if kept["records"] else None
        body = {**record, "name": self.host, "ttl": 1} if record else None
        self._put_record(body, seen.records)
        for phase, bodies in {**dict.fromkeys(PHASES, ()), **kept["rules"]}.items():
            rules = tuple(self._kept_rule(one) for one in bodies)
            if rules or seen.rules.get(phase):
                self._merge(phase, rules, seen)
        for name, value in kept["settings"].items():
            if seen.settings[name] != value:
                self._call(SET_SETTING, setting=name, body={"id": name, "value": value})
        now = self._look()
        if now.as_json() != {name: value for name, value in kept.items() if name != "plan"}:
            said = "the zone is not as it was before"
            raise DodaiError(codes.NOT_APPLIED, said, codes.NOT_APPLIED.fix.en, fault="provider")
        self._file.unlink()
        return True

    def _kept_rule(self, body: Mapping[str, Any]) -> OwnRule:
        """The rule as it was; the key is not kept with it and is the one that the store has in front by now."""
        told = key_rule(self._key(), ()).parameters if body["ref"] == KEY_RULE else body.get("action_parameters")
        return OwnRule(
            *(body["ref"], body["action"], body["expression"], body["description"]), told, body.get("ratelimit")
        )

    def _call(
        self,
        operation: Operation[Any],
        *,
        query: Mapping[str, str | int] | None = None,
        body: object = None,
        effect: Callable[[], Any] | None = None,
        **path: str,
    ) -> Any:
        """The result of a call; DOD742 where the plan of the zone does not have what is asked for."""
        told, api = {"zone": self.zone, **path}, self.connect()
        try:
            return api.call_now(operation, path=told, query=query, body=body, effect=effect).value
        except VendorError as error:
            if is_malformed(error):
                said = f"Cloudflare does not accept `{api.token.variable}`: it is not in the form of a token"
                raise api.error(TOKEN_REFUSED, said, "rejected", 401) from None
            if is_of_the_plan(error):
                raise DodaiError(
                    codes.PLAN, error.message, codes.PLAN.fix.en, fault="provider", reply="rejected"
                ) from None
            raise


def _sends_key(project: Project, config: EnvironmentPolicy) -> bool:
    """Where a layer of ours stands in the public service: nothing else would ask for the key."""
    public = project.policy.public_service
    return config.cloudflare.origin_key and public is not None and bool(public.app or public.client)


def _edge(opening: Opening) -> Edge:
    policy, url = opening.config.cloudflare, opening.config.public_origins[0]
    address = opening.variables.get(ADDRESS, "") or BASE_URL
    store = opening.secrets if _sends_key(opening.project, opening.config) else None
    return ZoneEdge(
        connect=lambda: api_of(cloudflare, address, token_from(opening.variables, TOKEN, "Cloudflare")),
        zone=policy.zone,
        url=url,
        host=urlsplit(url).hostname or "",
        origin=policy.origin,
        folder=opening.folder,
        spec=lambda: edge_spec_of(opening.project.policy, opening.config, standing_reliefs(opening.folder)),
        keys=(lambda: store.get().get(EDGE_KEY, "")) if store else None,
        hosts=tuple(host for one in opening.config.public_origins if (host := urlsplit(one).hostname)),
    )


PROVIDER = Provider(
    edge=_edge,
    sends_key=_sends_key,
    keys=("cloudflare",),
    required=("cloudflare.zone", "cloudflare.origin", "public_origins"),
)
