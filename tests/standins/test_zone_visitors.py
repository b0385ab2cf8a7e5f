"""Where visitors of the stand-in's zone arrive: TLS for the public name, the record that is proxied, a ray for each."""

from __future__ import annotations

import http.server
import threading

import pytest

from dodai.operations.ports import OPEN_RESERVED, CacheRule, EdgeSpec, RateLimit
from dodai.providers.cloudflare.zone_state import wish
from dodai.providers.local.browser import HttpBrowser
from dodai.providers.local.edge.request_checks import is_blocked
from dodai.standins.cloudflare_standin import CloudflareStandIn
from dodai.standins.zone_rules import NotCarriedOutError, ZoneRequest, meets
from dodai.standins.zone_visitors import ZoneVisitors

HOST, ORIGIN = "quiz.example.com", "quiz-web.fly.dev"


class Page(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        said = self.rfile.read(int(self.headers["content-length"])).decode()
        body = "|".join(
            [said, self.headers["host"], self.headers["cf-ray"], self.headers["x-forwarded-proto"]]
        ).encode()
        self.send_response(303)
        self.send_header("location", f"https://{HOST}/next")
        self.send_header("set-cookie", "a=1")
        self.send_header("set-cookie", "b=2")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(200)
        for said in self.path.partition("?")[2].split("&"):
            name, _, value = said.partition("=")
            if name in ("cache-control", "set-cookie"):
                self.send_header(name, value)
        self.send_header("seen-key", str(self.headers.get_all("x-edge-key", [None])[0]))
        self.send_header("seen-extra", str(self.headers["x-extra"]))
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *words):
        pass


@pytest.fixture
def visitors():
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as origin,
        CloudflareStandIn({"t": frozenset({"*"})}) as zone,
        ZoneVisitors(zone, HOST, {ORIGIN: f"127.0.0.1:{origin.server_port}"}) as visitors,
    ):
        origin.asked = visitors.asked = []
        threading.Thread(target=origin.serve_forever, daemon=True).start()
        zone.records.append({"id": "1", "type": "CNAME", "name": HOST, "content": ORIGIN, "proxied": True})
        yield visitors
        origin.shutdown()


def browser(visitors, *, name=HOST, authority=None):
    trusted = str(authority or visitors.authority)
    return HttpBrowser(f"https://{visitors.address}", origin=f"https://{name}", authority=trusted)


async def test_visitor_of_the_public_name_is_led_to_the_origin_with_a_ray(visitors):
    """Each request has its own, the visitor and the origin see the same; the answer comes whole, cookies included."""
    async with browser(visitors) as visitor:
        first = await visitor.send("POST", "/", content=b"hello")
        second = await visitor.send("POST", f"https://{HOST}/again", content=b"more")
    said, host, ray, scheme = first.text.split("|")
    assert (said, host, scheme) == ("hello", HOST, "https")
    assert ray == first.headers["cf-ray"] != second.headers["cf-ray"]
    assert (first.status_code, first.headers["location"]) == (303, f"https://{HOST}/next")
    assert first.headers.get_list("set-cookie") == ["a=1", "b=2"]


async def test_certificate_is_proven_for_the_name_and_by_its_own_authority(visitors, tmp_path):
    """Another name, and another authority: no request is sent."""
    async with browser(visitors, name="other.example.com") as visitor:
        with pytest.raises(ConnectionError, match=r"(?i)certificate"):
            await visitor.send("POST", "/", content=b"x")
    with CloudflareStandIn({}) as zone, ZoneVisitors(zone, HOST, {}) as others:
        async with browser(visitors, authority=others.authority) as visitor:
            with pytest.raises(ConnectionError, match=r"(?i)certificate"):
                await visitor.send("POST", "/", content=b"x")


async def test_record_decides_whether_and_where_visitors_are_led(visitors):
    """Not proxied, gone, to an unknown origin, and to one that does not answer: Cloudflare's own errors."""
    (record,) = visitors.zone.records
    async with browser(visitors) as visitor:

        async def status() -> int:
            return (await visitor.send("POST", "/", content=b"x")).status_code

        record["proxied"] = False
        assert await status() == 530
        record.update(proxied=True, content="elsewhere.fly.dev")
        assert await status() == 530
        record["content"] = ORIGIN
        visitors.origins[ORIGIN] = "127.0.0.1:9"
        assert await status() == 521


KEY_HEADERS = {"X-Edge-Key": {"operation": "set", "value": "k"}, "x-extra": {"operation": "remove"}}


def add_rule(visitors, phase, ref, expression, action, **more):
    """A rule of the zone, as its author left it."""
    visitors.zone.foreign_rule(phase, ref, expression)
    visitors.zone.rulesets[phase]["rules"][-1].update(action=action, **more)


async def test_header_rule_is_carried_out_and_a_rule_in_other_words_is_named(visitors):
    """What a visitor says under that name never arrives; the origin of another host is told nothing."""
    late = "http_request_late_transform"
    add_rule(
        visitors, late, "ours", f'(http.host in {{"{HOST}"}})', "rewrite", action_parameters={"headers": KEY_HEADERS}
    )
    add_rule(visitors, late, "other", '(http.host eq "b.example.com")', "rewrite", action_parameters={"headers": {}})
    add_rule(visitors, late, "theirs", 'lower(http.host) eq "x"', "rewrite", action_parameters={"headers": {}})
    add_rule(visitors, late, "off", "cf.bot_management.score lt 2", "rewrite", enabled=False)
    async with browser(visitors) as visitor:
        answer = await visitor.send("GET", "/", headers={"x-edge-key": "forged", "x-extra": "1"})
    assert (answer.headers["seen-key"], answer.headers["seen-extra"]) == ("k", "None")
    assert visitors.rules.not_carried_out.keys() == {"theirs"}


@pytest.mark.parametrize(
    ("expression", "met"),
    [
        ('http.host eq "a" and not http.request.method in {"GET" "HEAD"}', True),
        ('http.host eq "b" or (http.host eq "a" and starts_with(http.request.uri.path, "/x"))', True),
        ('http.request.uri.path ne "/x y\\"z"', False),
        ("http.request.timestamp.sec ge 100", True),
        ("http.request.timestamp.sec ge 101", False),
        ('not (starts_with(http.request.uri.path, "/x") or http.host eq "b")', False),
        ("true", True),
    ],
)
def test_rule_language_that_dodai_writes(expression, met):
    assert meets(expression)(ZoneRequest("a", '/x y"z', "POST", "203.0.113.9", 100.7)) is met


@pytest.mark.parametrize(
    "expression",
    ['ip.src eq "1"', 'http.host matches "a"', 'http.host eq "a" and', 'http.host eq "a" )', "http.host eq {", "", "?"],
)
def test_expression_that_is_not_known_is_refused_and_never_guessed(expression):
    with pytest.raises(NotCarriedOutError):
        meets(expression)


SPEC = EdgeSpec(
    routes=(("/", "web"),),
    cache=(CacheRule(prefix="/static/", ttl_s=60.0),),
    limits=(
        RateLimit(name="sign-in", path="/sign-in", methods=("GET", "POST"), requests=3, window_s=10.0),
        RateLimit(name="api", path="/api/*", methods=("GET",), requests=2, window_s=60.0, relieved_until_s=1.0),
    ),
)


async def test_what_dodai_wants_of_a_zone_is_what_happens_to_visitors(visitors):
    """Every rule of it is carried out: static paths are kept once, nothing else; operators' paths and floods end at the edge."""
    for phase, rules in wish(SPEC, HOST, ORIGIN, "k", (HOST,)).rules.items():
        for rule in rules:
            more = {"ratelimit": rule.ratelimit, "action_parameters": rule.parameters}
            add_rule(visitors, phase, rule.ref, rule.expression, rule.action, **more)
    async with browser(visitors) as visitor:

        async def kept(path):
            return (await visitor.send("GET", path)).headers["cf-cache-status"]

        async def status(path, method="GET"):
            return (await visitor.send(method, path)).status_code

        assert [await kept("/static/a.css") for _ in range(3)] == ["MISS", "HIT", "HIT"]
        for said in (
            "cache-control=private",
            "cache-control=max-age=0",
            "cache-control=no-store",
            "set-cookie=who=taro",
        ):
            assert [await kept(f"/static/b?{said}") for _ in range(2)] == ["BYPASS"] * 2, said
        assert [await kept("/?cache-control=public,max-age=60") for _ in range(2)] == ["DYNAMIC"] * 2
        assert visitors.asked.count("/static/a.css") == 1
        paths = ("/-/dodai/metrics", "/-/dodai/probe/x", *OPEN_RESERVED, "/other")
        assert [await status(path) for path in paths] == [403 if is_blocked(path.encode()) else 200 for path in paths]
        assert [await status("/sign-in") for _ in range(5)] == [200, 200, 200, 429, 429]
        assert [await status("/api/7") for _ in range(3)] == [200, 200, 429]
        assert await status("/") == 200
    assert not {"/-/dodai/metrics", "/-/dodai/probe/x"}.intersection(visitors.asked)
    assert (visitors.asked.count("/sign-in"), visitors.rules.not_carried_out) == (3, {})
