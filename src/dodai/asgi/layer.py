"""The layer itself: context, edge gate, CSRF, reserved paths, application, and what becomes of their failures."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from time import perf_counter
from typing import Any

from dodai.asgi.conversation import WebSocketConversation
from dodai.asgi.error_response import deny_handshake, refusal_for, send_refusal
from dodai.asgi.exchange import HttpExchange
from dodai.asgi.reserved import reserve
from dodai.asgi.route_template import router_of
from dodai.core.asgi_types import App, Message, Receive, Scope, Send, Served
from dodai.core.codes import EDGE_KEY_MISSING
from dodai.core.refusal import Refusal
from dodai.core.request import DEADLINE_HEADER, RequestContext, bind, unbind
from dodai.csrf.enforce import CsrfLayer
from dodai.csrf.enforce.entrance import HandlerNotJudgedError
from dodai.frameworks import report_errors
from dodai.runtime import Runtime, heartbeat
from dodai.runtime.edge_gate import EDGE_KEY_HEADER, edge_gate
from dodai.runtime.failures import log_failure, note_error
from dodai.runtime.identity import PROOF_HEADER, USER_HEADER
from dodai.runtime.protection import csrf_for, is_development

_PROOF = PROOF_HEADER.encode()
_USER = USER_HEADER.encode()
_DEADLINE = DEADLINE_HEADER.encode()
_OURS = frozenset({_PROOF, _USER, b"x-request-id", b"traceparent", b"tracestate", b"x-attempt"})
_RAY = re.compile(rb"[0-9A-Za-z-]{1,64}\Z")
_REMEMBERED = 1024
_LONGEST_REMEMBERED = 64
_NOBODY = ("",)
_CONTEXT = "dodai.context"
_NO_BROWSER = frozenset({"channel"})
"""What Django Channels' workers are called with: it comes from its channel layer, never from a client."""


class UnknownProtocolError(Exception):
    """A scope of a type that has no check here, such as a protocol that a server learnt since."""


class NoResponseError(Exception):
    """The application returned without a response."""


class StreamAbortedError(Exception):
    """Tells the server to cut a response that cannot be completed; what went wrong is in the line."""


class Layer:
    """An ASGI application around another. `app` is the one inside, `service` the name that the code gives it."""

    def __init__(
        self,
        app: App,
        runtime: Runtime,
        service: str = "",
        subject: Callable[..., Any] | None = None,
        *,
        by_code: bool = True,
    ) -> None:
        self.app = app
        self.runtime = runtime
        self._router = router_of(app)
        self._notes_clients = runtime.config.policy.client_ip == "network"
        self._notes_rays = runtime.config.edge == "cloudflare"
        self._networks: dict[bytes | str, str] = {}
        self._shows_errors = is_development(runtime.config)
        report_errors(app, note_error)
        self._gate = edge_gate(runtime.config)
        self._is_open, self._vouches = self._gate.is_open, self._gate.vouches
        gate = csrf_for(runtime, app, service, subject, by_code=by_code)
        self._inner: Served = reserve(app) if gate is None else CsrfLayer(app, gate, reserve(app)).within
        self.csrf_binding, self.csrf_service = gate.binding if gate is not None else "", service.rpartition("/")[2]

    def _no_edge(self) -> Refusal:
        return Refusal(403, EDGE_KEY_MISSING, self._gate.reason)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A server asks whether this is a coroutine function, so HTTP is served here and not in one more of them.
        if scope["type"] != "http":
            await self._not_http(scope, receive, send)
            return
        if (above := scope.get(_CONTEXT)) is not None:
            # Inside another application of ours: one request, one id, one line; only the checks are those of both.
            await self._inner(scope, receive, send, above)
            return
        runtime = self.runtime
        if not runtime.beats:
            runtime.beat()
        runtime.in_flight += 1
        started = perf_counter()
        headers = dict(scope["headers"])
        known = EDGE_KEY_HEADER in headers and self._gate.is_known(scope, headers)
        scope[_CONTEXT] = context = self._open(scope, headers, known)
        exchange = HttpExchange(runtime, context, scope, receive, send, started, self._router)
        token = bind(context)
        try:
            if known or self._is_open or self._gate.lets_pass(scope["path"], scope["method"]):
                await self._inner(scope, exchange.receive, exchange.send, context)
                if not exchange.written:
                    await self._settle(scope, exchange, context)
            else:
                await send_refusal(scope, exchange.send, context, self._no_edge())
        except Exception as error:  # noqa: BLE001 - the outermost layer answers for everything inside it
            await self._failed(error, scope, exchange, context)
        except asyncio.CancelledError as error:
            if not _is_stray(error):
                exchange.finish(error)
                raise
            await self._failed(error, scope, exchange, context)
        except BaseException as error:
            exchange.finish(error)
            raise
        finally:
            runtime.in_flight -= 1
            if not exchange.written:
                exchange.finish()
            unbind(token)

    async def _not_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] in _NO_BROWSER:
            await self.app(scope, receive, send)
        else:
            # As the specification wants it of who does not know a protocol: nobody has judged what comes by this one.
            raise UnknownProtocolError(f"`dodai.asgi` does not know scopes of the type `{scope['type']}`")

    async def _settle(self, scope: Scope, exchange: HttpExchange, context: RequestContext) -> None:
        """After a return without a complete answer: what was held was meant, and no answer at all is a failure."""
        if exchange.holds:
            await exchange.release_held()
        if not exchange.answered and exchange.client_gone:
            exchange.finish()  # whoever would have read an answer has left, and the application gave up with them
            return
        if not exchange.answered:
            await self._failed(NoResponseError(), scope, exchange, context)

    async def _failed(
        self, error: BaseException, scope: Scope, exchange: HttpExchange, context: RequestContext
    ) -> None:
        """Answer 500, 503 or 504 if nothing has left yet; else make the server cut the connection.

        The exception ends here. Its message may carry what a user typed, and a server would print it; its type and
        frames are in the line.
        """
        if self._shows_errors and not isinstance(error, HandlerNotJudgedError):
            log_failure(error, context)
        if exchange.written:
            if not isinstance(error, HandlerNotJudgedError):  # that one's answer is what has left
                exchange.task_line(error)
            return
        if not exchange.answered:
            exchange.drop_held()
            with contextlib.suppress(OSError):  # a client that has left; the line says so
                await send_refusal(scope, exchange.send, context, refusal_for(error))
            exchange.finish(error)
            return
        exchange.finish(error)
        if not exchange.complete:
            raise StreamAbortedError(f"request {context.request_id} was cut after its response had begun") from None

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        headers = dict(scope["headers"])
        known = self._gate.is_known(scope, headers)
        context = self._open(scope, headers, known)
        conversation = WebSocketConversation(self.runtime, context, scope, receive, send, started, self._router)
        token = bind(context)
        try:
            if known or self._gate.lets_pass(scope["path"], "WEBSOCKET"):
                await self._inner(scope, conversation.receive, conversation.send, context)
            else:
                await deny_handshake(scope, conversation.send, context, self._no_edge())
        except Exception as error:  # noqa: BLE001 - as for HTTP: the exception ends here, its type is in the line
            with contextlib.suppress(OSError):
                if conversation.status == 0:
                    await deny_handshake(scope, conversation.send, context, refusal_for(error))
                elif not conversation.closed:
                    await conversation.send({"type": "websocket.close", "code": 1011})
            conversation.finish(error)
        except BaseException as error:
            conversation.finish(error)
            raise
        finally:
            conversation.finish()
            unbind(token)

    def _open(self, scope: Scope, headers: dict[bytes, bytes], known: bool) -> RequestContext:
        trusted = known and self._vouches
        if _OURS.isdisjoint(headers):
            context = self.runtime.fresh()
            context.trusted = trusted
        else:
            context = self._open_named(headers, trusted)
        if self._notes_clients:
            # Cloudflare adds to what a client says in x-forwarded-for, and says who asks in a header of its own.
            said_by = b"x-forwarded-for" if trusted else b"cf-connecting-ip" if known and self._notes_rays else b""
            forwarded = headers.get(said_by)
            address = forwarded if forwarded is not None else (scope.get("client") or _NOBODY)[0]
            network = self._networks.get(address)
            if network is None:
                network = self._network(address)
            if network:
                context.client_network = network
        if (
            (known or (self._notes_rays and self._is_open))
            and (ray := headers.get(b"cf-ray")) is not None
            and _RAY.match(ray)
        ):
            context.note("cfRay", ray.decode("ascii"))
        return context

    def _open_named(self, headers: dict[bytes, bytes], trusted: bool) -> RequestContext:
        """The context of a request that brings an id, a trace or a user."""
        get = headers.get
        return self.runtime.arrived(
            trusted=trusted,
            request_id=get(b"x-request-id"),
            user=get(_USER),
            proof=get(_PROOF),
            deadline=get(_DEADLINE),
            traceparent=get(b"traceparent"),
            tracestate=get(b"tracestate"),
            attempt=get(b"x-attempt"),
        )

    def _network(self, address: bytes | str) -> str:
        """The client's network, from what was forwarded or the server's peer; remembered, because addresses repeat."""
        if isinstance(address, bytes):
            network = network_of(address.split(b",", 1)[0].strip().decode("latin-1"))
        else:
            network = network_of(address)
        if len(self._networks) >= _REMEMBERED:
            self._networks.clear()
        if len(address) <= _LONGEST_REMEMBERED:
            self._networks[address] = network
        return network

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        spoken = False

        async def heard() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                heartbeat.stopping(self.runtime)
            return message

        async def watched(message: Message) -> None:
            nonlocal spoken
            spoken = True
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                self.runtime.flush()
            await send(message)

        try:
            await self.app(scope, heard, watched)
        except Exception:
            if spoken:
                raise
            # The application has no lifespan; ours still has to flush at its end.
            await send({"type": "lifespan.startup.complete"})
            while (await heard())["type"] != "lifespan.shutdown":
                pass
            await watched({"type": "lifespan.shutdown.complete"})


def _is_stray(error: BaseException) -> bool:
    """True for a `CancelledError` that somebody raised although nobody cancels the request.

    A library that lets its own cancellation out would otherwise leave the client without an answer.
    """
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and not task.cancelling()


def network_of(address: str) -> str:
    """`address` truncated to its /24 (IPv4) or /48 (IPv6) network; empty when it is neither."""
    parts = address.split(".")
    if len(parts) == 4 and all(part.isdigit() and len(part) <= 3 for part in parts):
        return f"{parts[0]}.{parts[1]}.{parts[2]}.0"
    if ":" not in address:
        return ""
    from ipaddress import IPv6Address, IPv6Network

    try:
        return str(IPv6Network((int(IPv6Address(address.split("%", 1)[0])), 48), strict=False).network_address)
    except ValueError:
        return ""
