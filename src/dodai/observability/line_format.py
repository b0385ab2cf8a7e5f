"""Lines as bytes: at most 4,096 of them, nothing personal, nothing that could be read as a second line."""

from __future__ import annotations

import math
import re
import traceback
from collections.abc import Iterable, Mapping
from hashlib import sha256
from types import TracebackType
from typing import Any

import orjson

from dodai.core.line import (
    FIELDS,
    LINE_TYPES,
    LINE_VERSION,
    MAX_LINE_BYTES,
    OUTCOMES,
    REQUEST_TYPES,
    Field,
    trace_parent_of,
)
from dodai.core.request import is_request_id

_STACK_FRAMES = 6
_STACK_CHARS = 1200
_DUMP = orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS
_FIELDS = {field.name: field for field in FIELDS}
_HEX = {"traceId": re.compile(r"[0-9a-f]{32}\Z"), "spanId": re.compile(r"[0-9a-f]{16}\Z")}
_HEX["parentSpanId"] = _HEX["spanId"]
_TRIMMED_FIRST = ("stack", "path", "clientRequestId", "reason", "origin", "route", "rpc", "name", "userClaimed")

_PROVING = (
    "tokens?|reset|reset-password|password|verify|verification|confirm|confirmation|activate|activation|invite|"
    "invitation|magic|magic-link|unsubscribe|secrets?|keys?|api-key|sessions?|otp"
)
_REDACTIONS = (
    # scheme://user:password@host and everything a DSN carries after it
    (re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]*", re.IGNORECASE), "[url]"),
    (re.compile(r"\b(bearer|basic|token)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), r"\1 [secret]"),
    (
        re.compile(
            r"\b((?:[a-z0-9]+[_-])*(?:password|passwd|pwd|secret|token|api[_-]?key|authorization|cookie|dsn|session))"
            r"(['\"]?\s*[=:]\s*)('[^']*'|\"[^\"]*\"|[^\s,;)}\]]+)",
            re.IGNORECASE,
        ),
        r"\1\2[secret]",
    ),
    (re.compile(r"[^\s@<>\"'(),:;=]+@[^\s@<>\"'(),:;=]+\.[^\s@<>\"'(),:;=]+"), "[email]"),
    # what stands behind such a name in a path is what somebody was sent to prove who they are
    (re.compile(rf"((?:/(?:{_PROVING}))+)/[^/\s]+", re.IGNORECASE), r"\1/[secret]"),
    (re.compile(r"\b[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\b"), "[token]"),
    (re.compile(r"\b[A-Za-z0-9+/_-]{32,}={0,2}"), "[token]"),
    (re.compile(r"\d[\d -]{6,}\d"), "[digits]"),
)


_UNSEEN = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")
"""DEL, the C1 controls (CSI and NEL among them) and the line and paragraph separators, as UTF-8."""


def _encoded(value: Any) -> bytes:
    """JSON of `value`, without any character that a terminal obeys or a log reader takes for the end of a line."""
    data = orjson.dumps(value, option=_DUMP)
    if data.isascii() and b"\x7f" not in data:
        return data
    return _UNSEEN.sub(lambda found: b"\\u%04x" % ord(found[0].decode()), data)


def dump(line: Mapping[str, Any]) -> bytes:
    """`line` as one line of JSON, at most 4,096 bytes with its newline.

    Control characters are escaped by JSON itself, so a value can never start a second line. An oversized line loses
    the tail of its stack first, then of its longest free text. Lone surrogates and values JSON does not know become
    escaped text: a line is never lost for what is in it.
    """
    try:
        data = _encoded(line)
    except TypeError:
        data = _encoded({key: _plain(value) for key, value in line.items()})
    return data if len(data) <= MAX_LINE_BYTES else _dump_trimmed(line)


def head_of(constant: Mapping[str, Any]) -> str:
    """What all lines that share `constant` say between their `ts` and their request id, which comes next.

    `constant` begins with `ts`. Text, because putting text together costs half of what formatting bytes does.
    """
    fixed = {key: _plain(value) for key, value in constant.items() if key != "ts"}
    return f',{_encoded(fixed)[1:-2].decode()},"requestId":"'


def dump_behind(head: str, fields: Mapping[str, Any]) -> bytes | None:
    """`head`, a line without its end, and `fields` as one line; None for a line that only `dump` can write."""
    try:
        data = b"%b,%b" % (head.encode(), _encoded(fields)[1:]) if fields else f"{head}}}\n".encode()
    except TypeError:
        return None
    return data if len(data) <= MAX_LINE_BYTES else None


def _dump_trimmed(line: Mapping[str, Any]) -> bytes:
    kept = {key: _plain(value) for key, value in line.items()}
    names = [*_TRIMMED_FIRST, *(key for key in kept if key not in _TRIMMED_FIRST)]
    for name in names:
        value = kept.get(name)
        if not isinstance(value, str) or len(value) <= 16:
            continue
        excess = len(_encoded(kept)) - MAX_LINE_BYTES
        if excess <= 0:
            break
        kept[name] = _trim(value, excess)
    data = _encoded(kept)
    if len(data) <= MAX_LINE_BYTES:
        return data
    first = {key: kept[key] for key in ("ts", "v", "type", "service", "requestId", "outcome") if key in kept}
    return _encoded(first)


def _trim(value: str, excess: int) -> str:
    """`value` without its tail, so that its JSON is at least `excess` bytes shorter, but for 16 characters."""
    size = len(_encoded(value))
    length = len(value)
    while length > 16 and size - len(_encoded(value[:length])) < excess + 3:
        length = max(16, length - max(1, (excess + 3) // 6))
    return value[:length] + "…"


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, bool | float | type(None)):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    return str(value).encode("utf-8", "backslashreplace").decode()


def redact(text: str) -> str:
    """`text` without URLs, credentials, e-mail addresses, token-like runs and long digit runs.

    A line holds only what the schema lists, and no message of any exception; this is for the one free text it carries,
    a path that no route matched.
    """
    text = text[:1000]
    for pattern, replacement in _REDACTIONS:
        text = pattern.sub(replacement, text)
    return text


def error_name(error: BaseException) -> str:
    """The type of `error` with its module, as `error.type` wants it; builtins without."""
    kind = type(error)
    return (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )


def stack_of(error: BaseException) -> str:
    """`HASH innermost frames | type`: file names without folders, no source text, no message, at most 1,200 chars.

    The hash covers types, files and functions but no line numbers, so that the same fault has one hash over releases.
    Messages are left out on purpose: that is where e-mail addresses and form text hide.
    """
    frames = _frames(error.__traceback__)
    chain = _causes(error)
    key = "|".join([*(f"{name}:{function}" for name, _, function in frames), *chain])
    shown = " < ".join(f"{name}:{number} {function}" for name, number, function in reversed(frames))
    return f"{sha256(key.encode('utf-8', 'replace')).hexdigest()[:8]} {shown} | {' < '.join(chain)}"[:_STACK_CHARS]


def _frames(trace: TracebackType | None) -> list[tuple[str, int, str]]:
    if trace is None:
        return []
    walked = [
        (frame.f_code.co_filename.replace("\\", "/").rsplit("/", 1)[-1], number, frame.f_code.co_name)
        for frame, number in traceback.walk_tb(trace)
    ]
    return walked[-_STACK_FRAMES:]


def _causes(error: BaseException) -> list[str]:
    names: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(names) < 4:
        names.append(error_name(seen))
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return names


def line_problems(line: Mapping[str, Any]) -> list[str]:
    """What is wrong with one line, judged as `spec/check_line.py` judges it; empty when it is sound."""
    problems = [] if next(iter(line), "") == "ts" else ["ts-first: the first key must be `ts`"]
    kind = line.get("type")
    if kind not in LINE_TYPES:
        return [*problems, f"type: `{kind}` is none of {', '.join(LINE_TYPES)}"]
    if line.get("v") != LINE_VERSION:
        problems.append(f"v: `{line.get('v')}`, expected {LINE_VERSION}")
    problems += [f"missing: `{f.name}`" for f in FIELDS if kind in f.required and line.get(f.name) in (None, "")]
    for name, value in line.items():
        field = _FIELDS.get(name)
        problem = f"unknown: `{name}` is not in the schema" if field is None else _value_problem(field, value)
        if problem:
            problems.append(problem)
    return problems


def traffic_problems(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is wrong between sound lines: duplicates, orphans, hops of one request that disagree about its user."""
    problems: list[str] = []
    by_request: dict[str, list[Mapping[str, Any]]] = {}
    seen: set[tuple[Any, Any]] = set()
    for line in lines:
        if line.get("type") in REQUEST_TYPES:
            by_request.setdefault(str(line.get("requestId")), []).append(line)
            key = (line.get("service"), line.get("spanId"))
            if line.get("spanId") and key in seen:
                problems.append(f"duplicate: `{line.get('requestId')}` twice in `{line.get('service')}`")
            seen.add(key)
    for request_id, hops in by_request.items():
        spans = {trace_parent_of(str(hop.get("spanId"))) for hop in hops}
        problems += [
            f"orphan: `{request_id}` in `{hop.get('service')}` was called by a hop that wrote no line"
            for hop in hops
            if hop.get("parentSpanId") and trace_parent_of(str(hop["parentSpanId"])) not in spans
        ]
        users = {hop["userId"] for hop in hops if hop.get("userId")}
        if len(users) > 1:
            problems.append(f"user: `{request_id}` has {len(users)} different users")
    return problems


def _value_problem(field: Field, value: Any) -> str:
    name = field.name
    if not _is_kind(value, field.kind):
        return f"kind: `{name}` is a {type(value).__name__}, expected {field.kind}"
    if not isinstance(value, str):
        return f"negative: `{name}` is {value}" if value < 0 else ""
    if len(value) > field.max_chars + 1:  # one more for the ellipsis of a trimmed value
        return f"too-long: `{name}` has {len(value)} characters, at most {field.max_chars}"
    if name in _HEX and not _HEX[name].match(value):
        return f"hex: `{name}` is `{value}`"
    if name in ("requestId", "clientRequestId") and not is_request_id(value.encode("utf-8", "replace")):
        return f"id: `{name}` is `{value}`"
    if name == "outcome" and value not in OUTCOMES:
        return f"outcome: `{value}` is none of {', '.join(OUTCOMES)}"
    return ""


def _is_kind(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return False
    if kind == "number":
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, {"string": str, "integer": int}.get(kind, int | str))
