"""An expression of Jinja2's syntax tree as a person wrote it, nearly."""

from __future__ import annotations

from typing import Any


def shown(node: Any, depth: int = 6) -> str:
    """The expression in one line; what has no short form is `…`."""
    kind = type(node).__name__
    if depth == 0:
        return "…"
    if kind == "Name":
        return str(node.name)
    if kind == "Const":
        return repr(node.value)
    if kind == "TemplateData":
        return repr(node.data)
    if kind == "Getattr":
        return f"{shown(node.node, depth - 1)}.{node.attr}"
    if kind == "Getitem":
        return f"{shown(node.node, depth - 1)}[{shown(node.arg, depth - 1)}]"
    if kind == "Filter" and node.node is not None:
        return f"{shown(node.node, depth - 1)}|{node.name}"
    if kind == "Concat":
        return " ~ ".join(shown(part, depth - 1) for part in node.nodes)
    if kind == "CondExpr":
        other = f" else {shown(node.expr2, depth - 1)}" if node.expr2 is not None else ""
        return f"{shown(node.expr1, depth - 1)} if {shown(node.test, depth - 1)}{other}"
    if kind == "Call":
        given = [shown(arg, depth - 1) for arg in node.args]
        given += [f"{pair.key}={shown(pair.value, depth - 1)}" for pair in node.kwargs]
        return f"{shown(node.node, depth - 1)}({', '.join(given)})"
    return "…"
