"""The audit of one application: its routes, and what becomes of hostile and of valid requests to each.

Handlers are replaced before the first request, so none of the application's own code that answers requests runs; its
middleware and hooks do.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from .cases import Case, hostile_and_valid, naming, scheme
from .drive import DrivenAnswer, Served
from .in_front import NOWHERE, PassageRecorder

SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
ANY = ("POST", "PUT", "PATCH", "DELETE")
_SHARE, _TIMEOUT_S = 0.8, 60.0
_FEW = frozenset({"missing", "tampered", "cross_site", "valid", "valid_header", "valid_both"})
"""Enough for the further methods of a handler that takes any: it is one handler behind one check."""
_REACHING = ("valid_both", "valid_header", "valid", "missing")
_TEXTS = ("x/y", "dodai-audit", "7")

_PLACEHOLDER = re.compile(r"<[^<>]+>|\{[^{}]+\}|\(\?P<\w+>(?:[^()]|\([^()]*\))*\)")


def audit(request: Mapping[str, Any], frameworks: ModuleType) -> dict[str, Any]:
    """The answer to one request of the parent; raises what importing the application raises."""
    until = time.monotonic() + _SHARE * float(request.get("timeout") or _TIMEOUT_S)
    enter(request)
    app = load(request["app"])
    signed_in = load(request["signIn"])() if request.get("signIn") else {}
    request = {**request, "sign_in": {str(name).lower(): str(value) for name, value in signed_in.items()}}
    served, recorder = Served(app), PassageRecorder(request["path"])
    late = served.start() if request.get("lifespan") else ""
    hits: list[Any] = []
    found = frameworks.plant(app, hits.append)
    native = frameworks.native_tokens(app, request["origin"])
    cases = hostile_and_valid(served, request, native)
    asking = _Asking(served, cases, hits, request, recorder, until)
    rows = [_row(asking, _aimed(asking, _with_example(route, request))) for route in found]
    _ask_nowhere(asking)
    rows += _in_front(recorder, {route.path for route in found})
    served.end()
    return {
        "framework": frameworks.recognise(app),
        "wrapped": layer_names(app),
        "routes": rows,
        "ready": _ready(asking, found),
        "session": session_middleware(app),
        "binding": str(getattr(csrf_layer_of(app), "csrf_binding", "")),
        "native": {name: native[name] for name in ("field", "header")} if native else None,
        "requests": served.requests,
        "gaps": [*([_not_started(request["app"], late)] if late else []), *_late(frameworks.routes(app), found)],
    }


def _not_started(app: str, why: str) -> dict[str, str]:
    return {
        "reason": f"the lifespan of `{app}` did not start ({why}): routes that it adds are not listed",
        "fix": "set what it needs in `[check.environment]` (`[check] inherit` for a variable of CI, such as the "
        "`DATABASE_URL` of a server on this machine), or, if it adds no routes, `[csrf] lifespan = false`",
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
    given = request.get("examples") or {}
    if route.path in given:
        return replace(route, example=given[route.path])
    names = _PLACEHOLDER.findall(route.path)
    made = _made(route) if any(name in given for name in names) else []
    return _filled(route, [given.get(name, value) for name, value in zip(names, made, strict=False)])


def _made(route: Any) -> list[str]:
    """What stands for each part of the path in its example; empty where that cannot be told."""
    parts = map(re.escape, _PLACEHOLDER.split(route.path))
    taken = re.fullmatch("(.+?)".join(parts), route.example or route.path)
    return list(taken.groups()) if taken is not None else []


def _filled(route: Any, values: Sequence[str]) -> Any:
    if not values:
        return route
    parts = _PLACEHOLDER.split(route.path)
    return replace(route, example="".join(part + str(value) for part, value in zip(parts, [*values, ""], strict=True)))


@dataclass
class _Asking:
    """What every request of one audit shares; `hits` are the handlers that the last one got to.

    After `until` on the monotonic clock no further route is asked, so that what was seen can still be told.
    """

    served: Served
    cases: Mapping[str, Case]
    hits: list[Any]
    request: Mapping[str, Any]
    recorder: PassageRecorder
    until: float

    def send(self, method: str, path: str, case: Case) -> DrivenAnswer:
        self.hits.clear()
        return self.served.request(method, path, *case, scheme(self.request))


def _aimed(asking: _Asking, route: Any) -> Any:
    """The route with an example that leads to its own handler, where the one made for it leads to another route's.

    `/p/x` is one of `/p/<path:key>`, and yet that of `/p/<key>`, which may be exempt.
    """
    made = _made(route)
    if route.method in SAFE or not made or time.monotonic() > asking.until or _is_its_own(asking, route):
        return route
    tried = [_filled(route, [*made[:n], text, *made[n + 1 :]]) for text in _TEXTS for n in range(len(made))]
    return next((each for each in tried if _is_its_own(asking, each)), route)


def _is_its_own(asking: _Asking, route: Any) -> bool:
    """Whether a request to the example gets to the route itself, and not to another one of the same handler."""
    for name in _REACHING:
        if name in asking.cases and _probe(asking, route, asking.cases[name])["reached"]:
            return bool((asking.hits[-1].path, asking.hits[-1].pattern) == (route.path, route.pattern))
    return False


def _row(asking: _Asking, route: Any) -> dict[str, Any]:
    row = {
        "method": route.method,
        "path": route.path,
        "host": route.host,
        "pattern": route.pattern,
        "servedAt": route.served_at,
        "framework": route.framework,
        "kind": route.kind,
        "endpoint": route.endpoint,
        "source": route.source,
        "line": route.line,
        "guard": route.guard,
        "exemptBy": route.exempt_by,
        "writes": route.writes,
    }
    if route.method in SAFE:
        return row
    if route.kind == "opaque" and not route.example:
        return row
    if time.monotonic() > asking.until:
        return row | {"unasked": True}
    probes: dict[str, Any] = {}
    for name, case in asking.cases.items():
        if route.method == "WEBSOCKET" and name not in ("cross_site", "null_origin", "valid_header"):
            continue
        if route.kind == "any" and route.method not in (ANY[0], "*") and name not in _FEW:
            continue
        if name == "cross_site":
            with asking.recorder:
                probes[name] = _probe(asking, route, case)
            asking.recorder.keep(str(probes[name]["by"]))
        else:
            probes[name] = _probe(asking, route, case)
    if route.method != "WEBSOCKET":
        probes["override_read"] = _read_as_write(asking, route)
        if other := _respelled(asking, route, probes):
            probes["respelled"] = other
    if route.id in asking.request.get("exempt", ()) and (other := _overridden(asking, route)):
        probes["override"] = other
    return row | {"probes": probes, "elsewhere": _is_elsewhere(asking.served.app)}


def _ask_nowhere(asking: _Asking) -> None:
    """A cross-site request to a path that no route has: who answers there is behind a check only if one refuses it."""
    with asking.recorder:
        answer = asking.send("POST", NOWHERE, asking.cases["cross_site"])
    asking.recorder.keep(_by(answer))


def _in_front(recorder: PassageRecorder, paths: set[str]) -> Iterator[dict[str, Any]]:
    """A row for each path that code in front of every check names and may answer itself, or one for all of them."""
    for passed, calls, named in recorder.rows():
        for path in [path for path in named if path not in paths] or [f"/{{{passed.name}}}"]:
            yield {
                "method": "*",
                "path": path,
                "host": "",
                "framework": "",
                "kind": "layer",
                "endpoint": passed.name,
                "source": passed.code.co_filename,
                "line": passed.code.co_firstlineno,
                "calls": calls,
            }


def _late(now: Iterable[Any], found: Sequence[Any]) -> list[dict[str, str]]:
    """A gap for routes that were added while the application was asked: nobody has replaced or asked their handlers."""
    late = sorted({route.id for route in now} - {route.id for route in found})
    if not late:
        return []
    said = f"`{late[0]}`" + (f" and {len(late) - 1} more" if late[1:] else "") + ": added by the first request"
    return [{"reason": said, "fix": "add routes while the module is imported, or in the lifespan"}]


def _ready(asking: _Asking, found: Sequence[Any]) -> dict[str, Any]:
    """What became of the question whether it is ready; empty where it is not asked by a path."""
    path = asking.request.get("ready")
    if not path:
        return {}
    at = next((route.served_at for route in found if route.path == path and not route.host), "")
    headers = [("host", at or asking.request["origin"].partition("://")[2]), ("accept", "application/json")]
    answer = asking.send("GET", path, (headers, b""))
    return {"path": path, "status": answer.status, "reached": bool(asking.hits)}


def _probe(asking: _Asking, route: Any, case: Case, method: str = "") -> dict[str, Any]:
    headers, body = case
    if host := route.served_at or _concrete(route.host):
        headers = _sent_to(host, headers, asking.request)
    methods = (method,) if method else ANY if route.method == "*" else (route.method,)
    outcome: dict[str, Any] = {}
    for each in methods:
        answer = asking.send(each, route.example or route.path, (headers, body))
        outcome = _outcome(answer, reached=bool(asking.hits))
        if asking.hits and _handler(asking.hits[-1]) != _handler(route):
            outcome["other"] = asking.hits[-1].id
        if outcome["reached"]:
            break
    return outcome


def _read_as_write(asking: _Asking, route: Any) -> Any:
    """The probe that is a GET and names the route's method in every known way: reached when it is served as that."""
    wanted = ANY[0] if route.method == "*" else route.method
    query, headers, _ = naming(wanted, form=False)
    aimed = replace(route, example=(route.example or route.path) + query)
    plain = _without_body(asking.cases["missing"][0])
    outcome = _probe(asking, aimed, ([*plain, *headers], b""), "GET")
    outcome["reached"] = any(hit.method not in SAFE for hit in asking.hits)
    if not outcome["reached"]:
        outcome.pop("other", None)
    return outcome


def _respelled(asking: _Asking, route: Any, probes: Mapping[str, Any]) -> dict[str, Any]:
    """The probe that got to the handler by its path with one slash more or less at the end; or empty.

    A check that goes by paths of its own may not know that they are the same to the router. dodai's goes by none.
    """
    path = route.example or route.path
    if probes["missing"]["reached"] or probes["missing"]["by"] == "dodai" or path == "/":
        return {}
    other = path.removesuffix("/") if path.endswith("/") else path + "/"
    outcome = _probe(asking, replace(route, example=other), asking.cases["missing"])
    return outcome if outcome["reached"] and "other" not in outcome else {}


def _overridden(asking: _Asking, route: Any) -> dict[str, Any]:
    """The probe in which a form, a query and headers that name another method got to another handler; or empty.

    Only an exemption makes it matter: it lets a request through as one route, and another is served.
    """
    for method in (each for each in ANY if route.method in ANY and each != route.method):
        query, headers, body = naming(method, form=True)
        aimed = replace(route, example=(route.example or route.path) + query)
        outcome = _probe(asking, aimed, ([*asking.cases["missing"][0], *headers], body))
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
    if answer.code.startswith("DOD15") or answer.code in ("DOD063", "DOD163"):
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


def _sent_to(host: str, headers: list[tuple[str, str]], request: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The headers of a request to `host`, from a page of that host where it comes from one of ours."""
    named = {("referer", request["origin"] + "/"): ("referer", f"{scheme(request)}://{host}/")}
    return [("host", host), *(named.get(pair, pair) for pair in headers if pair[0] != "host")]


def _concrete(host: str) -> str:
    while "{" in host:
        host = host[: host.index("{")] + "x" + host[host.index("}") + 1 :]
    return host


def layer_names(app: Any, limit: int = 20) -> list[str]:
    """The classes of what stands around an application, the outermost first."""
    found = []
    for _ in range(limit):
        found.append(f"{type(app).__module__}.{type(app).__qualname__}")
        app = getattr(app, "app", None) or getattr(app, "wsgi_app", None)
        if app is None or (callable(app) and not hasattr(app, "__dict__")):
            break
    return found


def session_middleware(app: Any) -> dict[str, Any] | None:
    """How Starlette's own session_middleware middleware is set up; of the secret only its length and variety."""
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


def csrf_layer_of(app: Any) -> Any:
    """The layer of dodai around an application, which says what its tokens are bound to; None where there is none."""
    for _ in range(20):
        layer: Any = app if hasattr(app, "csrf_binding") else getattr(app, "wsgi_app", None)
        if hasattr(layer, "csrf_binding"):
            return layer
        app = getattr(app, "app", None)
        if app is None:
            return None
    return None


def _is_elsewhere(app: Any) -> bool:
    """Whether the code does not say that the application is the service that is looked at: then no exemption holds."""
    layer = csrf_layer_of(app)
    asked = os.environ.get("DODAI_SERVICE", "") if os.environ.get("DODAI_MANIFEST") else ""
    return layer is not None and bool(asked) and layer.csrf_service != asked
