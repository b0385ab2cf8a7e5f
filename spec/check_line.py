"""Checks lines against line schema v1: `python spec/check_line.py [--traffic] [--json] FILE…` (`-` is standard input).

Standard library only, needs nothing but `spec/line/schema.json` beside it, so a service in any language can be held to
the schema in its own CI. Exit code 0: every line is sound; 1: some are not; 2: usage.

`--traffic` also looks at the lines of all files together: every served request carries its ids, route or RPC, status
and latency; nothing is written twice; every hop hangs below another one or is the first of its request.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).resolve().parent / "line" / "schema.json"
SERVED = ("http", "ws", "rpc")
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{8,64}\Z")
HEX = {"traceId": re.compile(r"[0-9a-f]{32}\Z"), "spanId": re.compile(r"[0-9a-f]{16}\Z")}
HEX["parentSpanId"] = HEX["spanId"]


def check_line(raw: bytes, schema: Mapping[str, Any]) -> list[str]:
    """What is wrong with one line, without its newline; empty when it is sound. Each problem begins with one word."""
    if len(raw) + 1 > schema["maxBytes"]:
        return [f"too-long: {len(raw) + 1} bytes, at most {schema['maxBytes']}"]
    try:
        line = json.loads(raw, object_pairs_hook=_pairs, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return [f"not-json: {error}"]
    if not isinstance(line, dict):
        return ["not-an-object: a line is one JSON object"]
    problems = [] if next(iter(line), "") == "ts" else ["ts-first: the first key must be `ts`"]
    kind = line.get("type")
    if kind not in schema["types"]:
        return [*problems, f"type: `{kind}` is none of {', '.join(schema['types'])}"]
    if line.get("v") != schema["version"]:
        problems.append(f"v: `{line.get('v')}`, expected {schema['version']}")
    problems += [f"missing: `{name}`" for name, field in schema["fields"].items() if _lacks(line, name, field, kind)]
    for name, value in line.items():
        problems += _check_value(name, value, schema)
    return problems


def check_traffic(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is wrong between sound lines: duplicates, orphans, and hops that disagree about their user."""
    problems: list[str] = []
    by_request: dict[str, list[Mapping[str, Any]]] = {}
    seen: set[tuple[str, str]] = set()
    for line in lines:
        if line.get("type") not in SERVED:
            continue
        by_request.setdefault(str(line.get("requestId")), []).append(line)
        key = (str(line.get("service")), str(line.get("spanId")))
        if line.get("spanId") and key in seen:
            problems.append(f"duplicate: `{line.get('requestId')}` twice in `{line.get('service')}`")
        seen.add(key)
    for request_id, hops in by_request.items():
        problems += _check_hops(request_id, hops)
    return problems


def _check_hops(request_id: str, hops: list[Mapping[str, Any]]) -> list[str]:
    spans = {str(hop.get("spanId"))[:12] for hop in hops}
    problems = [
        f"orphan: `{request_id}` in `{hop.get('service')}` was called by a hop that wrote no line"
        for hop in hops
        if hop.get("parentSpanId") and str(hop["parentSpanId"])[:12] not in spans
    ]
    users = {hop["userId"] for hop in hops if hop.get("userId")}
    if len(users) > 1:
        problems.append(f"user: `{request_id}` has {len(users)} different users")
    return problems


def _lacks(line: Mapping[str, Any], name: str, field: Mapping[str, Any], kind: str) -> bool:
    return kind in field["requiredIn"] and line.get(name) in (None, "")


def _check_value(name: str, value: Any, schema: Mapping[str, Any]) -> list[str]:
    field = schema["fields"].get(name)
    if field is None:
        return [f"unknown: `{name}` is not in the schema"]
    if not _is_kind(value, field["type"]):
        return [f"kind: `{name}` is {json.dumps(value)[:40]}, expected {field['type']}"]
    if isinstance(value, str):
        return _check_text(name, value, field, schema)
    if value < 0:
        return [f"negative: `{name}` is {value}"]
    return []


def _check_text(name: str, value: str, field: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    if len(value) > field["maxChars"] + 1:  # one more for the ellipsis of a trimmed value
        return [f"too-long: `{name}` has {len(value)} characters, at most {field['maxChars']}"]
    if name in HEX and not HEX[name].match(value):
        return [f"hex: `{name}` is `{value}`"]
    if name in ("requestId", "clientRequestId") and not REQUEST_ID.match(value):
        return [f"id: `{name}` is `{value}`"]
    if name == "outcome" and value not in schema["outcomes"]:
        return [f"outcome: `{value}` is none of {', '.join(schema['outcomes'])}"]
    return []


def _is_kind(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return False
    if kind == "string":
        return isinstance(value, str)
    if kind == "integer":
        return isinstance(value, int)
    if kind == "number":
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, int | str)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _read(name: str) -> Iterator[bytes]:
    data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    yield from data.splitlines()


def main(words: list[str]) -> int:
    options = {word for word in words if word.startswith("--")}
    files = [word for word in words if not word.startswith("--")]
    if not files or options - {"--traffic", "--json"}:
        sys.stderr.write("usage: check_line.py [--traffic] [--json] FILE…\n")
        return 2
    schema = json.loads(SCHEMA.read_text("utf-8"))
    problems: list[str] = []
    sound: list[Mapping[str, Any]] = []
    total = 0
    for name in files:
        for number, raw in enumerate(_read(name), 1):
            total += 1
            found = check_line(raw, schema)
            problems += [f"{name}:{number}: {problem}" for problem in found]
            if not found:
                sound.append(json.loads(raw))
    if "--traffic" in options:
        problems += check_traffic(sound)
    if "--json" in options:
        sys.stdout.write(json.dumps({"lines": total, "sound": len(sound), "problems": problems}) + "\n")
    else:
        sys.stdout.writelines(f"{problem}\n" for problem in problems)
        sys.stdout.write(f"{total} lines, {len(sound)} sound, {len(problems)} problems\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
