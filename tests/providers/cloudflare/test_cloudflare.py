"""The Cloudflare driver against the stand-in: only what is ours is changed, seen afterwards, and taken back."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import closing
from copy import deepcopy

import pytest
from tests.support.quick_vendor import quick
from tests.support.vendor_spec import Allowed, Spec

from dodai.core.errors import DodaiError
from dodai.operations.ports import CacheRule, EdgeSpec, RateLimit
from dodai.providers.cloudflare.cloudflare_api import cloudflare
from dodai.providers.cloudflare.zone_edge import ZoneEdge
from dodai.providers.cloudflare.zone_state import CACHE, FIREWALL, HEADERS, LIMITS, PINNED
from dodai.standins import ApiFault
from dodai.standins.cloudflare_standin import CloudflareStandIn
from dodai.vendor_api import Api, ApiToken

CANARY = "cf_c4n4ry"
SPEC = EdgeSpec(routes=(("/", "web"),), cache=(CacheRule(prefix="/static/", ttl_s=3600),))
PUBLISHED = Spec(
    "cloudflare-v4-trimmed.json",
    "https://api.cloudflare.com",
    allowed=(
        Allowed("tokens are the way in everywhere; some operations name the older key only", says="^SecurityNotFound"),
        Allowed("the enum of the same field has this value", says=r"action: 'set_cache_settings' does not match"),
        Allowed("read-only, so in no request", says=r"^\$: '(id|version|last_updated)' is a required property"),
        Allowed("one of two forms, of which the second has one field more", says=r"^result: .*ipv4_cidrs", where="GET"),
    ),
)


@pytest.fixture
def zone():
    with CloudflareStandIn({CANARY: frozenset({"*"}), "reader": frozenset()}) as standin:
        standin.ranges = {"ipv4_cidrs": list(PINNED.ipv4_cidrs), "ipv6_cidrs": list(PINNED.ipv6_cidrs)}
        yield standin


@pytest.fixture
def edge(zone, tmp_path):
    with closing(Api(quick(cloudflare()), zone.url, ApiToken("CLOUDFLARE_API_TOKEN", CANARY))) as api:
        yield ZoneEdge(
            lambda: api,
            zone.zone,
            "https://quiz.example.com",
            "quiz.example.com",
            "quiz-web.fly.dev",
            tmp_path,
            lambda: SPEC,
            plan="plan-1",
            poll_s=0.02,
            seen_within_s=0.5,
        )


def state(zone):
    """Everything that a person sees in the dashboard, without ids and versions."""
    hidden = ("id", "version", "last_updated", "created_on", "modified_on")

    def plain(value):
        if isinstance(value, dict):
            return {name: plain(each) for name, each in value.items() if name not in hidden}
        return [plain(each) for each in value] if isinstance(value, list) else value

    return plain(
        deepcopy(
            {
                "settings": zone.settings,
                "records": zone.records,
                "rules": {phase: ruleset["rules"] for phase, ruleset in zone.rulesets.items()},
            }
        )
    )


def refs(zone, phase):
    return [rule["ref"] for rule in zone.rulesets[phase]["rules"]]


def changes(zone):
    return [one for one in zone.exchanges if one.method != "GET"]


def test_empty_zone_gets_what_the_manifest_says_and_a_second_time_nothing(zone, edge):
    """Every difference is told before, none is left afterwards, and a zone that is as it should be is not touched."""
    before = asyncio.run(edge.observe())
    assert before.url == ""
    assert set(before.differs) == {
        "`ssl` is `flexible`, not `strict`",
        "`always_use_https` is `off`, not `on`",
        "`min_tls_version` is `1.0`, not `1.2`",
        "`quiz.example.com` has no record",
        "the rule `dodai_cache_rest` is missing",
        "the rule `dodai_cache_shared` is missing",
        "the rule `dodai_reserved` is missing",
    }
    applied = asyncio.run(edge.apply(SPEC))
    assert (applied.url, applied.differs) == ("https://quiz.example.com", ())
    assert zone.settings == {"ssl": "strict", "always_use_https": "on", "min_tls_version": "1.2"}
    (record,) = zone.records
    assert (record["type"], record["content"], record["proxied"]) == ("CNAME", "quiz-web.fly.dev", True)
    assert refs(zone, CACHE) == ["dodai_cache_shared", "dodai_cache_rest"]
    (closed,) = zone.rulesets[FIREWALL]["rules"]
    assert closed["expression"] == (
        '(http.host eq "quiz.example.com" and (starts_with(http.request.uri.path, "/-/dodai/"))'
        ' and not http.request.uri.path in {"/-/dodai/csrf" "/-/dodai/probe"})'
    )
    made = len(changes(zone))
    asyncio.run(edge.apply(SPEC))
    assert len(changes(zone)) == made


def test_rules_of_others_are_never_sent_changed_or_moved(zone, edge):
    """Ours come behind theirs; the manifest changes, ours follow, and one that is wanted no more goes."""
    theirs = [
        zone.foreign_rule(FIREWALL, "corp_geo", 'ip.geoip.country eq "XX"'),
        zone.foreign_rule(CACHE, "corp", "true"),
    ]
    asyncio.run(edge.apply(SPEC))
    zone.rulesets[FIREWALL]["rules"][1]["enabled"] = False  # somebody switched ours off
    other = dataclasses.replace(SPEC, cache=(CacheRule(prefix="/build/", ttl_s=60),))
    edge = dataclasses.replace(edge, spec=lambda: other)
    assert "the rule `dodai_reserved` is another one" in asyncio.run(edge.observe()).differs
    asyncio.run(edge.apply(other))
    assert refs(zone, CACHE) == ["corp", "dodai_cache_shared", "dodai_cache_rest"]
    assert refs(zone, FIREWALL) == ["corp_geo", "dodai_reserved"]
    assert [zone.rulesets[FIREWALL]["rules"][0], zone.rulesets[CACHE]["rules"][0]] == theirs
    assert not any(b"corp" in one.content for one in changes(zone))


def test_answer_with_a_cookie_or_marked_private_is_never_stored_for_everybody(zone, edge):
    """With a time of the edge's own Cloudflare cuts off `Set-Cookie` and stores what is left; an old rule of ours goes."""
    zone.foreign_rule(CACHE, "dodai_cache_3600", 'http.host eq "quiz.example.com"')
    asyncio.run(edge.apply(SPEC))
    rules = {rule["ref"]: rule["action_parameters"] for rule in zone.rulesets[CACHE]["rules"]}
    assert rules == {"dodai_cache_shared": {"cache": True}, "dodai_cache_rest": {"cache": False}}


def test_stricter_setting_of_the_zone_is_left_alone(zone, edge):
    """TLS 1.3 alone is better than what is asked for."""
    zone.settings = {"ssl": "strict", "always_use_https": "on", "min_tls_version": "1.3"}
    asyncio.run(edge.apply(SPEC))
    assert zone.settings["min_tls_version"] == "1.3"


def test_what_was_there_before_comes_back(zone, edge):
    """The settings, the record and our rules of before; theirs were never away. A second time there is nothing."""
    zone.foreign_rule(FIREWALL, "corp_geo", 'ip.geoip.country eq "XX"')
    before = state(zone)
    asyncio.run(edge.apply(SPEC))
    assert state(zone) != before
    assert asyncio.run(edge.back())
    after = state(zone)
    assert {phase: rules for phase, rules in after["rules"].items() if rules} == before["rules"]
    assert (after["settings"], after["records"]) == (before["settings"], before["records"])
    assert not asyncio.run(edge.back())


def test_earlier_rules_of_ours_come_back(zone, edge):
    """The second release had other static paths; back means those of the first."""
    asyncio.run(edge.apply(SPEC))
    first = state(zone)
    second = edge.of_plan("plan-2")
    assert not second.changed
    asyncio.run(second.apply(dataclasses.replace(SPEC, cache=(CacheRule(prefix="/build/", ttl_s=60),))))
    assert second.changed
    assert not asyncio.run(edge.back())  # the first plan is over
    assert asyncio.run(second.back())
    after = state(zone)
    for found in (first, after):
        found["rules"][CACHE].sort(key=lambda rule: rule["ref"])
    assert after == first


STEPS = range(12)


@pytest.mark.parametrize("fault", ["lost", "lost before", "status after"])
def test_change_whose_reply_is_lost_is_made_once(zone, edge, fault):
    """Many of them in one run: the end is the same, nothing is there twice."""
    for number in STEPS:
        zone.faults.add(ApiFault(kind=fault, where="^(POST|PATCH|DELETE)", skip=number))
    asyncio.run(edge.apply(SPEC))
    assert refs(zone, CACHE) == ["dodai_cache_shared", "dodai_cache_rest"]
    assert refs(zone, FIREWALL) == ["dodai_reserved"]
    assert len(zone.records) == 1
    assert asyncio.run(edge.observe()).differs == ()


def test_change_that_was_cut_short_is_finished_and_taken_back_to_what_was_before_it(zone, edge, monkeypatch):
    """Killed after each request in turn: what is kept is what was there before the first attempt."""
    before = state(zone)
    for stop_at in range(7):
        count = {"left": stop_at}
        call = ZoneEdge._call

        def cut(self, operation, count=count, call=call, **more):
            if operation.method != "GET":
                if not count["left"]:
                    raise KeyboardInterrupt
                count["left"] -= 1
            return call(self, operation, **more)

        with monkeypatch.context() as patched:
            patched.setattr(ZoneEdge, "_call", cut)
            with pytest.raises(KeyboardInterrupt):
                asyncio.run(edge.apply(SPEC))
        assert asyncio.run(edge.apply(SPEC)).differs == ()
        assert asyncio.run(edge.back())
        after = state(zone)
        assert (after["settings"], after["records"]) == (before["settings"], before["records"])
        assert not any(after["rules"].values())


def test_read_that_lags_is_read_again_and_change_that_does_not_hold_is_said(zone, edge):
    """Applied means seen; another tool that writes the same zone is not called ours."""
    zone.faults.add(ApiFault(kind="stale", where="GET .*/settings/ssl", skip=1))
    assert asyncio.run(edge.apply(SPEC)).differs == ()
    zone.settings["ssl"] = "flexible"
    zone.routes = tuple(
        dataclasses.replace(one, handler=zone._setting) if one.method == "PATCH" and "settings" in one.path else one
        for one in zone.routes
    )
    with pytest.raises(DodaiError) as caught:
        asyncio.run(edge.apply(SPEC))
    assert caught.value.code.id == "DOD743"
    assert "`ssl` is `flexible`, not `strict`" in caught.value.message


@dataclasses.dataclass(frozen=True)
class BadDay:
    """What is wrong, and what is said."""

    id: str
    code: str
    words: str
    token: str = CANARY
    changes: dict = dataclasses.field(default_factory=dict)
    record: tuple[str, str] | None = None
    most_rules: int = 5
    fault: ApiFault | None = None


BAD_DAYS = (
    BadDay("expired token", "DOD701", "does not accept `CLOUDFLARE_API_TOKEN`", token=f"{CANARY}-expired"),
    BadDay("no token by its form", "DOD701", "does not accept `CLOUDFLARE_API_TOKEN`: it is not", token='"cf_c4n4ry"'),
    BadDay("token that only reads", "DOD702", "token lacks `edit`", token="reader"),
    BadDay("no such zone", "DOD740", "no zone `0123`", changes={"zone": "0123"}),
    BadDay(
        "host of another zone", "DOD740", "`quiz.example.org` is not in the zone", changes={"host": "quiz.example.org"}
    ),
    BadDay("host that only ends alike", "DOD740", "is not in the zone", changes={"host": "quizexample.com"}),
    BadDay("record of somebody else", "DOD741", "A `203.0.113.9`", record=("A", "203.0.113.9")),
    BadDay("rules of the plan", "DOD742", "exceeded the maximum number of rules", most_rules=1),
    BadDay(
        "reply off the contract",
        "DOD707",
        "`$.success` should be true",
        fault=ApiFault(kind="off contract", where="GET"),
    ),
)


@pytest.mark.parametrize("day", BAD_DAYS, ids=lambda day: day.id)
def test_bad_day_is_a_coded_error_and_the_token_is_in_no_message(zone, edge, day):
    """What was changed until then is kept to go back to."""
    if day.record:
        zone.records.append(
            {
                "id": "1" * 32,
                "type": day.record[0],
                "name": "quiz.example.com",
                "content": day.record[1],
                "proxied": False,
            }
        )
    zone.most_rules = day.most_rules
    if day.fault:
        zone.faults.add(day.fault)
    before = state(zone)
    with closing(Api(quick(cloudflare()), zone.url, ApiToken("CLOUDFLARE_API_TOKEN", day.token))) as api:
        edge = dataclasses.replace(edge, connect=lambda: api, **day.changes)
        with pytest.raises(DodaiError) as caught:
            asyncio.run(edge.apply(SPEC))
        error = caught.value
        assert (error.code.id, day.words in error.message) == (day.code, True), error
        assert CANARY not in f"{error!r}{error}{edge!r}"
        if day.most_rules == 1:
            assert asyncio.run(edge.back())
    after = state(zone)
    assert (after["settings"], after["records"]) == (before["settings"], before["records"])
    assert not any(after["rules"].values())


SIGN_IN = RateLimit(name="sign-in", path="/sign-in", methods=("POST",), requests=5, window_s=60.0)
SEARCH = dataclasses.replace(SIGN_IN, name="search", path="/search", window_s=10.0)
BEYOND = {
    "too long for the plan": (
        "free",
        (SIGN_IN,),
        0,
        "the plan `free` counts over at most 10 s, and `sign-in` over 60 s",
    ),
    "too many for the plan": ("free", (SEARCH, SIGN_IN), 0, "the plan `free` takes 1 rate limit, and 2 are wanted"),
    "with those of others": ("pro", (SIGN_IN, SEARCH), 1, "takes 2 rate limits, and 3 are wanted, 1 of them not ours"),
    "no period of Cloudflare's": (
        "enterprise",
        (dataclasses.replace(SIGN_IN, window_s=50.0),),
        0,
        "`sign-in` counts over 50 s, and Cloudflare over 10, 15, 20, 30, 40, 45, 60, 90, ",
    ),
    "host and method, on the free plan": (
        "free",
        (SEARCH,),
        0,
        "rate limits of the plan `free` cannot speak of `http.host` and `http.request.method`, as that of `search`",
    ),
    "method, on pro": (
        "pro",
        (SEARCH,),
        0,
        "rate limits of the plan `pro` cannot speak of `http.request.method`, as that of `search`",
    ),
    "relief, on business": (
        "business",
        (dataclasses.replace(SEARCH, relieved_until_s=1_800_000_000.0),),
        0,
        "rate limits of the plan `business` cannot speak of `http.request.timestamp.sec`, as that of `search`",
    ),
}


@pytest.mark.parametrize("case", BEYOND.values(), ids=BEYOND)
def test_what_the_plan_of_the_zone_has_no_room_for_is_found_before_the_first_change(zone, edge, case):
    """The preflight of a deploy and `doctor` say it; Cloudflare would say so in the middle."""
    zone.plan, limits, foreign, said = case
    for number in range(foreign):
        zone.foreign_rule(LIMITS, f"theirs_{number}", "true")
    spec = dataclasses.replace(SPEC, limits=limits)
    for act in (edge.possible, edge.apply):
        with pytest.raises(DodaiError) as caught:
            asyncio.run(act(spec))
        assert caught.value.code.id == "DOD742"
        assert said in caught.value.message
    assert changes(zone) == []
    assert any(said in one for one in asyncio.run(edge.observe()).differs) is False, "its own spec has no limits"
    assert any(said in one for one in asyncio.run(dataclasses.replace(edge, spec=lambda: spec).observe()).differs)


@pytest.mark.parametrize("plan", ["business", "enterprise", "of next year"])
def test_what_the_plan_has_room_for_and_plans_that_nobody_knows_are_let_through(zone, edge, plan):
    """Cloudflare has the last word."""
    zone.plan = plan
    spec = dataclasses.replace(SPEC, limits=(SIGN_IN, SEARCH))
    asyncio.run(edge.possible(spec))
    assert asyncio.run(edge.apply(spec)).differs == ()


@pytest.mark.parametrize("window_s", [15.0, 20.0, 30.0, 40.0, 45.0, 90.0, 180.0, 240.0, 480.0])
def test_every_period_that_cloudflare_counts_over_may_be_asked_for(zone, edge, window_s):
    """The list of the vendor, not a part of it."""
    limit = dataclasses.replace(SIGN_IN, window_s=window_s)
    assert asyncio.run(edge.apply(dataclasses.replace(SPEC, limits=(limit,)))).differs == ()


def test_what_cloudflare_refuses_of_a_field_is_told_as_a_matter_of_the_plan(zone, edge, monkeypatch):
    """Also where the plan is one that nothing is known of, or the table is an old one: in Cloudflare's own words."""
    monkeypatch.setattr("dodai.providers.cloudflare.zone_edge.beyond_plan", lambda *_: ())
    zone.plan = "pro"
    with pytest.raises(DodaiError, match=r"because the use of field http\.request\.method is not allowed") as caught:
        asyncio.run(edge.apply(dataclasses.replace(SPEC, limits=(SEARCH,))))
    assert caught.value.code.id == "DOD742"


def test_who_else_reaches_the_origin_and_new_addresses_of_cloudflare_are_said(zone, edge):
    """The list is pinned with its date; a firewall that still has the old one would refuse visitors."""
    assert [one.partition(":")[0] for one in edge.remarks()] == ["authenticated origin pulls are off"]
    assert "those of single host names were not looked at" in edge.remarks()[0]
    for switch in ("origin_pulls", "global_pulls"):
        setattr(zone, switch, True)
        assert edge.remarks() == ()
        setattr(zone, switch, False)
    zone.global_pulls = True
    zone.ranges["ipv4_cidrs"][0] = "198.51.100.0/24"
    assert edge.remarks() == (
        "Cloudflare's addresses changed since 2023-09-28: 198.51.100.0/24 are new",
        "Cloudflare's addresses changed since 2023-09-28: 173.245.48.0/20 are gone",
    )


@pytest.mark.optional_part("vendor-specs")
def test_driver_and_stand_in_keep_to_the_published_specification(zone, edge):
    """Every request and every reply of a change, a look, an error and the way back."""
    zone.foreign_rule(FIREWALL, "corp_geo", 'ip.geoip.country eq "XX"')
    asyncio.run(edge.apply(SPEC))
    zone.records[0]["content"] = "elsewhere.example.net"
    zone.rulesets[FIREWALL]["rules"][1]["enabled"] = False
    asyncio.run(edge.apply(SPEC))
    asyncio.run(edge.back())
    edge.remarks()
    with pytest.raises(DodaiError):
        asyncio.run(dataclasses.replace(edge, zone="0" * 32).observe())
    verdict = PUBLISHED.judge(zone.exchanges)
    assert verdict.problems == ()
    assert verdict.official > 25
    assert verdict.official + verdict.allowed == len(zone.exchanges)


LIMIT = RateLimit(name="answers", path="/questions/*", methods=("POST",), requests=10, window_s=60.0)


def limited(*limits):
    return dataclasses.replace(SPEC, limits=limits)


def test_rate_limit_of_the_manifest_is_a_rule_of_the_zone_and_its_relief_ends_by_cloudflares_clock(zone, edge):
    """One definition for the local edge and the zone; a relief is a part of the rule, and gone with the next plan."""
    zone.plan = "enterprise"
    relieved = dataclasses.replace(LIMIT, relieved_until_s=1_800_000_000.0)
    seen = []
    for limit in (LIMIT, relieved, LIMIT):
        assert asyncio.run(edge.apply(limited(limit))).differs == ()
        (rule,) = zone.rulesets[LIMITS]["rules"]
        seen.append(rule["expression"])
    plain = (
        '(http.host eq "quiz.example.com" and http.request.method in {"POST"}'
        ' and (starts_with(http.request.uri.path, "/questions/"))'
    )
    assert seen == [f"{plain})", f"{plain} and http.request.timestamp.sec ge 1800000000)", f"{plain})"]
    assert (rule["ref"], rule["action"]) == ("dodai_limit_answers", "block")
    counted = {"period": 60, "requests_per_period": 10, "mitigation_timeout": 60}
    assert rule["ratelimit"] == {"characteristics": ["cf.colo.id", "ip.src"], **counted}
    asyncio.run(edge.apply(SPEC))
    assert zone.rulesets[LIMITS]["rules"] == []


def test_period_that_cloudflare_does_not_have_is_said_and_nothing_is_changed(zone, edge):
    """What it would refuse is no limit: nobody is told that there is one, and the zone is as it was."""
    asyncio.run(edge.apply(SPEC))
    before = state(zone)
    with pytest.raises(DodaiError, match="`answers` counts over 7 s, and Cloudflare over 10"):
        asyncio.run(edge.of_plan("p1").apply(limited(dataclasses.replace(LIMIT, window_s=7.0))))
    assert state(zone) == before


# --- the key by which the origin knows the zone ---


def keyed(edge, store, *hosts):
    """The edge, sending the key that `store` has in front."""
    return dataclasses.replace(edge, keys=lambda: store["key"], hosts=hosts or ("quiz.example.com",))


def sent(zone):
    """What the zone tells the origin."""
    return [
        rule["action_parameters"]["headers"]["x-edge-key"]
        for rule in zone.rulesets.get(HEADERS, {"rules": ()})["rules"]
        if rule["ref"] == "dodai_origin_key"
    ]


def test_key_is_sent_beside_rules_of_others_and_follows_the_store(zone, edge):
    """The first of two in the store; a value of its own for each host of the manifest, and nothing else's rule."""
    theirs, store = zone.foreign_rule(HEADERS, "theirs", "true"), {"key": "old"}
    edge = keyed(edge, store, "quiz.example.com", "www.example.com")
    assert "the rule `dodai_origin_key` is missing" in asyncio.run(edge.observe()).differs
    asyncio.run(edge.apply(SPEC))
    assert sent(zone) == [{"operation": "set", "value": "old"}]
    assert zone.rulesets[HEADERS]["rules"][0] == theirs
    assert zone.rulesets[HEADERS]["rules"][1]["expression"] == '(http.host in {"quiz.example.com" "www.example.com"})'
    store["key"] = "new,old"
    assert asyncio.run(edge.observe()).differs == ("the rule `dodai_origin_key` is another one",)
    asyncio.run(edge.apply(SPEC))
    assert sent(zone) == [{"operation": "set", "value": "new"}]


def test_key_is_not_kept_on_this_machine_and_going_back_sends_the_one_of_the_store(zone, edge):
    """The file of what was before has the rule without its value; a zone that sent none sends none again."""
    store = {"key": "s3cr3t-old"}
    asyncio.run(keyed(edge, store).apply(SPEC))
    assert asyncio.run(keyed(edge, store).back())
    assert sent(zone) == []
    asyncio.run(keyed(edge, store).apply(SPEC))
    later = dataclasses.replace(keyed(edge, store), plan="plan-2")
    store["key"] = "s3cr3t-new,s3cr3t-old"
    asyncio.run(later.apply(SPEC))
    assert "s3cr3t" not in (edge.folder / "edge-previous.json").read_text()
    store["key"] = "s3cr3t-old,s3cr3t-new"
    assert asyncio.run(later.back())
    assert sent(zone) == [{"operation": "set", "value": "s3cr3t-old"}]


def test_what_would_shut_visitors_out_is_found_before_the_first_change(zone, edge):
    """A name that does not come through the zone, and a key that nobody here knows."""
    elsewhere = keyed(edge, {"key": "k"}, "quiz.example.com", "quiz-web.fly.dev")
    with pytest.raises(DodaiError, match=r"quiz-web\.fly\.dev") as refused:
        asyncio.run(elsewhere.possible(SPEC))
    assert refused.value.code.id == "DOD744"
    asyncio.run(keyed(edge, {"key": "known"}).apply(SPEC))
    made = len(changes(zone))
    for lost in ("", "another"):
        with pytest.raises(DodaiError) as refused:
            asyncio.run(keyed(edge, {"key": lost}).possible(SPEC))
        assert refused.value.code.id == "DOD745"
        assert "known" not in refused.value.message
    asyncio.run(keyed(edge, {"key": "new,known"}).possible(SPEC))
    assert len(changes(zone)) == made


def test_zone_without_a_key_is_not_asked_for_that_part(zone, edge):
    """A token that has no right to it is enough, and a rule of before stays: services that run may ask for its key."""
    asyncio.run(keyed(edge, {"key": "k"}).apply(SPEC))
    zone.exchanges.clear()
    assert asyncio.run(edge.observe()).differs == ()
    asyncio.run(edge.apply(SPEC))
    assert sent(zone) == [{"operation": "set", "value": "k"}]
    assert not any(HEADERS in one.path for one in zone.exchanges)


@pytest.mark.optional_part("vendor-specs")
def test_key_keeps_to_the_published_specification(zone, edge):
    """The rule is made, changed and taken back."""
    asyncio.run(keyed(edge, {"key": "a"}).apply(SPEC))
    asyncio.run(keyed(edge, {"key": "b,a"}).apply(SPEC))
    asyncio.run(keyed(edge, {"key": "a"}).back())
    assert PUBLISHED.judge(zone.exchanges).problems == ()
