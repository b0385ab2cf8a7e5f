"""The lines of one request as a tree: who called whom, where it failed, whose clock is off."""

from __future__ import annotations

from typing import Any

from dodai.observability.trace.find import Line, unanswered

FAILED_OUTCOMES = ("server_error", "timeout", "aborted")
_SERVED = ("http", "ws", "rpc")
_SKEW_S = 0.005
_TOTALS = (("sql", "dbCount", "dbMs"), ("rpc", "rpcCount", "rpcMs"), ("http", "httpCount", "httpMs"))


class Node:
    """One hop or call. `skew_s` is how far its clock seems to be ahead of its caller's, 0 when it fits."""

    __slots__ = ("children", "line", "orphan", "parent", "silent", "skew_s")

    def __init__(self, line: Line) -> None:
        self.line = line
        self.children: list[Node] = []
        self.parent: Node | None = None
        self.orphan = False
        self.silent = 0
        """RPCs it made of which no line was found."""
        self.skew_s = 0.0

    @property
    def service(self) -> str:
        return str(self.line.get("service", "?"))

    @property
    def kind(self) -> str:
        return str(self.line.get("type", "?"))

    @property
    def latency_s(self) -> float:
        return _number(self.line.get("latencyMs")) / 1000.0

    @property
    def end_s(self) -> float:
        return _number(self.line.get("ts"))

    @property
    def start_s(self) -> float:
        """When it began; lines are stamped when they end."""
        return self.end_s - self.latency_s

    @property
    def failed(self) -> bool:
        return self.line.get("outcome") in FAILED_OUTCOMES

    @property
    def what(self) -> str:
        """What was asked: method and route, RPC, or SQL verb."""
        line = self.line
        if self.kind in ("rpc", "rpc_client"):
            return str(line.get("rpc", "?"))
        if self.kind == "sql":
            return str(line.get("operation", "SQL"))
        if self.kind in ("task", "event"):
            return str(line.get("name", "?"))
        route = line.get("route") or ""
        path = f" {line['path']}" if line.get("path") and route == "<unmatched>" else ""
        return f"{line.get('method', 'WS' if self.kind == 'ws' else '')} {route}{path}".strip()

    @property
    def totals(self) -> list[tuple[str, int, float]]:
        """(kind, count, milliseconds) of the calls it made."""
        return [
            (name, int(_number(self.line[count])), _number(self.line.get(spent)))
            for name, count, spent in _TOTALS
            if self.line.get(count)
        ]


class Tree:
    """`roots` are the hops nobody in these lines called: one, or one for each attempt of a client."""

    __slots__ = ("nodes", "roots")

    def __init__(self, lines: list[Line]) -> None:
        self.nodes = [Node(line) for line in lines if line.get("type") != "event"]
        by_span = {str(node.line["spanId"]): node for node in self.nodes if node.line.get("spanId")}
        silent = unanswered(lines)
        for node in self.nodes:
            _hang(node, by_span)
            node.silent = silent.get(str(node.line.get("spanId")), 0) if node.kind in _SERVED else 0
        self.roots = [node for node in self.nodes if node.parent is None]
        for node in self.nodes:
            node.children.sort(key=lambda child: child.start_s - child.skew_s)
        if len(self.roots) > 1:
            for node in self.roots:
                node.orphan = bool(node.line.get("parentSpanId")) or node.kind not in _SERVED

    @property
    def failure(self) -> dict[str, Any] | None:
        """The tier that failed and who saw it, deepest first; None when none did.

        A hop that names a failed dependency blames it, unless that dependency's own line tells more.
        """
        served = [node for node in self.nodes if node.kind in _SERVED and (node.failed or node.line.get("dependency"))]
        failed = [node for node in served if node.failed] or served
        if not failed:
            return None
        deepest = max(failed, key=_depth)
        dependency = deepest.line.get("dependency")
        call = _failed_call(deepest, dependency)
        said = (call or deepest).line
        return {
            "tier": dependency or deepest.service,
            "seenBy": deepest.service,
            "outcome": said.get("outcome"),
            "status": said.get("status"),
            "error": said.get("error") or deepest.line.get("error"),
        }

    @property
    def refusal(self) -> dict[str, Any] | None:
        """The refusal of dodai, if one answered: code, reason and the service that refused."""
        refused = [node for node in self.nodes if node.line.get("code") and not node.failed]
        if not refused:
            return None
        node = max(refused, key=_depth)
        return {"service": node.service, "code": node.line["code"], "reason": node.line.get("reason")}

    def as_json(self) -> list[dict[str, Any]]:
        start_s = min((node.start_s for node in self.roots), default=0.0)
        return [_as_json(node, start_s) for node in self.roots]


def _hang(node: Node, by_span: dict[str, Node]) -> None:
    """Find the caller of `node`: the span it names, or the request whose call that span was (its first 12 digits)."""
    named = node.line.get("parentSpanId")
    if not isinstance(named, str):
        return
    parent = by_span.get(named) or by_span.get(named[:12] + "0000")
    if parent is None or parent is node or _is_below(parent, node):
        return
    node.parent = parent
    parent.children.append(node)
    node.skew_s = _skew(node, parent)


def _is_below(node: Node, above: Node) -> bool:
    current: Node | None = node
    while current is not None:
        if current is above:
            return True
        current = current.parent
    return False


def _skew(node: Node, parent: Node) -> float:
    """How far the clock of `node` must be ahead, if it cannot have run inside its caller as stamped."""
    if node.service == parent.service or not node.end_s or not parent.end_s:
        return 0.0
    early, late = parent.start_s - node.start_s, node.end_s - parent.end_s
    if early <= _SKEW_S and late <= _SKEW_S:
        return 0.0
    middle = (node.start_s + node.end_s) / 2 - (parent.start_s + parent.end_s) / 2
    return round(middle, 3)


def _depth(node: Node) -> int:
    depth = 0
    current = node.parent
    while current is not None:
        depth, current = depth + 1, current.parent
    return depth


def _failed_call(node: Node, dependency: Any) -> Node | None:
    calls = [child for child in node.children if child.kind not in _SERVED and child.failed]
    return next((call for call in calls if call.line.get("dependency") == dependency), None)


def _as_json(node: Node, start_s: float) -> dict[str, Any]:
    line = node.line
    kept = ("instance", "version", "status", "outcome", "latencyMs", "userId", "dependency", "code", "reason", "error")
    body: dict[str, Any] = {"service": node.service, "type": node.kind, "what": node.what}
    body |= {name: line[name] for name in kept if name in line}
    body["startMs"] = round((node.start_s - node.skew_s - start_s) * 1000.0, 3)
    if node.skew_s:
        body["clockSkewMs"] = round(node.skew_s * 1000.0, 1)
    if node.orphan:
        body["orphan"] = True
    if node.silent:
        body["rpcsWithoutLine"] = node.silent
    if node.totals:
        body["totals"] = [{"type": name, "count": count, "ms": spent} for name, count, spent in node.totals]
    body["children"] = [_as_json(child, start_s) for child in node.children]
    return body


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
