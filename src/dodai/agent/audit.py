"""The audit of one application: its routes, and what becomes of hostile and of valid requests to each.

Handlers are replaced before the first request, so none of the application's own code that answers requests runs; its
middleware and hooks do.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
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
    enter(request)
    app = load(request["app"])
    signed_in = load(request["signIn"])() if request.get("signIn") else {}
    request = {**request, "sign_in": {str(name).lower(): str(value) for name, value in signed_in.items()}}
    hits: list[Any] = []
    found = frameworks.plant(app, hits.append)
    cases = hostile_and_valid(app, request, frameworks.native_tokens(app, request["origin"]))
    rows = [_row(app, route, cases, hits, request) for route in found]
    return {
        "framework": frameworks.recognise(app),
        "wrapped": _layers(app),
        "routes": rows,
        "ready": _ready(app, hits, request),
        "session": _session(app),
        "binding": _binding(app),
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


def hostile_and_valid(app: Any, request: Mapping[str, Any], native: Mapping[str, str] | None) -> dict[str, Any]:
    """Each case as (headers, body), with tokens that the application itself gave to two visitors.

    `native` are tokens of the framework's own protection, for an application that dodai does not protect.
    """
    origin = request["origin"]
    base = [("host", origin.partition("://")[2]), ("accept", "application/json")]
    base += [(name, value) for name, value in request["sign_in"].items() if name.lower() != "cookie"]
    ours = [("origin", origin), ("referer", origin + "/")]
    signed_in = _cookie(list(request["sign_in"].items()))
    new = [*base, *ours, *_cookie_header(signed_in)]
    own, other = _visitor(app, new, request), _visitor(app, new, request)
    if not own["token"] and native:
        own = {**own, **native}
        other = {**own, "token": native["other"]}
    token = own["token"] or "d1.none.00000000." + "A" * 86
    plain = [*base, *ours, *_cookie_header(own["cookie"], signed_in)]
    form, header = [*plain, ("content-type", FORM)], own["header"]
    theirs = [
        ("origin", "https://attacker.invalid"),
        ("referer", "https://attacker.invalid/"),
        ("sec-fetch-site", "cross-site"),
    ]
    # Another site never has the token. dodai refuses it all the same; what checks the token alone need not.
    stolen = [] if native and own["token"] == native["token"] else [(header, token)]
    altered = token[:-20] + ("A" if token[-20] != "A" else "B") + token[-19:]
    cases: dict[str, Any] = {
        "missing": (form, b"probe=1"),
        "tampered": (form, f"{own['field']}={altered}".encode()),
        "cross_site": ([*base, *theirs, *_cookie_header(own["cookie"], signed_in), *stolen], b""),
    }
    if other["token"]:
        cases["foreign"] = (form, f"{own['field']}={other['token']}".encode())
    if request.get("expired") and not native:
        expired = request["expired"]
        stale = [*base, *ours, *_cookie_header(expired["cookie"], signed_in), (header, expired["token"])]
        cases["expired"] = (stale, b"")
    if own["token"]:
        cases["valid"] = (form, f"{own['field']}={token}".encode())
        cases["valid_header"] = ([*plain, (header, token)], b"")
    return cases


def _visitor(app: Any, headers: list[tuple[str, str]], request: Mapping[str, Any]) -> dict[str, str]:
    """Token and cookie that an application protected by dodai gives to a new visitor; empty otherwise."""
    sent = [*headers, ("sec-fetch-site", "same-origin")]
    answer = drive.request(app, "GET", request["refresh"], sent, scheme=_scheme(request))
    body = answer.json if answer.status == 200 and isinstance(answer.json, Mapping) else {}
    return {
        "token": str(body.get("token", "")),
        "cookie": "; ".join(cookie.partition(";")[0] for cookie in answer.cookies()),
        "field": str(body.get("field", request["field"])),
        "header": str(body.get("header", request["header"])),
    }


def _cookie_header(*cookies: str) -> list[tuple[str, str]]:
    value = "; ".join(cookie for cookie in cookies if cookie)
    return [("cookie", value)] if value else []


def _row(app: Any, route: Any, cases: Mapping[str, Any], hits: list[Any], request: Mapping[str, Any]) -> dict[str, Any]:
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
        probes[name] = _probe(app, route, case, hits, request)
    if other := _overridden(app, route, cases["missing"], hits, request):
        probes["override"] = other
    return row | {"probes": probes}


def _ready(app: Any, hits: list[Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """What became of the question whether it is ready; empty where it is not asked by a path."""
    if not request.get("ready"):
        return {}
    hits.clear()
    headers = [("host", request["origin"].partition("://")[2]), ("accept", "application/json")]
    answer = drive.request(app, "GET", request["ready"], headers, scheme=_scheme(request))
    return {"path": request["ready"], "status": answer.status, "reached": bool(hits)}


def _probe(app: Any, route: Any, case: Case, hits: list[Any], request: Mapping[str, Any]) -> dict[str, Any]:
    headers, body = case
    if route.host:
        headers = [("host", _concrete(route.host)), *(pair for pair in headers if pair[0] != "host")]
    methods = ANY if route.method == "*" else (route.method,)
    outcome: dict[str, Any] = {}
    for method in methods:
        hits.clear()
        answer = drive.request(app, method, route.example or route.path, headers, body, _scheme(request))
        outcome = _outcome(answer, reached=bool(hits))
        if hits and _handler(hits[-1]) != _handler(route):
            outcome["other"] = hits[-1].id
        if outcome["reached"]:
            break
    return outcome


def _overridden(app: Any, route: Any, case: Case, hits: list[Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """The probe in which a form or a query that names another method (`_method`) got to another handler; or empty.

    Only an exemption makes it matter: it lets a request through as one route, and another is served.
    """
    for method in (each for each in ANY if route.method in ANY and each != route.method):
        aimed = replace(route, example=f"{route.example or route.path}?_method={method}")
        outcome = _probe(app, aimed, (case[0], f"_method={method}".encode()), hits, request)
        if "other" in outcome:
            return outcome
    return {}


def _handler(route: Any) -> tuple[Any, ...]:
    """What tells the handlers of two routes apart, whatever their methods and paths are."""
    return route.endpoint, route.source, route.line, route.exempt_by


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
    if answer.status == 400 and ((b"csrf" in text and b"token" in text) or b"the referrer" in text):
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


def _binding(app: Any) -> str:
    """What tokens of dodai are bound to, as its own layer says; empty where there is none."""
    for _ in range(20):
        layer: Any = app if hasattr(app, "csrf_binding") else getattr(app, "wsgi_app", None)
        if hasattr(layer, "csrf_binding"):
            return str(layer.csrf_binding)
        app = getattr(app, "app", None)
        if app is None:
            return ""
    return ""


def _cookie(headers: list[tuple[str, str]]) -> str:
    return "; ".join(value for name, value in headers if name.lower() == "cookie")


def _scheme(request: Mapping[str, Any]) -> str:
    return str(request["origin"]).partition("://")[0]


def _concrete(host: str) -> str:
    while "{" in host:
        host = host[: host.index("{")] + "x" + host[host.index("}") + 1 :]
    return host
