"""A trace as people read it at 3 a.m.: one row for each hop, then what failed and what to look at."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from dodai.observability.trace.tree import Node, Tree

_COLOURS = {"ok": 32, "client_error": 33, "client_gone": 33}
_WIDTH = 48
_NAMES = {"sql": "SQL", "rpc": "RPC", "http": "HTTP"}


def render(
    request_id: str, tree: Tree, torn: int, *, colour: bool, unread: Sequence[str] = (), ascii_only: bool = False
) -> str:
    """The tree as text, without a final newline; nothing in it can move a cursor or start a line of its own."""
    first = min((node.start_s for node in tree.nodes), default=0.0)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(first)) + f".{int(first % 1 * 1000):03d}Z"
    rows = [f"request {_clean(request_id)}  {stamp}"]
    branches = ("|- ", "`- ", "|  ", "   ") if ascii_only else ("├─ ", "└─ ", "│  ", "   ")
    for root in tree.roots:
        _rows(root, "", "", rows, colour=colour, branches=branches)
    rows += _verdict(tree)
    if torn:
        rows.append(
            f"{torn} line{'s' if torn > 1 else ''} with this id could not be read (torn by a crash, or no JSON)"
        )
    if unread:
        rows.append(_clean(f"not read, because compressed: {', '.join(unread[:3])}"))
        rows[-1] += f" and {len(unread) - 3} more" * (len(unread) > 3)
    text = "\n".join(rows)
    return text.replace("×", "x").replace("→", "->").replace("·", "|") if ascii_only else text


def _rows(
    node: Node, lead: str, below: str, rows: list[str], *, colour: bool, branches: tuple[str, str, str, str]
) -> None:
    tee, corner, bar, blank = branches
    line = node.line
    name = (
        _clean(f"{node.service}  {node.what}") if node.kind not in ("sql", "rpc_client", "http_client") else _call(node)
    )
    outcome = str(line.get("outcome", ""))
    head = f"{lead}{name}".ljust(_WIDTH)
    status = _clean(f"{line.get('status', '')} {outcome}".strip())
    rows.append(f"{head}  {_paint(status, outcome, colour=colour)}  {_ms(line.get('latencyMs'))}{_notes(node)}")
    details = [
        f"{_NAMES[kind]} {count} × {spent / count:.1f} ms" if count > 1 else f"{_NAMES[kind]} {spent:.1f} ms"
        for kind, count, spent in node.totals
        if count
    ]
    if node.silent:
        details.append(f"{node.silent} RPC{'s' if node.silent > 1 else ''} without a line")
    if line.get("stack"):
        details.append(_clean(str(line["stack"])))
    last = len(details) + len(node.children) - 1
    for index, detail in enumerate(details):
        rows.append(f"{below}{corner if index == last else tee}{detail}")
    for index, child in enumerate(node.children, len(details)):
        at_end = index == last
        _rows(
            child,
            below + (corner if at_end else tee),
            below + (blank if at_end else bar),
            rows,
            colour=colour,
            branches=branches,
        )


def _call(node: Node) -> str:
    return _clean(f"→ {node.line.get('dependency', '?')}  {node.what}")


def _notes(node: Node) -> str:
    line = node.line
    notes: list[str] = []
    if line.get("userId"):
        notes.append(f"user {line['userId']}")
    elif line.get("userClaimed"):
        notes.append(f"user {line['userClaimed']} (claimed)")
    if line.get("version"):
        notes.append(f"release {line['version']}")
    notes += [str(line[name]) for name in ("code", "reason", "error") if line.get(name)]
    notes += [f"{name} {line[name]}" for name in ("csrf", "cfRay") if line.get(name)]
    if line.get("attempt"):
        notes.append(f"attempt {line['attempt']}")
    if line.get("clientRequestId"):
        notes.append(f"client's id {line['clientRequestId']}")
    if node.skew_s:
        notes.append(f"clock {node.skew_s:+.3f} s")
    if node.orphan:
        notes.append("caller's line missing")
    return "  " + " · ".join(_clean(note) for note in notes) if notes else ""


def _verdict(tree: Tree) -> list[str]:
    failure, refusal = tree.failure, tree.refusal
    rows: list[str] = []
    if failure is not None:
        said = " ".join(str(failure[name]) for name in ("status", "outcome", "error") if failure[name])
        seen = f", seen by {failure['seenBy']}" if failure["seenBy"] != failure["tier"] else ""
        rows.append(_clean(f"failed: {failure['tier']}{seen}: {said}"))
    elif refusal is not None:
        from dodai.core import proposal

        rows.append(_clean(f"refused: {refusal['service']}: {refusal['code']} {refusal['reason'] or ''}".rstrip()))
        rows.append(f"  {proposal.EXPLAIN(code=_clean(str(refusal['code'])))}")
    return rows


def _ms(value: Any) -> str:
    return f"{value:.1f} ms" if isinstance(value, int | float) else "-"


def _paint(text: str, outcome: str, *, colour: bool) -> str:
    return f"\x1b[{_COLOURS.get(outcome, 31)}m{text}\x1b[0m" if colour and text else text


def _clean(text: str) -> str:
    """`text` without control characters: lines may come from anybody's service."""
    return "".join(char if char.isprintable() else "?" for char in text)
