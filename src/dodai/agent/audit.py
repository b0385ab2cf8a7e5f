"""The audit of one application: its routes, and what becomes of hostile and of valid requests to each.

Handlers are replaced before the first request, so none of the application's own code that answers requests runs; its
middleware and hooks do.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from . import drive
from .drive import Answer

SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
ANY = ("POST", "PUT", "PATCH", "DELETE")
FORM = "application/x-www-form-urlencoded"
Case = tuple[list[tuple[str, str]], bytes]


def audit(request: Mapping[str, Any], frameworks: ModuleType) -> dict[str, Any]:
    """The answer to one request of the parent; raises what importing the application raises."""
    app = load(request)
    hits: list[str] = []
    found = frameworks.plant(app, lambda route: hits.append(route.id))
    cases = hostile_and_valid(app, request)
    rows = [_row(app, route, cases, hits, request) for route in found]
    return {
        "framework": frameworks.recognise(app),
        "wrapped": _layers(app),
        "routes": rows,
        "session": _session(app),
        "cookies": cases.get("cookies", []),
    }


def load(request: Mapping[str, Any]) -> Any:
    """The object that `web.app:app` names; a factory (`web.app:build()`) is called without arguments."""
    for entry in reversed(request["path"]):
        sys.path.insert(0, entry)
    os.chdir(request["cwd"])
    module, _, name = request["app"].partition(":")
    call = name.endswith("()")
    value: Any = importlib.import_module(module)
    for part in (name.removesuffix("()") or "app").split("."):
        value = getattr(value, part)
    return value() if call else value


def hostile_and_valid(app: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """Each case as (headers, body), with tokens that the application itself gave to two visitors."""
    origin, field, header = request["origin"], request["field"], request["header"]
    base = [("host", origin.partition("://")[2]), ("origin", origin), ("accept", "application/json")]
    base += [(name, value) for name, value in request["sign_in"].items()]
    own, own_cookie, seen = _visitor(app, base, request)
    other, _, _ = _visitor(app, base, request)
    known = bool(own)
    own = own or "d1.none.00000000." + "A" * 86
    cookie = [("cookie", "; ".join(part for part in (own_cookie, _cookie(base)) if part))] if own_cookie else []
    plain = [pair for pair in base if pair[0] != "cookie"] + (cookie or [p for p in base if p[0] == "cookie"])

    def form(token: str) -> Case:
        return [*plain, ("content-type", FORM)], f"{field}={token}".encode()

    hostile = [pair for pair in plain if pair[0] != "origin"]
    away = [*hostile, ("origin", "https://attacker.invalid"), ("sec-fetch-site", "cross-site"), (header, own)]
    altered = own[:40] + ("A" if own[40] != "A" else "B") + own[41:]
    cases: dict[str, Any] = {
        "missing": ([*plain, ("content-type", FORM)], b"probe=1"),
        "tampered": form(altered),
        "cross_site": (away, b""),
        "cookies": seen,
    }
    if other:
        cases["foreign"] = form(other)
    if expired := request.get("expired"):
        cases["expired"] = (
            [*hostile, ("origin", origin), ("cookie", expired["cookie"]), (header, expired["token"])],
            b"",
        )
    if known:
        cases["valid"] = form(own)
        cases["valid_header"] = ([*plain, (header, own)], b"")
    return cases


def _visitor(app: Any, base: list[tuple[str, str]], request: Mapping[str, Any]) -> tuple[str, str, list[str]]:
    """(token, cookie, Set-Cookie headers) of a new visitor of an application that dodai protects; empty otherwise."""
    answer = drive.request(
        app, "GET", request["refresh"], [*base, ("sec-fetch-site", "same-origin")], scheme=_scheme(request)
    )
    token = answer.json.get("token", "") if answer.status == 200 and isinstance(answer.json, Mapping) else ""
    cookies = answer.cookies()
    return str(token), "; ".join(cookie.partition(";")[0] for cookie in cookies), cookies


def _row(app: Any, route: Any, cases: Mapping[str, Any], hits: list[str], request: Mapping[str, Any]) -> dict[str, Any]:
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
    if route.method in SAFE:
        return row
    probes: dict[str, Any] = {}
    for name, case in cases.items():
        if name == "cookies" or (route.method == "WEBSOCKET" and name not in ("cross_site", "valid_header")):
            continue
        probes[name] = _probe(app, route, case, hits, request)
    return row | {"probes": probes}


def _probe(app: Any, route: Any, case: Case, hits: list[str], request: Mapping[str, Any]) -> dict[str, Any]:
    headers, body = case
    if route.host:
        headers = [("host", _concrete(route.host)), *(pair for pair in headers if pair[0] != "host")]
    methods = ANY if route.method == "*" else (route.method,)
    outcome: dict[str, Any] = {}
    for method in methods:
        hits.clear()
        answer = drive.request(app, method, route.example or route.path, headers, body, _scheme(request))
        outcome = _outcome(answer, reached=bool(hits))
        if outcome["reached"]:
            break
    return outcome


def _outcome(answer: Answer, *, reached: bool) -> dict[str, Any]:
    return {
        "status": answer.status,
        "code": answer.code,
        "by": _by(answer),
        "reached": reached,
        "location": next((value for name, value in answer.headers if name == "location"), "")[:200],
        "requestId": next((value for name, value in answer.headers if name == "x-request-id"), ""),
        "error": answer.error,
    }


def _by(answer: Answer) -> str:
    """Who refused, by what only that one says; empty when nobody known did."""
    if answer.code.startswith("DOD15") or answer.code == "DOD063":
        return "dodai"
    text = answer.body[:20_000].lower()
    if answer.status == 403 and (b"csrf verification failed" in text or b"csrf cookie not set" in text):
        return "django"
    if answer.status == 400 and b"csrf" in text and b"token" in text:
        return "flask-wtf"
    if answer.status == 403 and b"csrf token verification failed" in text:
        return "litestar"
    if answer.status in (400, 401, 403, 419) and b"csrf" in text:
        return "another"
    return ""


def _layers(app: Any, limit: int = 20) -> list[str]:
    names = []
    for _ in range(limit):
        names.append(f"{type(app).__module__}.{type(app).__qualname__}")
        app = getattr(app, "app", None) or getattr(app, "wsgi_app", None)
        if app is None or (callable(app) and not hasattr(app, "__dict__")):
            break
    return names


def _session(app: Any) -> dict[str, Any] | None:
    """How Starlette's own session middleware is set up; of the secret only its length and variety."""
    for _ in range(20):
        for middleware in getattr(app, "user_middleware", ()):
            if getattr(middleware, "cls", type(None)).__name__ == "SessionMiddleware":
                options = middleware.kwargs
                secret = str(options.get("secret_key", ""))
                return {
                    "httpsOnly": bool(options.get("https_only", False)),
                    "sameSite": str(options.get("same_site", "lax")),
                    "secretLength": len(secret),
                    "secretVariety": len(set(secret)),
                }
        app = getattr(app, "app", None)
        if app is None:
            return None
    return None


def _cookie(headers: list[tuple[str, str]]) -> str:
    return "; ".join(value for name, value in headers if name.lower() == "cookie")


def _scheme(request: Mapping[str, Any]) -> str:
    return str(request["origin"]).partition("://")[0]


def _concrete(host: str) -> str:
    while "{" in host:
        host = host[: host.index("{")] + "x" + host[host.index("}") + 1 :]
    return host
