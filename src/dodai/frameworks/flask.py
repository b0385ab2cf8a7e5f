"""Flask: the rules of the URL map, blueprints and method views included."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .around import kinds
from .route import (
    ANY_HANDLER,
    ENTERED,
    UNSAFE,
    Enter,
    MatchedRoute,
    Reached,
    Route,
    let_through,
    looks_like_guard,
    looks_like_write,
    where,
)

_ARGUMENT = re.compile(r"<(?:[^<>:]+(?:\([^<>]*\))?:)?([^<>:]+)>")
_EXAMPLES = ("x", "1", "1.5", "00000000-0000-4000-8000-000000000000", "2026-01-31", "en", "x/y")


def routes(app: Any) -> list[Route]:
    """Every (method, rule) of the application."""
    return [route for route, _ in _walk(app)]


def plant(app: Any, hit: Callable[[Route], None]) -> list[Route]:
    """The same, with every view function replaced; its name stays, because extensions exempt views by name."""
    found = list(_walk(app))
    for route, endpoint in reversed(found):
        view = app.view_functions.get(endpoint)
        app.view_functions[endpoint] = _tripwire(view, route, hit)
    return [route for route, _ in found]


def find(app: Any, environ: Mapping[str, Any]) -> MatchedRoute:
    """The rule that the application's own URL adapter, which knows subdomains and hosts, will choose for an environ."""
    adapter = app.create_url_adapter(app.request_class(dict(environ)))
    rule, _ = adapter.match(return_rule=True)
    route = f"{environ['REQUEST_METHOD']} {_host(rule)}{rule.rule}"
    return MatchedRoute(route, _handler(app, rule), is_watched(app))


def watch(app: Any, enter: Enter) -> bool:
    """Before the first hook of a request, when nothing of the application has run, and again behind the last one.

    A hook may set `request.method`, which a method view obeys.
    """
    watch_all(enter.apart())
    for name in _ENTRANCES:
        if name in vars(app):
            _stand(app, name)
    known = vars(app).get(_ENTER)
    setattr(app, _ENTER, enter if known is None else known.joined(enter))
    return is_watched(app)


def watch_all(enter: Enter) -> None:
    """In every application of the process, found or not, and of what is made of Werkzeug without Flask.

    There is no handler to stand in front of, but its dispatcher, and the map of URLs that is asked for one.
    """
    flask, werkzeug = sys.modules.get("flask.app"), sys.modules.get("werkzeug.middleware.dispatcher")
    if flask is not None:
        for kind, name in ((kind, name) for kind in kinds(flask.Flask) for name in _ENTRANCES if name in vars(kind)):
            _stand(kind, name)
        _join(flask.Flask, enter)
    if werkzeug is not None:
        for kind in kinds(werkzeug.DispatcherMiddleware):
            if "__call__" in vars(kind) and not hasattr(vars(kind)["__call__"], "dodai"):
                kind.__call__ = _dispatching(vars(kind)["__call__"])
        _join(werkzeug.DispatcherMiddleware, enter)

    if (routing := sys.modules.get("werkzeug.routing")) is not None:
        if not hasattr(routing.Map.bind_to_environ, "dodai"):
            routing.Map.bind_to_environ = _binding(routing.Map.bind_to_environ)
        _join(routing.Map, enter)


def watch_dispatcher(layer: Any, enter: Enter) -> None:
    """In front of all that a dispatcher leads to, for an application in it may have no place of its own."""
    werkzeug = sys.modules.get("werkzeug.middleware.dispatcher")
    if werkzeug is not None and isinstance(layer, werkzeug.DispatcherMiddleware):
        known = vars(layer).get(_ENTER)
        setattr(layer, _ENTER, enter if known is None else known.joined(enter))


def is_watched(app: Any) -> bool:
    """Whether the entrances are where `watch` has put them."""
    return hasattr(app, _ENTER) and all(hasattr(inspect.getattr_static(app, name), "dodai") for name in _ENTRANCES)


_FRAMES = 8
_SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
_ENTRANCES = ("full_dispatch_request", "dispatch_request")
_ENTER = "dodai_enter"
"""The attribute of an application, and of the class for those that nobody has found, with what is called there."""
_FIRST_MAP = "dodai_first_map"
"""The attribute of an application with the map of URLs that it had at its first request, when set-up was over."""


def _join(cls: Any, enter: Enter) -> None:
    known = vars(cls).get(_ENTER)
    setattr(cls, _ENTER, staticmethod(enter if known is None else known.__func__.joined(enter)))


def _stand(holder: Any, name: str) -> None:
    """Put an entrance in place of a method of the class `holder`, or of what an application has in its place."""
    dispatch = vars(holder)[name]
    if hasattr(dispatch, "dodai"):
        return

    @functools.wraps(dispatch)
    def entered(app: Any, *arguments: Any) -> Any:
        _enter(app, behind=name == "dispatch_request")
        return dispatch(app, *arguments)

    @functools.wraps(dispatch)
    def entered_here(*arguments: Any) -> Any:
        _enter(holder, behind=name == "dispatch_request")
        return dispatch(*arguments)

    entrance = entered if isinstance(holder, type) else entered_here
    entrance.dodai = True  # type: ignore[attr-defined]
    setattr(holder, name, entrance)


def _enter(app: Any, *, behind: bool) -> None:
    request = sys.modules["flask"].request._get_current_object()  # noqa: SLF001 - the proxy asks for every attribute
    rule = request.url_rule
    vars(app).setdefault(_FIRST_MAP, app.url_map)
    # Flask takes its request out of the environ before the line is written.
    request.environ["dodai.route"] = f"{_host(rule)}{rule.rule}" if rule is not None else ""
    # A hook may have chosen a rule, or an endpoint, that does not take the method: what runs is what it is for.
    methods = (_methods(app, rule) if rule is not None else None) or {request.method}
    others = () if request.method in methods else UNSAFE
    method = next((each for each in others if each in methods), request.method)
    app.dodai_enter(request.environ, method, lambda: Reached(_handler(app, rule), behind=behind))


def _handler(app: Any, rule: Any) -> Any:
    """What tells a handler apart: rules of two applications are equal when they look alike.

    Flask calls the view function of the rule's endpoint. A rule whose endpoint is not the one that it was added with
    leads to what its route never was: equal to nothing, itself included when the next request is routed to it.
    """
    if rule is None:
        return None
    if rule.map is None or not _is_as_added(rule.map, rule) or not _is_as_at_first(app, rule):
        return object()
    return id(app), rule, app.view_functions.get(rule.endpoint)


def _is_as_added(url_map: Any, rule: Any) -> bool:
    """Whether the map has this very rule under its endpoint: a copy is equal, and so is the rule of another method."""
    added = url_map._rules_by_endpoint.get(rule.endpoint)  # noqa: SLF001 - `iter_rules` raises, and sorts
    return added is not None and (added[0] is rule or any(each is rule for each in added))


def _is_as_at_first(app: Any, rule: Any) -> bool:
    """Whether a rule of a map that has taken the place of the first one had the same endpoint there."""
    first = vars(app).setdefault(_FIRST_MAP, app.url_map)
    same = first._rules_by_endpoint.get(rule.endpoint, ())  # noqa: SLF001 - `iter_rules` raises, and sorts
    return rule.map is first or any(each == rule and each.methods == rule.methods for each in same)


def _methods(app: Any, rule: Any) -> set[str] | None:
    """What the rule takes; of one that is not as it was added, what the rules that its endpoint has take."""
    if _is_as_added(app.url_map, rule):
        return rule.methods  # type: ignore[no-any-return]
    taken = [each.methods for each in app.url_map._rules_by_endpoint.get(rule.endpoint, (rule,))]  # noqa: SLF001
    return None if None in taken else set().union(*taken)


def _dispatching(call: Callable[..., Any]) -> Callable[..., Any]:
    """A dispatcher that leads to no application what was let through with another method."""

    @functools.wraps(call)
    def entered(dispatcher: Any, environ: Any, start_response: Any) -> Any:
        dispatcher.dodai_enter(
            environ, environ["REQUEST_METHOD"], lambda: Reached(ANY_HANDLER, here=False, behind=False)
        )
        return call(dispatcher, environ, start_response)

    entered.dodai = True  # type: ignore[attr-defined]
    return entered


def _binding(call: Callable[..., Any]) -> Callable[..., Any]:
    """A map of URLs that is asked by nobody whose request was let through with another method, or for a handler."""

    @functools.wraps(call)
    def entered(url_map: Any, environ: Any, *arguments: Any, **named: Any) -> Any:
        held = environ if environ.__class__ is dict else getattr(environ, "environ", environ)
        method = held["REQUEST_METHOD"]
        if method in _SAFE and getattr(held.get("dodai.csrf"), "passage", held) is None:
            return call(url_map, environ, *arguments, **named)  # a read that came as one; Flask asks its map for all
        if method in _SAFE or not _flask_asks():
            url_map.dodai_enter(held, method, _reached_map)
        return call(url_map, environ, *arguments, **named)

    entered.dodai = True  # type: ignore[attr-defined]
    return entered


def _reached_map() -> Reached:
    return Reached(ANY_HANDLER, here=False, behind=False) if _flask_asks() else Reached(ENTERED)


def _flask_asks() -> bool:
    """Whether a Flask asks its map, or `find` does: it stands in front of its handlers itself.

    Frames are dear, so no read that is one comes here.
    """
    frame, depth = sys._getframe(), 0  # noqa: SLF001 - who calls is all that tells
    while frame is not None and depth < _FRAMES:
        if frame.f_code.co_name == "create_url_adapter":
            return True
        frame, depth = frame.f_back, depth + 1  # type: ignore[assignment]
    return False


def report_errors(app: Any, note: Callable[[BaseException], None]) -> None:
    """By Flask's own signal."""
    receivers = app.extensions.setdefault("dodai_errors", [])
    if note in receivers:
        return

    def receive(_: Any, exception: BaseException, **__: Any) -> None:
        note(exception)

    receivers += [note, receive]  # the signal itself keeps receivers weakly
    sys.modules["flask"].got_request_exception.connect(receive, app)


def own_check(app: Any) -> str:
    """Flask-WTF's `CSRFProtect`, unless its configuration switches it off."""
    asked = all(app.config.get(key, True) for key in ("WTF_CSRF_ENABLED", "WTF_CSRF_CHECK_DEFAULT"))
    return "flask_wtf.CSRFProtect" if asked and "csrf" in app.extensions else ""


def lets_through(app: Any) -> str:
    """The forged request that the extension, as it is configured, does not refuse; empty for none. No hook runs."""
    wtf = sys.modules["flask_wtf.csrf"]
    refusal = sys.modules["werkzeug.exceptions"].HTTPException
    cookie = _session(app, "http://localhost", wtf)[1]
    field = str(app.config.get("WTF_CSRF_FIELD_NAME", "csrf_token"))
    cases: dict[str, dict[str, Any]] = {
        "without a token": {},
        "without a token and with cookies": {"headers": {"Cookie": cookie}},
        "with a wrong token": {"headers": {"Cookie": cookie}, "data": {field: "forged"}},
    }

    def is_refused(method: str, sent: dict[str, Any]) -> bool:
        with app.test_request_context("/", method=method, **sent):
            try:
                app.extensions["csrf"].protect()
            except refusal:
                return True
        return False

    return let_through(_named(app.extensions["csrf"]), cases, is_refused)


def watch_own_check(app: Any, seen: Callable[[], None]) -> bool:
    """Have `seen` called when Flask-WTF has found the token of a request to be right."""
    del app
    wtf: Any = sys.modules["flask_wtf.csrf"]
    check = wtf.validate_csrf
    if getattr(check, "dodai", None) is None:

        @functools.wraps(check)
        def checked(*arguments: Any, **named: Any) -> None:
            check(*arguments, **named)
            seen()

        checked.dodai = seen  # type: ignore[attr-defined]
        wtf.validate_csrf = checked
    return True


def _named(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def native_tokens(app: Any, origin: str) -> dict[str, str] | None:
    """A session with a token of Flask-WTF, and the token of another session."""
    wtf = sys.modules.get("flask_wtf.csrf")
    if wtf is None or "csrf" not in app.extensions:
        return None
    token, cookie = _session(app, origin, wtf)
    return {
        "token": token,
        "cookie": cookie,
        "field": str(app.config.get("WTF_CSRF_FIELD_NAME", "csrf_token")),
        "header": str(app.config.get("WTF_CSRF_HEADERS", ["X-CSRFToken"])[0]).lower(),
        "other": _session(app, origin, wtf)[0],
    }


def _session(app: Any, origin: str, wtf: Any) -> tuple[str, str]:
    with app.test_request_context("/", base_url=origin) as context:
        token = wtf.generate_csrf()
        response = app.response_class()
        app.session_interface.save_session(app, context.session, response)
        return str(token), str(response.headers.get("Set-Cookie", "")).partition(";")[0]


def _walk(app: Any) -> Iterator[tuple[Route, str]]:
    for rule in app.url_map.iter_rules():
        view = app.view_functions.get(rule.endpoint)
        handler = getattr(view, "view_class", view)
        name, source, line = where(handler) if handler is not None else ("", "", 0)
        guard = looks_like_guard(handler) if handler is not None else ""
        exempt_by = "csrf.exempt" if _is_exempt(app, view, rule.endpoint) else ""
        example, served_at = _filled(rule, rule.rule), _filled(rule, _served_at(app, rule))
        for method in sorted(rule.methods or ()):
            yield (
                Route(
                    method,
                    rule.rule,
                    "flask",
                    "handler",
                    name,
                    source,
                    line,
                    _host(rule),
                    example,
                    guard,
                    exempt_by,
                    looks_like_write(handler, method),
                    served_at,
                ),
                rule.endpoint,
            )


def _is_exempt(app: Any, view: Any, endpoint: str) -> bool:
    """Whether Flask-WTF was told to leave out the view or its blueprint; it goes by their names."""
    csrf = app.extensions.get("csrf")
    named = f"{getattr(view, '__module__', '')}.{getattr(view, '__name__', '')}"
    blueprint = endpoint.rpartition(".")[0]
    return named in getattr(csrf, "_exempt_views", ()) or blueprint in getattr(csrf, "_exempt_blueprints", ())


def _example(rule: Any, match: re.Match[str]) -> str:
    regex = getattr(getattr(rule, "_converters", {}).get(match[1]), "regex", ".*")
    return next((text for text in _EXAMPLES if re.fullmatch(regex, text)), "x")


def _filled(rule: Any, template: str) -> str:
    return _ARGUMENT.sub(functools.partial(_example, rule), template)


def _served_at(app: Any, rule: Any) -> str:
    """The host that the application serves the rule at, by its own settings; empty where it does not look at it."""
    if app.url_map.host_matching:
        return str(rule.host or "")
    server = app.config.get("SERVER_NAME") if app.subdomain_matching else None
    return ".".join(filter(None, (rule.subdomain, server))) if server else ""


def _host(rule: Any) -> str:
    return str(rule.host or rule.subdomain or "")


def _tripwire(view: Any, route: Route, hit: Callable[[Route], None]) -> Any:
    def tripwire(*_: Any, **__: Any) -> tuple[str, int]:
        hit(route.served(sys.modules["flask"].request.method))
        return "", 204

    return functools.wraps(view)(tripwire) if view is not None else tripwire
