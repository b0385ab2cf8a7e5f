"""The audit of one application: its routes, and what becomes of hostile and of valid requests to each.

Handlers are replaced before the first request, so none of the application's own code that answers requests runs; its
middleware and hooks do.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

from . import layers
from .cases import Case, hostile_and_valid, naming, scheme
from .drive import DrivenAnswer, Served

SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
ANY = ("POST", "PUT", "PATCH", "DELETE")
_PLACEHOLDER = re.compile(r"<[^<>]+>|\{[^{}]+\}|\(\?P<\w+>(?:[^()]|\([^()]*\))*\)")


def audit(request: Mapping[str, Any], frameworks: ModuleType) -> dict[str, Any]:
    """The answer to one request of the parent; raises what importing the application raises."""
    enter(request)
    app = load(request["app"])
    signed_in = load(request["signIn"])() if request.get("signIn") else {}
    request = {**request, "sign_in": {str(name).lower(): str(value) for name, value in signed_in.items()}}
    served = Served(app)
    late = served.start() if request.get("lifespan") else ""
    hits: list[Any] = []
    found = [*frameworks.plant(app, hits.append), *layers.answering(app, request["path"], frameworks.Route)]
    native = frameworks.native_tokens(app, request["origin"])
    cases = hostile_and_valid(served, request, native)
    rows = [_row(served, _with_example(route, request), cases, hits, request) for route in found]
    served.end()
    return {
        "framework": frameworks.recognise(app),
        "wrapped": layers.names(app),
        "routes": rows,
        "ready": _ready(served, hits, request),
        "session": layers.session(app),
        "binding": layers.binding(app),
        "native": {name: native[name] for name in ("field", "header")} if native else None,
        "gaps": [_not_started(request["app"], late)] if late else [],
    }


def _not_started(app: str, why: str) -> dict[str, str]:
    return {
        "reason": f"the lifespan of `{app}` did not start ({why}): routes that it adds are not listed",
        "fix": "set what it needs in `[check.environment]`, or, if it adds none, `[csrf] lifespan = false`",
    }


def enter(request: Mapping[str, Any]) -> None:
    """Stand where the application is started from."""
    for entry in reversed(request["path"]):
        sys.path.insert(0, entry)
    os.chdir(request["cwd"])


def load(name_of: str) -> Any:
    """The object that `web.app:app` names; a factory (`web.app:build()`) is called without arguments."""
    module, _, name = name_of.partition(":")
    call = name.endswith("()")
    value: Any = importlib.import_module(module)
    for part in (name.removesuffix("()") or "app").split("."):
        value = getattr(value, part)
    return value() if call else value


def _with_example(route: Any, request: Mapping[str, Any]) -> Any:
    """The route with the values of `[csrf.example]` in the path that it is asked under."""
    given, asked = request.get("examples") or {}, route.example or route.path
    if route.path in given:
        return replace(route, example=given[route.path])
    parts = _PLACEHOLDER.split(route.path)
    names = _PLACEHOLDER.findall(route.path)
    if not any(name in given for name in names):
        return route
    taken = re.fullmatch("(.+?)".join(map(re.escape, parts)), asked)
    if taken is None:
        return route
    values = [given.get(name, str(made)) for name, made in zip(names, taken.groups(), strict=True)]
    return replace(route, example="".join(part + value for part, value in zip(parts, [*values, ""], strict=True)))


def _row(served: Served, route: Any, cases: Mapping[str, Any], hits: list[Any], request: Mapping[str, Any]) -> Any:
    row = {
        "method": route.method,
        "path": route.path,
        "host": route.host,
        "framework": route.framework,
        "kind": route.kind,
        "endpoint": route.endpoint,
        "source": route.source,
        "line": route.line,
        "guard": route.guard,
        "exemptBy": route.exempt_by,
    }
    if route.method in SAFE or (route.kind == "opaque" and not route.example):
        return row
    probes: dict[str, Any] = {}
    for name, case in cases.items():
        if route.method == "WEBSOCKET" and name not in ("cross_site", "valid_header"):
            continue
        probes[name] = _probe(served, route, case, hits, request)
    if route.method != "WEBSOCKET":
        probes["override_read"] = _read_as_write(served, route, cases["missing"], hits, request)
    if other := _overridden(served, route, cases["missing"], hits, request):
        probes["override"] = other
    return row | {"probes": probes}


def _ready(served: Served, hits: list[Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """What became of the question whether it is ready; empty where it is not asked by a path."""
    if not request.get("ready"):
        return {}
    hits.clear()
    headers = [("host", request["origin"].partition("://")[2]), ("accept", "application/json")]
    answer = served.request("GET", request["ready"], headers, scheme=scheme(request))
    return {"path": request["ready"], "status": answer.status, "reached": bool(hits)}


def _probe(
    served: Served, route: Any, case: Case, hits: list[Any], request: Mapping[str, Any], method: str = ""
) -> dict[str, Any]:
    headers, body = case
    if route.host:
        headers = [("host", _concrete(route.host)), *(pair for pair in headers if pair[0] != "host")]
    methods = (method,) if method else ANY if route.method == "*" else (route.method,)
    outcome: dict[str, Any] = {}
    for each in methods:
        hits.clear()
        answer = served.request(each, route.example or route.path, headers, body, scheme(request))
        outcome = _outcome(answer, reached=bool(hits))
        if hits and _handler(hits[-1]) != _handler(route):
            outcome["other"] = hits[-1].id
        if outcome["reached"]:
            break
    return outcome


def _read_as_write(served: Served, route: Any, case: Case, hits: list[Any], request: Mapping[str, Any]) -> Any:
    """The probe that is a GET and names the route's method in every known way: reached when it is served as that."""
    wanted = ANY[0] if route.method == "*" else route.method
    query, headers, _ = naming(wanted, form=False)
    aimed = replace(route, example=(route.example or route.path) + query)
    outcome = _probe(served, aimed, ([*_without_body(case[0]), *headers], b""), hits, request, "GET")
    outcome["reached"] = any(hit.method not in SAFE for hit in hits)
    if not outcome["reached"]:
        outcome.pop("other", None)
    return outcome


def _overridden(served: Served, route: Any, case: Case, hits: list[Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """The probe in which a form, a query and headers that name another method got to another handler; or empty.

    Only an exemption makes it matter: it lets a request through as one route, and another is served.
    """
    for method in (each for each in ANY if route.method in ANY and each != route.method):
        query, headers, body = naming(method, form=True)
        aimed = replace(route, example=(route.example or route.path) + query)
        outcome = _probe(served, aimed, ([*case[0], *headers], body), hits, request)
        if "other" in outcome:
            return outcome
    return {}


def _without_body(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name != "content-type"]


def _handler(route: Any) -> tuple[Any, ...]:
    """What tells the handlers of two routes apart, whatever their methods and paths are."""
    return route.endpoint, route.source, route.line, route.exempt_by


def _outcome(answer: DrivenAnswer, *, reached: bool) -> dict[str, Any]:
    return {
        "status": answer.status,
        "code": answer.code,
        "by": _by(answer),
        "reached": reached,
        "location": next((value for name, value in answer.headers if name == "location"), "")[:200],
        "requestId": next((value for name, value in answer.headers if name == "x-request-id"), ""),
        "error": answer.error,
    }


def _by(answer: DrivenAnswer) -> str:
    """Who refused, by what only that one says; empty when nobody known did."""
    if answer.code.startswith("DOD15") or answer.code == "DOD063":
        return "dodai"
    text = answer.body[:20_000].lower()
    if answer.status == 403 and (b"csrf verification failed" in text or b"csrf cookie not set" in text):
        return "django"
    if answer.status == 400 and ((b"csrf" in text and b"token" in text) or b"the referrer" in text):
        return "flask-wtf"
    if answer.status == 403 and b"csrf token verification failed" in text:
        return "litestar"
    if answer.status in (400, 401, 403, 419) and b"csrf" in text:
        return "another"
    return ""


def _concrete(host: str) -> str:
    while "{" in host:
        host = host[: host.index("{")] + "x" + host[host.index("}") + 1 :]
    return host
