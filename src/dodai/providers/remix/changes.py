"""Calls that look like they change state: by the name of the method, or by the SQL that they carry."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tree_sitter import Node

from dodai.providers.remix.program import enclosing_function
from dodai.providers.remix.syntax import arguments, bare, literal, names_of, text, walk

_CHANGES = re.compile(
    r"^\$?(?:create|update|upsert|delete|remove|insert|save|put|patch|destroy|clear|set|add|send|publish|write|execute"
    r"|exec|run|mutate|commit|increment|decrement|archive|restore|revoke|grant|transfer|charge|pay|enqueue|invite"
    r"|transaction|del|drop|truncate|unlink|rm|rmdir|mkdir|rename|append)(?![a-z])"
)
_HARMLESS_OWNERS = re.compile(
    r"(?:headers|url|params|searchParams|cookies?|session|formData|form|map|console|log(?:ger)?)$", re.IGNORECASE
)
_SQL = re.compile(
    r"[`\"']\s*(?:insert\s+into|update\s+\S+\s+set|delete\s+from|merge\s+into|truncate|drop|alter)\s", re.IGNORECASE
)
_RPC = re.compile(r"(?:[\w.]+/)?[A-Z][a-z]+(?:[A-Z][a-z0-9]*)+")
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def changes(node: Node) -> Iterator[Node]:
    """Calls below `node` that look like they change state, functions inside left aside."""
    for call in walk(node, lambda one: one.type == "call_expression", into_functions=False):
        called = bare(call.child_by_field_name("function"))
        if called is None:
            continue
        if called.type == "identifier" and text(called) == "fetch":
            if _method_of(call).upper() in _UNSAFE:
                yield call
            continue
        name, owner = _named(called)
        told = text(call.child_by_field_name("arguments"))
        by_name = _CHANGES.match(name) and (owner is None or not _HARMLESS_OWNERS.search(text(owner)))
        if _SQL.search(told) or _names_a_change(call) or by_name:
            yield call


def _names_a_change(call: Node) -> bool:
    """Whether the call hands on the name of a method that changes something: `ask("ClearHistory", {})`."""
    first = next(iter(arguments(call)), None)
    named = literal(first) if first is not None else None
    return bool(named and _RPC.fullmatch(named) and _CHANGES.match(named[0].lower() + named[1:]))


def handed_on(function: Node, statement: Node) -> Iterator[Node]:
    """Calls in `statement` of what a function around `function` was given: the action that a wrapper wraps."""
    given: set[str] = set()
    around = enclosing_function(function.parent)
    while around is not None:
        given.update(names_of(around.child_by_field_name("parameters") or around.child_by_field_name("parameter")))
        around = enclosing_function(around.parent)
    for call in walk(statement, lambda one: one.type == "call_expression", into_functions=False):
        if text(call.child_by_field_name("function")) in given:
            yield call


def _named(called: Node) -> tuple[str, Node | None]:
    """(name of the method or function, what it is a method of)."""
    if called.type == "member_expression":
        return text(called.child_by_field_name("property")), called.child_by_field_name("object")
    if called.type == "subscript_expression":
        return literal(called.child_by_field_name("index")) or "", called.child_by_field_name("object")
    return text(called), None


def _method_of(call: Node) -> str:
    for argument in arguments(call)[1:]:
        for pair in walk(argument, lambda one: one.type == "pair", into_functions=False):
            if text(pair.child_by_field_name("key")).strip("'\"") == "method":
                return literal(pair.child_by_field_name("value")) or ""
    return ""
