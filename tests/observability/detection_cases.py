"""The detection matrix: what can go wrong as the lines that tell of it, and what must be told within how many seconds.

A small system of an edge, a web tier, a backend and a database is healthy for ten minutes first. Its clock is moved by
the test, so that the windows are those of production and a case takes less than a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.observability.traffic import T0, Lines, beat, request, rpc

from dodai.observability.ports import Standing

Traffic = Callable[[float, float], Lines]
MINUTE, HOUR = 60.0, 3600.0
RATE = 2.0
FAILED = {"outcome": "server_error", "status": 503}
TIMED_OUT = {"outcome": "timeout", "status": 504, "latencyMs": 1000.0}


@dataclass(frozen=True, slots=True)
class Person:
    """One visit of the front page: the `number`-th since the fault began, at `at`, `since_s` after it began.

    None for a tier that does not answer: it writes no line.
    """

    edge: Mapping[str, Any]
    web: Mapping[str, Any] | None
    backend: Mapping[str, Any] | None
    calls: str = "backend 1 0 3.0"
    queries: str = "database 2 0 2.0"


HEALTHY = Person({}, {}, {})
Visit = Callable[[int, float], Person | None]


@dataclass(frozen=True, slots=True)
class Case:
    """`visit` is how one is answered, `fires` within how many seconds each alert does that must; no other one may.

    `told` are those that people hear of; `beats` who says that it lives at a time, so long after the fault began.
    `lead`: all is well for ten minutes first. With `release_s` there is a deploy that often.
    """

    what: str
    visit: Visit = lambda _number, _since: HEALTHY
    fires: Mapping[str, int] = field(default_factory=dict)
    told: frozenset[str] = frozenset()
    lasts_s: float = 6 * MINUTE
    rate: float = RATE
    beats: Callable[[float, float], Iterator[dict[str, Any]]] | None = None
    more: Traffic | None = None
    stands: Standing | None = None
    lead: bool = True
    release_s: float = 0.0


def visits(case: Case, began: float) -> Traffic:
    """The lines of everybody who comes, `case.rate` a second; before `began` all is well."""

    def lines(since: float, until: float) -> Lines:
        first = int((since - T0) * case.rate) + 1
        for number in range(first, int((until - T0) * case.rate) + 1):
            at = T0 + number / case.rate
            well = at <= began
            seen = HEALTHY if well else case.visit(number - int((began - T0) * case.rate), at - began)
            if seen is not None:
                yield from _tiers(seen, at, _release(case, at))

    return lines


def _release(case: Case, at: float) -> dict[str, Any]:
    number = int((at - T0) / case.release_s) if case.release_s else 0
    return {"version": f"r{number}", "suffix": number}


def _tiers(seen: Person, at: float, release: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    version, suffix = release["version"], release["suffix"]
    if seen.backend is not None:
        own = {"service": "backend", "instance": f"backend-{suffix}", "version": version, "calls": seen.queries}
        yield rpc(at, **{**own, **seen.backend})
    if seen.web is not None:
        yield request(at, **{"instance": f"web-{suffix}", "version": version, "calls": seen.calls, **seen.web})
    line = request(at, **{"service": "edge", **seen.edge})
    yield {key: value for key, value in line.items() if key not in ("instance", "version")}


def beats_of(case: Case, began: float) -> Traffic:
    """A heartbeat of each process every five seconds."""

    def lines(since: float, until: float) -> Lines:
        for number in range(int((since - T0) / 5) + 1, int((until - T0) / 5) + 1):
            at = T0 + number * 5.0
            if at > began and case.beats is not None:
                yield from case.beats(at, at - began)
            else:
                yield from alive(at, _release(case, at)["suffix"])

    return lines


def alive(
    at: float, suffix: int = 0, services: tuple[str, ...] = ("web", "backend"), **web: Any
) -> Iterator[dict[str, Any]]:
    """Who says that it lives; `web` are fields of the web tier's."""
    for service in services:
        yield beat(at, service, f"{service}-{suffix}", version=f"r{suffix}", **(web if service == "web" else {}))


# --- what goes wrong ---


def backend_refuses(_number: int, _since: float) -> Person:
    return Person(FAILED, FAILED, None, calls="backend 1 1 1.0")


def backend_swallows(_number: int, _since: float) -> Person:
    return Person(TIMED_OUT, TIMED_OUT, None, calls="backend 1 1 1000.0")


def database_refuses(_number: int, _since: float) -> Person:
    failed = {"outcome": "server_error", "status": "UNAVAILABLE"}
    return Person(FAILED, FAILED, failed, calls="backend 1 1 5.0", queries="database 1 1 1.0")


def database_swallows(_number: int, _since: float) -> Person:
    late = {"outcome": "timeout", "status": "DEADLINE_EXCEEDED", "latencyMs": 1000.0}
    return Person(TIMED_OUT, TIMED_OUT, late, calls="backend 1 1 1000.0", queries="database 1 1 1000.0")


def pool_taken(_number: int, _since: float) -> Person:
    """Every connection is held by somebody who waits: no query is even sent."""
    late = {"outcome": "timeout", "status": "DEADLINE_EXCEEDED", "latencyMs": 1000.0, "poolWaitMs": 1000.0}
    return Person(TIMED_OUT, TIMED_OUT, late, calls="backend 1 1 1000.0", queries="database 1 1 1000.0")


def sign_in_refused(number: int, _since: float) -> Person:
    return _sign_in(FAILED, "identity 1 1 1.0") if number % 5 == 0 else HEALTHY


def sign_in_swallowed(number: int, _since: float) -> Person:
    return _sign_in(TIMED_OUT, "identity 1 1 1000.0") if number % 5 == 0 else HEALTHY


def _sign_in(failed: Mapping[str, Any], calls: str) -> Person:
    form = {"method": "POST", "route": "/sign-in", **failed}
    return Person(form, form, None, calls=calls)


def blip(number: int, since_s: float) -> Person:
    return database_refuses(number, since_s) if since_s < 4.0 else HEALTHY


def web_hangs(_number: int, _since: float) -> Person:
    return Person(TIMED_OUT, None, None)


def all_fail(_number: int, _since: float) -> Person:
    return Person(FAILED, FAILED, {})


def one_in_25(number: int, _since: float) -> Person:
    return all_fail(number, 0.0) if number % 25 == 0 else HEALTHY


def one_of_forty(number: int, _since: float) -> Person:
    """Every tenth visit of one route of forty fails."""
    route = {"route": f"/r{number % 40}"}
    bad = FAILED if number % 40 == 3 and number // 40 % 10 == 0 else {}
    return Person({**route, **bad}, {**route, **bad}, {})


def one_in_three(number: int, _since: float) -> Person:
    return all_fail(number, 0.0) if number % 3 == 0 else HEALTHY


def leak(_number: int, since_s: float) -> Person:
    late = {"latencyMs": 20.0 + 5.0 * since_s}
    return Person(late, late, {})


def slow(_number: int, _since: float) -> Person:
    return Person({"latencyMs": 1500.0}, {"latencyMs": 1500.0}, {"latencyMs": 800.0})


def pool_empty(_number: int, _since: float) -> Person:
    return Person({"latencyMs": 450.0}, {"latencyMs": 450.0}, {"latencyMs": 420.0, "poolWaitMs": 400.0})


def refused_forms(_number: int, _since: float) -> Person:
    refused = {"method": "POST", "route": "/answer", "code": "DOD150", "status": 403, "outcome": "client_error"}
    return Person({**refused, "code": ""}, refused, None, calls="")


def hammering(_number: int, _since: float) -> Person:
    one = {"route": "/me", "userId": "u1"}
    return Person(one, one, {})


def missing_pages(number: int, _since: float) -> Person:
    """A scanner: a path that nobody ever asked for before, again and again."""
    path = {"route": f"/wp-{number}", "status": 404, "outcome": "client_error"}
    return Person(path, path, None, calls="") if number % 2 else HEALTHY


def long_streams(number: int, _since: float) -> Person:
    stream = {"route": "/events", "ttfbMs": 15.0, "latencyMs": 600_000.0}
    return Person(stream, stream, None, calls="") if number % 3 == 0 else HEALTHY


def impatient(number: int, _since: float) -> Person:
    gone = {"outcome": "client_gone", "status": 499}
    return Person(gone, gone, {}) if number % 4 == 0 else HEALTHY


def nobody(_number: int, _since: float) -> None:
    return None


def crashing(since: float, until: float) -> Lines:
    """A new process every 25 s that answers a probe and ends."""
    for number in range(int((since - T0) / 5) + 1, int((until - T0) / 5) + 1):
        at = T0 + number * 5.0
        yield request(at, instance=f"web-{int(at / 25)}", version="r9", route="/readyz")


def restarted(since: float, until: float) -> Lines:
    """The same, but each was told to stop: deploys, rotations and restarts one after the other."""
    for line in crashing(since, until):
        yield line
        if int(line["ts"] / 25) != int((line["ts"] + 5.0) / 25):
            yield {**beat(line["ts"], "web", line["instance"], version="r9"), "name": "stopping"}


def quiet_without_beats(since: float, until: float) -> Lines:
    """A tier in another language that writes no heartbeats: each of its processes serves once, and lives on unasked."""
    for number in range(int((since - T0) / 20) + 1, int((until - T0) / 20) + 1):
        at = T0 + number * 20.0
        yield request(at, service="mail", instance=f"mail-{number % 12}", route="/send")


def starting(since: float, until: float) -> Lines:
    """A release that starts answers its probe with 503, and nobody is harmed."""
    for number in range(int((since - T0) / 5) + 1, int((until - T0) / 5) + 1):
        yield request(T0 + number * 5.0, route="/readyz", status=503, outcome="server_error", instance="web-new")


def losing(since: float, until: float) -> Lines:
    for number in range(int((since - T0) / 10) + 1, int((until - T0) / 10) + 1):
        yield {**beat(T0 + number * 10.0, "web", "web-0"), "name": "lines_dropped", "count": 3}


def only(*services: str) -> Callable[[float, float], Iterator[dict[str, Any]]]:
    """The heartbeats of these services alone."""
    return lambda at, _since: alive(at, 0, services)


def hung(at: float, since_s: float) -> Iterator[dict[str, Any]]:
    """The web tier's first heartbeat waits for its loop, and says how long when it gives up."""
    yield from alive(at, 0, ("backend",))
    if since_s >= 7.5:
        yield beat(at, "web", "web-0", version="r0", loopLagMs=1000.0 * since_s)


def _states(measure: str, about: str, value: float) -> Standing:
    return Standing({measure: ((about, value),)})


BURNT = {"slo-fast-burn": 50, "slo-slow-burn": 20, "sustained-errors": 70, "route-errors": 35}
"""What a total outage fires besides, as longer memories of the same errors."""
SURGE = {"http-error-surge": 10, **BURNT}
SIGN_IN = {
    "dependency-down": 10,
    "http-error-surge": 35,
    "route-errors": 55,
    "slo-slow-burn": 110,
    "slo-fast-burn": 340,
}
"""What failing sign-ins fire while the other four visits in five are well."""
CASES: tuple[Case, ...] = (
    Case("The backend refuses connections (`backend-refused`)", backend_refuses,
         {**SURGE, "dependency-down": 35}, told=frozenset({"http-error-surge"})),
    Case("The backend swallows packets, never answers or answers too late (`backend-blackholed`, `backend-half-open`, "
         "`backend-slow`)", backend_swallows, {**SURGE, "dependency-down": 35}, frozenset({"http-error-surge"})),
    Case("The backend is gone (`backend-down-is-traced`)", backend_refuses,
         {**SURGE, "dependency-down": 35, "process-silent": 35}, frozenset({"http-error-surge"}), beats=only("web")),
    Case("The database refuses connections (`database-refused`, `database-stopped`)", database_refuses,
         {**SURGE, "rpc-error-surge": 20, "dependency-down": 35}, frozenset({"http-error-surge"})),
    Case("The database swallows packets, is locked or too slow (`database-blackholed`, `database-half-open`, "
         "`database-slow`, `database-locked`)", database_swallows,
         {**SURGE, "rpc-error-surge": 20, "dependency-down": 35, "rpc-latency": 35}, frozenset({"http-error-surge"})),
    Case("The identity provider refuses connections, one visit in five signs in (`identity-refused`)", sign_in_refused,
         SIGN_IN, frozenset({"dependency-down"})),
    Case("The identity provider swallows packets, never answers or answers too late (`identity-blackholed`, "
         "`identity-half-open`, `identity-slow`)", sign_in_swallowed, SIGN_IN, frozenset({"dependency-down"})),
    Case("Every connection of the database's pool is taken (`database-pool-exhausted`)", pool_taken,
         {**SURGE, "rpc-error-surge": 20, "dependency-down": 35, "rpc-latency": 35, "pool-wait": 80},
         frozenset({"http-error-surge"})),
    Case("The event loop of the web process hangs", web_hangs, {**SURGE, "process-hung": 10, "no-traffic": 310},
         frozenset({"process-hung"}), beats=hung),
    Case("The web process is frozen (`respond-to-frozen-web`)", web_hangs,
         {**SURGE, "process-silent": 35, "no-traffic": 310}, frozenset({"http-error-surge"}), beats=only("backend")),
    Case("The backend process is frozen (`respond-to-frozen-backend`)", backend_swallows,
         {**SURGE, "dependency-down": 35, "process-silent": 35}, frozenset({"http-error-surge"}), beats=only("web")),
    Case("Every request fails, as after a release that went wrong behind its journeys", all_fail, SURGE,
         frozenset({"http-error-surge"})),
    Case("4 % of requests fail", one_in_25, {"http-error-surge": 165}, frozenset({"http-error-surge"})),
    Case("One of 40 routes fails 10 %", one_of_forty, {"route-errors": 205}, frozenset({"route-errors"}),
         rate=8.0),
    Case("1 request in 3 fails, at 3 requests in 5 minutes", one_in_three, {"sustained-errors": 1500},
         frozenset({"sustained-errors"}), rate=0.01, lead=False, lasts_s=2 * HOUR),
    Case("Latency leaks: from 20 ms to 3 s in 10 minutes", leak, {"http-latency": 230}, frozenset({"http-latency"})),
    Case("Every page and every RPC is slow", slow, {"http-latency": 35, "rpc-latency": 35},
         frozenset({"http-latency"})),
    Case("The pool of connections is empty", pool_empty, {"pool-wait": 190}, frozenset({"pool-wait"})),
    Case("Forms are refused because their token got lost", refused_forms, {"csrf-refusals": 20},
         frozenset({"csrf-refusals"})),
    Case("A release crashes again and again", web_hangs, {**SURGE, "crash-loop": 105, "no-traffic": 310},
         frozenset({"http-error-surge"}), beats=only("backend"), more=crashing),
    Case("Nobody comes any more", nobody, {"no-traffic": 310}, frozenset({"no-traffic"})),
    Case("Lines are lost", fires={"lines-lost": 10}, told=frozenset({"lines-lost"}), more=losing),
    Case("The certificate has 5 days left", fires={"certificate-expiring": 5},
         told=frozenset({"certificate-expiring"}), stands=_states("certificate-days", "https://quiz.example", 5.0)),
    Case("The certificate has expired", fires={"certificate-expiring": 5, "certificate-expired": 5},
         told=frozenset({"certificate-expiring", "certificate-expired"}),
         stands=_states("certificate-days", "https://quiz.example", -0.5)),
    Case("A deploy was left half done", fires={"deploy-unhealthy": 305}, told=frozenset({"deploy-unhealthy"}),
         stands=_states("unhealthy", "staging interrupted", 1.0)),
    Case("A secret is older than its `every`", fires={"secret-rotation-due": 5},
         told=frozenset({"secret-rotation-due"}), stands=_states("overdue-days", "API_TOKEN", 3.0)),
    Case("No restore was rehearsed for 100 days", fires={"restore-test-due": 5},
         told=frozenset({"restore-test-due"}), stands=_states("restore-days", "staging", 100.0)),
    Case("The disk is nearly full", fires={"disk-filling": 5}, told=frozenset({"disk-filling"}),
         stands=_states("disk-free", "disk", 0.05)),
    Case("Nobody watched for an hour", fires={"unwatched": 5}, told=frozenset({"unwatched"}),
         stands=_states("unwatched-s", "watch", 3600.0)),
    Case("Ten minutes of healthy load with four deploys", lasts_s=10 * MINUTE, release_s=150.0, more=starting),
    Case("A release is started anew again and again, and each process is told to stop", more=restarted),
    Case("Processes of a tier without heartbeats are quiet", more=quiet_without_beats),
    Case("One user hammers a page, 50 requests a second", hammering, rate=50.0, lasts_s=2 * MINUTE),
    Case("A dependency is away for 4 s (`database-restarted`, `swap-under-load`)", blip),
    Case("A scanner asks for pages that there are not", missing_pages, rate=4.0),
    Case("Streams last for ten minutes", long_streams),
    Case("A quarter of people leave before the answer", impatient),
    Case("Nobody comes at night, where few came before", nobody, rate=0.02),
)  # fmt: skip
"""Those at the end fire nothing."""
