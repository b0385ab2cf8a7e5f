"""Lines as OTLP: a log record each, and a span for what has a duration. opentelemetry-proto 1.3, by field numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any

from dodai.core.line import FIELDS, REQUEST_TYPES
from dodai.providers.otlp.protobuf import data, double, fixed64, messages, number, text

Line = Mapping[str, Any]
FAILED = frozenset({"server_error", "timeout", "aborted"})
_RESOURCE = ("service", "version", "env", "instance")
_NAMES = {field.name: field.semconv or f"dodai.{field.name}" for field in FIELDS}
_RPC_STATUS = "rpc.response.status_code"
_ELSEWHERE = frozenset({"ts", "v", "traceId", "spanId", "parentSpanId", *_RESOURCE})
"""Fields that have a place of their own in a record, a span or a resource."""
_SERVER, _CLIENT, _INTERNAL = 2, 3, 1
_INFO, _ERROR = 9, 17
_STATUS_ERROR = 2
_NANO = 1_000_000_000


def logs(lines: Iterable[tuple[Line, bytes]]) -> bytes:
    """An `ExportLogsServiceRequest`; the body of a record is the line as it was written."""
    return _by_resource(lines, _record)


def spans(lines: Iterable[tuple[Line, bytes]]) -> bytes:
    """An `ExportTraceServiceRequest` of the lines that lasted and belong to a trace; empty without any."""
    timed = [(line, raw) for line, raw in lines if "latencyMs" in line and len(str(line.get("traceId", ""))) == 32]
    return _by_resource(timed, _span) if timed else b""


def _by_resource(lines: Iterable[tuple[Line, bytes]], encode: Callable[[Line, bytes], bytes]) -> bytes:
    """Request, resource and scope of logs and traces have the same numbers."""
    found: dict[tuple[str, ...], list[bytes]] = {}
    for line, raw in lines:
        found.setdefault(tuple(str(line.get(name, "")) for name in _RESOURCE), []).append(encode(line, raw))
    parts = []
    for values, records in found.items():
        named = zip(_RESOURCE, values, strict=True)
        resource = messages(1, (_attribute(_NAMES[name], value) for name, value in named if value))
        parts.append(data(1, resource) + data(2, data(1, text(1, "dodai")) + messages(2, records)))
    return messages(1, parts)


def _record(line: Line, raw: bytes) -> bytes:
    at_ns, failed = round(float(line["ts"]) * _NANO), line.get("outcome") in FAILED
    severity = number(2, _ERROR if failed else _INFO) + text(3, "ERROR" if failed else "INFO")
    body = data(5, data(1, raw))
    return fixed64(1, at_ns) + severity + body + messages(6, _attributes(line)) + _ids(line, 9, 10) + fixed64(11, at_ns)


def _span(line: Line, raw: bytes) -> bytes:
    end_ns, kind = round(float(line["ts"]) * _NANO), line["type"]
    start_ns = end_ns - round(float(line["latencyMs"]) * 1_000_000)
    span_id = _hex(line.get("spanId"), 8) or sha256(raw).digest()[:8]  # a call has no id of its own
    role = _SERVER if kind in REQUEST_TYPES else _INTERNAL if kind == "task" else _CLIENT
    parent = _hex(line.get("parentSpanId"), 8)
    status = data(15, text(2, str(line.get("error", ""))) + number(3, _STATUS_ERROR))
    return b"".join(
        (
            data(1, _hex(line["traceId"], 16)),
            data(2, span_id),
            data(4, parent) if parent else b"",
            text(5, _title(line)),
            number(6, role),
            fixed64(7, start_ns),
            fixed64(8, end_ns),
            messages(9, _attributes(line)),
            status if line.get("outcome") in FAILED else b"",
        )
    )


def _title(line: Line) -> str:
    if line["type"] == "http":
        return f"{line.get('method', '')} {line.get('route', '')}".strip()
    return str(line.get("rpc") or line.get("route") or line.get("name") or line.get("dependency") or line["type"])


def _ids(line: Line, trace: int, span: int) -> bytes:
    found = ((trace, _hex(line.get("traceId"), 16)), (span, _hex(line.get("spanId"), 8)))
    return b"".join(data(field, value) for field, value in found if value)


def _hex(value: object, size: int) -> bytes:
    """The bytes of an id; none where it is not one."""
    try:
        found = bytes.fromhex(str(value)) if value else b""
    except ValueError:
        return b""
    return found if len(found) == size else b""


def _attributes(line: Line) -> Iterable[bytes]:
    for name, value in line.items():
        if name in _ELSEWHERE:
            continue
        key = _NAMES.get(name, f"dodai.{name}")
        if name == "status" and str(line["type"]).startswith("rpc"):
            key = _RPC_STATUS
        yield _attribute(key, value)


def _attribute(key: str, value: object) -> bytes:
    if isinstance(value, bool):
        said = number(2, value) or b"\x10\x00"
    elif isinstance(value, int):
        said = number(3, value) or b"\x18\x00"
    elif isinstance(value, float):
        said = double(4, value)
    else:
        said = data(1, str(value).encode("utf-8", "replace"))
    return text(1, key) + data(2, said)
