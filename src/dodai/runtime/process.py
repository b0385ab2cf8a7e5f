"""The one process-wide object: it mints ids, opens contexts, builds lines and writes them."""

from __future__ import annotations

import atexit
import hmac
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.line import LINE_TYPES, LINE_VERSION, MAX_LINE_BYTES, LineType, Outcome
from dodai.core.request import (
    RequestContext,
    csrf_alone,
    drawn_ids,
    is_request_id,
    is_trace_id,
    parse_deadline,
    parse_traceparent,
)
from dodai.observability.codes import RUNTIME_SETTINGS
from dodai.observability.line_format import dump, dump_behind, head_of
from dodai.runtime import heartbeat, identity
from dodai.runtime.config import RuntimeConfig
from dodai.runtime.limits import CircuitBreaker
from dodai.runtime.line_fields import SELDOM_TOLD, Shape, constant_of, describe
from dodai.runtime.line_output import LineOutput

if TYPE_CHECKING:
    from dodai.runtime.process_metrics import Metrics

_MAX_ATTEMPT = 99
_DRAWN = 256
_SHAPES = 4096
_HARDLY_TOLD = SELDOM_TOLD - {"extra"}


@dataclass(slots=True, weakref_slot=True)
class Runtime:
    """Shared by every façade of a process. All its methods are safe from any thread, and none of them blocks."""

    config: RuntimeConfig
    base: dict[str, Any] = field(init=False)
    output: LineOutput = field(init=False)
    proofs: identity.IdentityProofs = field(init=False, repr=False)
    guards: dict[str, CircuitBreaker] = field(init=False, default_factory=dict)
    migrated: weakref.WeakSet[Any] = field(init=False, default_factory=weakref.WeakSet)
    """Connections and pools whose database was seen to have every required migration."""
    pools: weakref.WeakKeyDictionary[Any, str] = field(init=False, default_factory=weakref.WeakKeyDictionary)
    """Connection pools that requests have asked, and the dependency that each is for."""
    in_flight: int = field(init=False, default=0)
    """HTTP requests and RPCs being served; what a heartbeat says is a reading, so that no lock guards it."""
    heartbeat: threading.Thread | None = field(init=False, default=None)
    beats: bool = field(init=False, default=False)
    metrics: Metrics | None = field(init=False, default=None)
    development_key: str = field(init=False, default="", repr=False)
    """The CSRF key ring that this process made for itself, where nothing says that it is deployed."""
    _random: random.Random = field(init=False)
    _drawn: list[tuple[str, str]] = field(init=False, default_factory=list)
    _templates: dict[str, dict[str, Any]] = field(init=False, default_factory=dict)
    _heads: dict[Shape, str] = field(init=False, default_factory=dict)
    _sample: int = field(init=False, default=0)

    _current: ClassVar[Runtime | None] = None

    def __post_init__(self) -> None:
        if self.config.policy.user_id == "hmac" and not self.config.identity_keys:
            raise DodaiError(
                RUNTIME_SETTINGS,
                '`[observability] user_id = "hmac"` needs keys and `DODAI_IDENTITY_KEYS` is not set',
                "set `DODAI_IDENTITY_KEYS` for this service",
                exit_code=2,
            )
        self._fresh()
        alive = weakref.ref(self)
        atexit.register(_call_if_alive, alive, Runtime.flush)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=lambda: _call_if_alive(alive, Runtime._forked))

    @classmethod
    def current(cls) -> Runtime:
        """The runtime of this process, made from its environment when first asked for."""
        if cls._current is None:
            cls._current = cls(RuntimeConfig.from_environment())
        return cls._current

    @classmethod
    def of(cls, config: RuntimeConfig | None) -> Runtime:
        """A runtime for `config`, which becomes the current one if there is none; the current one for None."""
        if config is None:
            return cls.current()
        runtime = cls(config)
        if cls._current is None:
            cls._current = runtime
        return runtime

    def beat(self) -> None:
        """Begin the heartbeat of this process with its first request."""
        self.beats = True
        self.heartbeat = heartbeat.start(self)

    # -- ids and contexts

    def new_request_id(self) -> str:
        return self.fresh().request_id

    def open(
        self,
        *,
        trusted: bool,
        request_id: bytes | None = None,
        traceparent: bytes | None = None,
        tracestate: bytes | None = None,
        attempt: bytes | None = None,
    ) -> RequestContext:
        """The context of a request that arrived with these headers; they count only when `trusted`.

        An untrusted client's well-formed id is kept as `client_request_id`, everything else of it is ignored.
        """
        given = request_id.decode("ascii") if request_id is not None and is_request_id(request_id) else None
        if not trusted:
            context = self.fresh()
            if given is not None:
                context.client_request_id = given
            return context
        parent = parse_traceparent(traceparent) if traceparent is not None else None
        context = self.fresh(given, parent[0] if parent is not None else None)
        context.trusted = True
        if parent is not None:
            _, context.parent_span_id, context.trace_flags = parent
            if tracestate is not None:
                context.trace_state = tracestate[:512].decode("ascii", "ignore")
        if attempt is not None and len(attempt) <= 2 and attempt.isdigit():
            context.attempt = max(1, min(int(attempt), _MAX_ATTEMPT))
        return context

    def arrived(
        self,
        *,
        trusted: bool = False,
        request_id: bytes | None = None,
        user: bytes | None = None,
        proof: bytes | None = None,
        deadline: bytes | None = None,
        traceparent: bytes | None = None,
        tracestate: bytes | None = None,
        attempt: bytes | None = None,
    ) -> RequestContext:
        """The context of a request with these headers, believed when `trusted` (by the edge) or proved.

        The user and the deadline count only with a proof, made by a tier of ours: an edge passes on what it is sent.
        """
        name = identity.decode_user(user.decode("latin-1")) if user is not None else ""
        proved = proof is not None and self.proved(proof.decode("latin-1"), request_id, name)
        context = self.open(
            trusted=trusted or proved,
            request_id=request_id,
            traceparent=traceparent,
            tracestate=tracestate,
            attempt=attempt,
        )
        if name and proved:
            context.user_id = name
        elif name:
            context.user_claimed = name
        if proved and deadline is not None and (left_s := parse_deadline(deadline)) is not None:
            context.deadline = time.monotonic() + left_s
        return context

    def fresh(self, request_id: str | None = None, trace_id: str | None = None) -> RequestContext:
        """The context of a request with these ids; a missing one is minted, and so is its span."""
        context = RequestContext()
        try:
            context.span_id, random = self._drawn.pop()
        except IndexError:
            context.span_id, random = self._draw()
        if request_id is None:
            context.request_id = minted = f"{time.time_ns() // 1_000_000:012x}{random}"
            context.trace_id = trace_id or minted
        else:
            context.request_id = request_id
            if trace_id is None:
                trace_id = request_id if is_trace_id(request_id) else f"{time.time_ns() // 1_000_000:012x}{random}"
            context.trace_id = trace_id
        if self._sample and int(context.trace_id[-4:], 16) < self._sample:
            context.sampled = True  # from the id, so that every tier keeps the calls of the same requests
        return context

    def _draw(self) -> tuple[str, str]:
        """One draw, after the next few hundred were made; any number of threads may be here at once."""
        drawn = drawn_ids(os.urandom(_DRAWN * 16))
        one = drawn.pop()
        self._drawn += drawn
        return one

    # -- who is calling

    def identity_headers(self, context: RequestContext, audience: str) -> tuple[tuple[str, str], ...]:
        """`x-user-id` and its proof for a call to `audience`, as header or metadata pairs; empty without keys."""
        return self.proofs.headers(audience, context.user_id or "", time.time())

    def proved(self, proof: str | None, request_id: bytes | None, user: str) -> bool:
        """True when a tier with our keys vouches for this user, and so for the id, towards this service."""
        if not proof or request_id is None or not self.config.identity_keys or not is_request_id(request_id):
            return False
        return self.proofs.hold(
            proof,
            audience=self.config.service,
            request_id=request_id.decode("ascii"),
            user_id=user,
            now_s=time.time(),
        )

    def guard(self, dependency: str) -> CircuitBreaker:
        """The limits of `[dependency.NAME]`, one object for the whole process."""
        known = self.guards.get(dependency)
        if known is not None:
            return known
        made = CircuitBreaker.of(dependency, self.config.dependency(dependency))
        made.changed = lambda name, which: self.event(name, dependency=which)
        return self.guards.setdefault(dependency, made)

    # -- lines

    def line(
        self, context: RequestContext, kind: LineType, *, status: int | str, outcome: Outcome, latency_s: float
    ) -> dict[str, Any]:
        """A line of the served request with everything the context knows; the caller adds method, route or rpc."""
        line = self._templates[kind].copy()
        line["ts"] = time.time()
        line["requestId"] = context.request_id
        line["traceId"] = context.trace_id
        line["spanId"] = context.span_id
        line["status"] = status
        line["outcome"] = outcome
        line["latencyMs"] = round(latency_s * 1000.0, 3)
        describe(line, context, self.shown_user)
        return line

    def write_served(
        self,
        context: RequestContext,
        shape: Shape,
        latency_s: float,
        fields: dict[str, Any] | None = None,
        bytes_out: int | None = None,
    ) -> None:
        """Write the line of a served request, and before it the lines of its slow, failed or sampled calls.

        `fields` are what only this request has; what the context knows is added. The same line as `line` builds, in
        less time: what one `shape` shares is formatted once, and the rest are numbers and ASCII that need no escaping.
        """
        now = str(time.time_ns())
        head = self._heads.get(shape) or self._head(shape)
        ids = f'{context.request_id}","traceId":"{context.trace_id}","spanId":"{context.span_id}"'
        text = f'{{"ts":{now[:-9]}.{now[-9:-3]}{head}{ids},"latencyMs":{latency_s * 1000.0:.3f}'
        if bytes_out is not None:
            text = f'{text},"bytesOut":{bytes_out}'
        csrf = csrf_alone(context.extra) if context.extra is not None else ""
        data = b""
        if not fields and csrf is not None and self.metrics is None and _HARDLY_TOLD.isdisjoint(context.__dict__):
            # All that most lines say besides.
            network, parent, given = context.client_network, context.parent_span_id, context.client_request_id
            client = f',"clientNetwork":"{network}"' if network is not None else ""
            client += f',"clientRequestId":"{given}"' if given is not None else ""
            caller = f',"parentSpanId":"{parent}"' if parent is not None else ""
            judged = f',"csrf":"{csrf}"' if csrf else ""
            data = f"{text}{client}{caller}{judged}}}\n".encode()
        if not data or len(data) > MAX_LINE_BYTES:
            data = self._told(text, context, shape, latency_s, bytes_out, fields or {})
        output = self.output
        alone = output.alone
        if alone is None:
            output.put(data)
            return
        written = alone.write(data)
        if alone.dropped != output.reported:
            output.report(written=written)

    def _told(
        self,
        text: str,
        context: RequestContext,
        shape: Shape,
        took_s: float,
        size: int | None,
        fields: dict[str, Any],
    ) -> bytes:
        """The line that begins with `text` and says more of its request than most."""
        kind, outcome, status, place, method = shape
        if context.sub_lines:
            self._write_sub_lines(context)
        describe(fields, context, self.shown_user)
        if self.metrics is not None:
            self.metrics.count(kind, outcome, place, method, took_s, fields)
        if (data := dump_behind(text, fields)) is not None:
            return data
        line = self.line(context, kind, status=status, outcome=outcome, latency_s=took_s)
        return dump(line | constant_of(shape) | ({} if size is None else {"bytesOut": size}) | fields)

    def _head(self, shape: Shape) -> str:
        if len(self._heads) >= _SHAPES:  # routes, RPCs and statuses are few; whatever makes them many must not grow us
            self._heads.clear()
        head = self._heads[shape] = head_of(self._templates[shape[0]] | constant_of(shape))
        return head

    def write_request(self, line: dict[str, Any], context: RequestContext) -> None:
        """Write the line of a request, and before it the lines of its slow, failed or sampled calls."""
        if self.metrics is not None:
            self.metrics.count_line(line)
        self._write_sub_lines(context)
        self.write(line)

    def _write_sub_lines(self, context: RequestContext) -> None:
        for sub_line in context.sub_lines or ():
            self.write(self.sub_line(context, sub_line))
        context.sub_lines = None

    def sub_line(self, context: RequestContext, fields: Mapping[str, Any]) -> dict[str, Any]:
        """`fields` as a line of its own below `context`; `ts` and `type` are the first keys of every line."""
        own = self._templates[fields["type"]].copy()
        own |= {"requestId": context.request_id, "traceId": context.trace_id, "parentSpanId": context.span_id}
        return own | dict(fields)

    def event(self, name: str, **fields: Any) -> None:
        """Write a line about the process rather than a request."""
        self.write({**self._templates["event"], "ts": time.time(), "name": name, **fields})

    @staticmethod
    def now() -> float:
        """Seconds since the epoch, for `ts`; durations come from the monotonic clock."""
        return time.time()

    def write(self, line: Mapping[str, Any]) -> None:
        """Write one line; never raises and never blocks. What could not be written is counted and reported."""
        self.output.put(dump(line))

    @property
    def dropped(self) -> int:
        """Lines lost since the process started, to a full disk or a blocked standard output."""
        return self.output.dropped

    def shown_user(self, user_id: str) -> str:
        """The user as lines show it: raw, or an HMAC under the oldest identity key (16 hex digits)."""
        if self.config.policy.user_id == "raw":
            return user_id
        return hmac.digest(
            self.config.identity_keys.oldest, b"line user " + user_id.encode("utf-8", "replace"), sha256
        ).hex()[:16]

    def flush(self) -> None:
        """Close the segment under its final name and give standard output half a second."""
        self.output.flush()

    def _lost(self, count: int) -> bytes:
        return dump({**self._templates["event"], "ts": time.time(), "name": "lines_dropped", "count": count})

    def _fresh(self) -> None:
        """What belongs to one process: the instance name, randomness, the open segment, the thread."""
        config, policy = self.config, self.config.policy
        self._random = random.Random(os.urandom(32))  # noqa: S311 - for sampling and names
        self.in_flight, self.heartbeat, self.beats = 0, None, False  # a child has none of its parent's threads
        self.proofs = identity.IdentityProofs(config.identity_keys)
        self._drawn = []  # a child that drew from its parent's would write its parent's ids
        self._sample = round(policy.sample * 65536)
        instance = config.instance or f"{os.getpid()}.{self._random.getrandbits(24):06x}"
        self.base = {"service": config.service, "instance": instance}
        self.base |= {name: value for name, value in (("version", config.release), ("env", config.env)) if value}
        # `ts` is the first key of every line; its value is written over in each copy
        self._templates = {kind: {"ts": 0.0, "v": LINE_VERSION, "type": kind, **self.base} for kind in LINE_TYPES}
        self._heads = {}
        self.output = LineOutput(config, instance, self._lost)
        self.metrics = _metrics(config, self.event) if policy.metrics else None

    def _forked(self) -> None:
        if self.metrics is not None:
            self.metrics.forget()
        if self.output.segment:
            self.output.segment.close()  # the descriptor carries the parent's lock
        self._fresh()


def _metrics(config: RuntimeConfig, event: Callable[..., None]) -> Metrics:
    from dodai.runtime.process_metrics import Metrics  # a server, which nobody needs who is not scraped

    return Metrics(config, event)


def _call_if_alive(alive: weakref.ref[Runtime], action: Callable[[Runtime], None]) -> None:
    runtime = alive()
    if runtime is not None:
        action(runtime)
