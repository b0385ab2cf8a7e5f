"""One request as every layer of one process sees it: its ids, its user, what it cost, why it was refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any

REQUEST_ID_HEADER = "x-request-id"
DEADLINE_HEADER = "x-deadline-ms"
_VALID_ID = re.compile(rb"[A-Za-z0-9._:-]{8,64}\Z")
_MINTED_ID = re.compile(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}\Z")
_HEX_ID = re.compile(r"[0-9a-f]{32}\Z")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-|\Z)")
_DEADLINE = re.compile(rb"[0-9]{1,9}\Z")
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16
_CALLS_PER_SPAN = 0xFFFF
_VERSION = bytes(value & 0x0F | 0x70 for value in range(256))
_VARIANT = bytes(value & 0x3F | 0x80 for value in range(256))
"""The bits that RFC 9562 §4 fixes, over a random byte."""


class RequestContext:
    """What the outermost layer knows when it writes the line; inner layers add to it, nobody else writes.

    A plain class with defaults on the class: a request sets five of these attributes, and a dataclass `__init__` for
    thirty costs more than the rest of the layer. Times are milliseconds, `deadline` is on the monotonic clock.
    """

    request_id: str = ""
    client_request_id: str | None = None
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str | None = None
    trace_flags: str = "01"
    trace_state: str | None = None
    attempt: int = 1
    trusted: bool = False

    user_id: str | None = None
    user_claimed: str | None = None

    route: str | None = None
    client_network: str | None = None
    refusal: Any = None
    """The `core.refusal.Refusal` that an inner layer answered with."""

    db_count: int = 0
    db_ms: float = 0.0
    rpc_count: int = 0
    rpc_ms: float = 0.0
    http_count: int = 0
    http_ms: float = 0.0
    pool_wait_ms: float = 0.0
    totals: dict[str, list[float]] | None = None
    """For each dependency: calls, failed ones, milliseconds."""
    failed_dependency: str | None = None
    deadline: float | None = None

    error: str | None = None
    stack: str | None = None
    sub_lines: list[dict[str, Any]] | None = None
    sampled: bool = False
    calls: int = 0
    extra: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"RequestContext({self.request_id!r}, route={self.route!r}, user_id={self.user_id!r})"

    def next_span_id(self) -> str:
        """The span id of this request's next outgoing call: its own first 12 digits and the number of the call.

        A call gets a line of its own only when it is slow, failed or sampled. Because the id of the call names its
        caller, a trace still hangs the callee below the right request when that line was never written.
        """
        self.calls = self.calls % _CALLS_PER_SPAN + 1
        return f"{self.span_id[:12]}{self.calls:04x}"

    def count_call(self, dependency: str, milliseconds: float, *, failed: bool) -> None:
        """Add a finished call to the totals of its dependency."""
        if self.totals is None:
            self.totals = {}
        row = self.totals.get(dependency)
        if row is None:
            self.totals[dependency] = [1, failed, milliseconds]
        else:
            row[0] += 1
            row[1] += failed
            row[2] += milliseconds

    def add_sub_line(self, line: dict[str, Any], limit: int = 32) -> None:
        """Keep `line` (a slow, failed or sampled call) until the request's own line is written; at most `limit`."""
        if self.sub_lines is None:
            self.sub_lines = []
        if len(self.sub_lines) < limit:
            self.sub_lines.append(line)

    def note(self, name: str, value: Any) -> None:
        """Add one field of the line schema to this request's line, such as `csrf` or `closeCode`."""
        if self.extra is None:
            self.extra = {}
        self.extra[name] = value


_CURRENT: ContextVar[RequestContext | None] = ContextVar("dodai_request", default=None)


current: Callable[[], RequestContext | None] = _CURRENT.get
"""The context of the request being served here; None outside a request."""

bind: Callable[[RequestContext | None], Token[RequestContext | None]] = _CURRENT.set
"""Make a context the current one; give the returned token to `unbind`."""

unbind: Callable[[Token[RequestContext | None]], None] = _CURRENT.reset
"""Undo a `bind`."""


def format_request_id(now_ms: int, random_bits: int) -> str:
    """32 lower-case hex digits in UUIDv7 layout (RFC 9562 §5.7) from a time and 74 random bits.

    The time in front makes a request id findable by bisection in lines ordered by time.
    """
    return join_request_id(now_ms, random_bits, random_bits >> 12)


def join_request_id(now_ms: int, high: int, low: int) -> str:
    """The same from 12 and 62 random bits apart: arithmetic beyond 62 bits is slow, and this runs for every request."""
    return "%012x7%03x%016x" % (  # noqa: UP031 - a third faster than `format`
        now_ms & 0xFFFFFFFFFFFF,
        high & 0xFFF,
        low & 0x3FFFFFFFFFFFFFFF | 0x8000000000000000,
    )


def drawn_ids(random: bytes) -> list[tuple[str, str]]:
    """From every 16 random bytes, a span id and the 20 digits of a request id that stand behind its time.

    Cut in bulk, without a step for each: that costs five times as much. 74 bits of a request id stay random, as in
    `format_request_id`. Never a span id of zeros (W3C Trace Context §3.2.2.4).
    """
    count = len(random) // 16
    spans, tails = bytearray(8 * count), bytearray(10 * count)
    for at in range(6):
        spans[at::8] = random[at::16]
    for at in range(10):
        tails[at::10] = random[6 + at :: 16]
    tails[0::10] = tails[0::10].translate(_VERSION)
    tails[2::10] = tails[2::10].translate(_VARIANT)
    names = spans.hex(",", 8).split(",")
    drawn = list(zip(names, tails.hex(",", 10).split(","), strict=True))
    return drawn if _NO_SPAN not in names else [one for one in drawn if one[0] != _NO_SPAN]


def format_span_id(random_bits: int) -> str:
    """16 hex digits: 48 random bits, never all zero, and the number of the call (0 is the request itself)."""
    return "%012x0000" % ((random_bits & 0xFFFFFFFFFFFF) or 1)


def is_request_id(value: bytes) -> bool:
    """True for 8 to 64 bytes of `[A-Za-z0-9._:-]` and nothing after them, not even a newline or NEL."""
    return _VALID_ID.match(value) is not None


def is_minted(request_id: str) -> bool:
    """True when `request_id` has the layout of `format_request_id`, and so carries its time."""
    return _MINTED_ID.match(request_id) is not None


def is_trace_id(value: str) -> bool:
    """True for 32 lower-case hex digits that are not all zero (W3C Trace Context §3.2.2.3)."""
    return value != _NO_TRACE and _HEX_ID.match(value) is not None


def time_ms_of(request_id: str) -> int | None:
    """Milliseconds since the epoch at which a minted id was made; None for a foreign one. A hint: ids can be forged."""
    return int(request_id[:12], 16) if is_minted(request_id) else None


def parse_traceparent(value: bytes) -> tuple[str, str, str] | None:
    """(trace id, parent span id, flags) of a W3C `traceparent`; None when it is malformed or all zero.

    A version above 00 may carry more fields, which are ignored; ff is invalid (W3C Trace Context §3.2.2).
    """
    text = value.decode("latin-1")
    if _TRACEPARENT.match(text) is None or text.startswith("ff") or (len(text) != 55 and text.startswith("00")):
        return None
    trace, span = text[3:35], text[36:52]
    return None if trace == _NO_TRACE or span == _NO_SPAN else (trace, span, text[53:55])


def parse_deadline(value: bytes) -> float | None:
    """Seconds that an `x-deadline-ms` leaves: one to nine digits, milliseconds from when it was sent; None otherwise.

    A duration, as in gRPC's `grpc-timeout`: it needs no clock that two machines agree about.
    """
    return int(value) / 1000.0 if _DEADLINE.match(value) else None


def format_deadline(left_s: float) -> str:
    """An `x-deadline-ms`, never below zero."""
    return str(min(max(int(left_s * 1000.0), 0), 999_999_999))


def format_traceparent(trace_id: str, span_id: str, flags: str = "01") -> str:
    """A version 00 `traceparent`."""
    return f"00-{trace_id}-{span_id}-{flags}"


def csrf_alone(extra: dict[str, Any] | None) -> str | None:
    """The word of the CSRF decision where that is all that was noted, empty where nothing was; None for more."""
    if extra is None:
        return ""
    word = extra.get("csrf") if len(extra) == 1 else None
    return word if word.__class__ is str and word.isidentifier() and word.isascii() else None
