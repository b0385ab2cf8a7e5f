"""Wrap a WSGI application: `app.wsgi_app = dodai.wsgi.wrap(app)` for Flask, `dodai.wsgi.wrap(application)` for others.

Request id, edge gate, CSRF protection, reserved paths and one line per request, as `dodai.asgi` has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any

from dodai.core.codes import EDGE_KEY_MISSING, RESERVED_PATH, UNHANDLED_ERROR
from dodai.core.line import METHODS, OTHER_METHOD, UNMATCHED, http_outcome
from dodai.core.refusal import Refusal
from dodai.core.request import RequestContext, bind, current, unbind
from dodai.csrf.enforce import layer_response as answers
from dodai.csrf.enforce.entrance import Entrance
from dodai.csrf.enforce.wsgi_layer import CsrfWsgi, Environ, StartResponse, WsgiApp, sent_of
from dodai.csrf.policy import PROBE_PATH, RESERVED_PREFIX, is_reserved
from dodai.frameworks import match, report_errors, route_label, watch
from dodai.frameworks.around import unwrap
from dodai.observability.line_format import error_name, redact, stack_of
from dodai.runtime import Runtime, RuntimeConfig
from dodai.runtime.edge_gate import edge_gate
from dodai.runtime.failures import log_failure, note_error
from dodai.runtime.heartbeat import end_is_told
from dodai.runtime.line_fields import Shape
from dodai.runtime.protection import csrf_for, is_development

__all__ = ["RuntimeConfig", "wrap"]


def wrap(
    app: Any, *, service: str = "", config: RuntimeConfig | None = None, subject: Callable[..., Any] | None = None
) -> WsgiLayer:
    """`app` behind request id, edge gate and CSRF protection, with one line per request.

    `app` is a Flask application, a Django WSGI handler or any WSGI callable; for Flask its `wsgi_app` is called, so
    `app.wsgi_app = wrap(app)` works too. `service` says which one it is, as `PROJECT/SERVICE` by the names in the
    manifest: without it nothing of the manifest that lets more requests pass holds here (`csrf = "off"`, exemptions,
    `trusted_origins`, mode `report`). `subject` names the session or user a token is bound to: a plain function that is
    called with the WSGI environ, as the server made it, and returns text; none, or an empty one, is nobody. It may be
    called in any request. Where it raises, a state-changing request is refused (400, DOD156), and a page that renders a
    token fails. `TypeError` for one that is awaited or cannot be called with one argument. Raises DOD480 when the
    environment cannot be used, DOD180 for a bad key ring, or for none outside a development setting, DOD184 when the
    CSRF mode needs a public origin and there is none, DOD165 for a service that the manifest has not, DOD187 for one of
    another project, DOD189 for an exemption that names no service where several are checked.
    """
    return WsgiLayer(app, Runtime.of(config), service, subject, by_code=config is not None)


_BODILESS = frozenset({204, 304})
_OURS = {
    "request_id": "HTTP_X_REQUEST_ID",
    "user": "HTTP_X_USER_ID",
    "proof": "HTTP_X_IDENTITY_PROOF",
    "deadline": "HTTP_X_DEADLINE_MS",
    "traceparent": "HTTP_TRACEPARENT",
    "tracestate": "HTTP_TRACESTATE",
    "attempt": "HTTP_X_ATTEMPT",
}
"""What a tier of ours sends; without its proof or the edge's key it does not count."""
_EDGE_KEY = "HTTP_X_EDGE_KEY"
_ID_LENGTH = len("x-request-id")
_ROUTED = "dodai.route"
"""Where the entrance of a framework notes the route it came to, empty for none."""
_CONTEXT = "dodai.context"
_RESERVED = Refusal(404, RESERVED_PATH, "reserved_path")


class WsgiLayer:
    """A WSGI application around another: `app` is that of a framework in what is wrapped, if there is one."""

    def __init__(
        self,
        app: Any,
        runtime: Runtime,
        service: str = "",
        subject: Callable[..., Any] | None = None,
        *,
        by_code: bool = True,
    ) -> None:
        self.app = unwrap(app)
        self.runtime = runtime
        gate = csrf_for(runtime, app, service, subject, by_code=by_code)
        if gate is None:
            watch(app, Entrance("pass"))  # for the label of the line alone
        inner = _reserve(getattr(app, "wsgi_app", app))
        self._inner: WsgiApp = inner if gate is None else CsrfWsgi(inner, gate)
        self.csrf_binding, self.csrf_service = gate.binding if gate is not None else "", service.rpartition("/")[2]
        self._gate = edge_gate(runtime.config)
        self._shows_errors = is_development(runtime.config)
        report_errors(app, note_error)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if _CONTEXT in environ:
            return self._inner(environ, start_response)  # inside another of ours: one request, one id, one line
        if not self.runtime.beats:
            self.runtime.beat()
            end_is_told(self.runtime)
        self.runtime.in_flight += 1
        started = perf_counter()
        known = self._gate.knows(_latin(environ.pop(_EDGE_KEY, None)))
        environ[_CONTEXT] = context = self._open(environ, known and self._gate.vouches)
        seen = {"status": 0}

        def noting(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            seen["status"] = int(status[:3])
            kept = [pair for pair in headers if len(pair[0]) != _ID_LENGTH or pair[0].lower() != "x-request-id"]
            kept.append(("X-Request-Id", context.request_id))
            return start_response(status, kept, exc_info) if exc_info else start_response(status, kept)

        token = bind(context)
        error: BaseException | None = None
        try:
            if known or self._gate.lets_pass(environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]):
                body = self._inner(environ, noting)
            else:
                body = _refuse(Refusal(403, EDGE_KEY_MISSING, self._gate.reason), environ, noting, context)
        except Exception as raised:
            if seen["status"]:
                raise
            error = raised
            if self._shows_errors:
                log_failure(error, context)
            body = _refuse(Refusal(500, UNHANDLED_ERROR, "unhandled_error"), environ, noting, context)
        finally:
            unbind(token)
        return _ResponseBody(
            body, lambda sent: self._finish(environ, context, seen["status"], error, started, sent), context
        )

    def _open(self, environ: Environ, trusted: bool) -> RequestContext:
        sent = {name: _latin(environ[key]) for name, key in _OURS.items() if key in environ}
        if sent:
            return self.runtime.arrived(trusted=trusted, **sent)
        context = self.runtime.fresh()
        context.trusted = trusted
        return context

    def _finish(
        self,
        environ: Environ,
        context: RequestContext,
        status: int,
        error: BaseException | None,
        started: float,
        sent: _ResponseBody,
    ) -> None:
        self.runtime.in_flight -= 1
        method = environ["REQUEST_METHOD"]
        outcome = http_outcome(status)
        if sent.error is not None:
            outcome = "aborted"
        elif not sent.complete and method != "HEAD" and status not in _BODILESS:
            outcome = "client_gone"
        error = error or sent.error
        if error is not None and context.error is None:
            context.error, context.stack = error_name(error), stack_of(error)
        route = context.route or self._label(environ)
        fields: dict[str, Any] | None = None
        if route is None:
            route = UNMATCHED
            fields = {"path": redact(environ.get("PATH_INFO", ""))[:128]}
        shape: Shape = ("http", outcome, status, route, method if method in METHODS else OTHER_METHOD)
        size = sent.size_bytes if method != "HEAD" else 0
        self.runtime.write_served(context, shape, perf_counter() - started, fields, size)

    def _label(self, environ: Environ) -> str | None:
        """The template of the route, as the framework has left it in the environ, else by asking its router again."""
        label = route_label(environ)
        if label is not None or _ROUTED in environ:
            return label
        matched = match(self.app, environ)
        return matched.partition(" ")[2] if matched else None


def _reserve(app: WsgiApp) -> WsgiApp:
    """`app` behind the reserved paths, which never reach it; `dodai.asgi.reserved` says what they layer_response."""

    def reserved(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if not is_reserved(path):
            return app(environ, start_response)
        context = current() or RequestContext()
        context.route = PROBE_PATH if path == PROBE_PATH else RESERVED_PREFIX + "/*"
        if path == PROBE_PATH and environ["REQUEST_METHOD"] == "POST":
            start_response("204 No Content", [("Cache-Control", "no-store")])
            return []
        return _refuse(_RESERVED, environ, start_response, context)

    vars(reserved)["app"] = app  # who looks for a dispatcher's mounts follows this name from layer to layer
    return reserved


def _refuse(
    refusal: Refusal, environ: Environ, start_response: StartResponse, context: RequestContext
) -> Iterable[bytes]:
    context.refusal = refusal
    found = answers.refused(refusal, context, sent_of(environ))
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in found.headers]
    start_response(f"{found.status} Refused", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [found.body]


class _ResponseBody:
    """The response body; the request is current while a piece is made, and its line is written when it is closed.

    Never between two pieces: a body that is not read to its end would leave its request, and its user, current in the
    thread, for the next request to find.
    """

    def __init__(self, body: Iterable[bytes], finish: Callable[[_ResponseBody], None], context: RequestContext) -> None:
        self.complete = False
        self.error: BaseException | None = None
        self.size_bytes = 0
        self._body = body
        self._finish = finish
        self._context = context
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        pieces = iter(self._body)
        while True:
            token = bind(self._context)
            try:
                piece = next(pieces)
            except StopIteration:
                self.complete = True
                return
            except BaseException as error:
                self.error = error
                raise
            finally:
                unbind(token)
            self.size_bytes += len(piece)
            yield piece

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        token = bind(self._context)
        try:
            if hasattr(self._body, "close"):
                self._body.close()
        finally:
            unbind(token)
            self._finish(self)


def _latin(value: Any) -> bytes | None:
    return str(value).encode("latin-1", "replace") if value is not None else None
