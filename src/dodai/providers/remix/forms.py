"""Forms, fetchers and fetch calls in TSX: does each that changes state carry the field or the header?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tree_sitter import Node

from dodai.csrf.form_verdict import FormRow
from dodai.csrf.policy import CsrfPolicy
from dodai.providers.remix.program import Program, Value
from dodai.providers.remix.syntax import FUNCTIONS, ScriptModule, arguments, bare, line, literal, text, walk

_FORM = re.compile(r"^(?:form|Form|RemixForm|[A-Za-z_$][\w$]*\.Form)$")
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_ELEMENTS = ("jsx_opening_element", "jsx_self_closing_element")
_DEPTH = 4


def scan_forms(program: Program, module: ScriptModule, policy: CsrfPolicy, shown: str) -> Iterator[FormRow]:
    """The rows of one module; `shown` is its path for people."""
    for node in walk(module.root, lambda one: one.type in (*_ELEMENTS, "call_expression")):
        row = (
            _call(node, policy, shown)
            if node.type == "call_expression"
            else _form(program, module, node, policy, shown)
        )
        if row is not None:
            yield row


def _form(program: Program, module: ScriptModule, node: Node, policy: CsrfPolicy, shown: str) -> FormRow | None:
    name = text(node.child_by_field_name("name"))
    if not _FORM.match(name):
        return None
    attributes = dict(_attributes(node))
    spread = any(child.type == "jsx_expression" for child in node.named_children)
    method, action = attributes.get("method"), _shown_value(attributes.get("action"))
    quote = " ".join(text(node).split())[:120]

    def row(method: str, verdict: object, evidence: str) -> FormRow:
        return FormRow(shown, line(node), "form", method, action, verdict, evidence, quote)  # type: ignore[arg-type]

    word = literal(method) if method is not None else "get"
    if method is not None and word is None:
        word = literal(_only(method))
    if word is None or (method is None and spread):
        return row("?", "unknown", "its method is not known before it is rendered")
    if word.upper() not in _UNSAFE:
        return None
    if _shown_value(attributes.get("action")).startswith(("http://", "https://", "//")):
        return row(word.upper(), "exempt", "it leaves this site, and a token must not")
    element = node.parent if node.type == "jsx_opening_element" else node
    found = _field(program, module, element, policy.field, 0) if element is not None else None
    if found is not None and element is not None:
        if condition := _condition(found, element):
            return row(word.upper(), "unknown", f"the field `{policy.field}` is there on the condition `{condition}`")
        return row(word.upper(), "protected", f"the field `{policy.field}`")
    if element is not None and (other := _opaque(program, module, element)):
        return row(word.upper(), "unknown", f"`<{other}>` may hold the field, and is not read")
    return row(word.upper(), "unprotected", f"no field `{policy.field}`")


def _field(program: Program, module: ScriptModule, element: Node, field: str, depth: int) -> Node | None:
    """An `<input>` of that name or with the fields of `csrf.field()`, here or in a component that is used here."""
    for node in walk(element, lambda one: one.type in _ELEMENTS):
        name = text(node.child_by_field_name("name"))
        attributes = dict(_attributes(node))
        if name == "input" and ({"disabled", "form"} & attributes.keys()):
            continue  # it is not sent, or with another form
        if (name == "input" and "value" in attributes) or (name == "input" and "defaultValue" in attributes):
            named = attributes.get("name")
            if literal(named) == field or literal(_only(named)) == field or _is_field_name(named):
                return node
        if name == "input" and any(
            "csrf" in text(one).lower() for one in node.named_children if one.type == "jsx_expression"
        ):
            return node
        if name[:1].isupper() and depth < _DEPTH and not _FORM.match(name):
            found = program.name(module, name, node)
            if (
                isinstance(found, Value)
                and found.node.type in FUNCTIONS
                and _field(program, found.module, found.node, field, depth + 1) is not None
            ):
                return node
    return None


def _condition(node: Node, element: Node) -> str:
    """What has to hold for `node` to be in `element`, when it is not about the token itself; empty for nothing."""
    at = node
    while at.parent is not None and at.id != element.id:
        above = at.parent
        first = above.child_by_field_name("condition") or above.child_by_field_name("left")
        if above.type in ("binary_expression", "ternary_expression") and first is not None and first.id != at.id:
            told = " ".join(text(first).split())
            if not re.search(r"csrf|token", told, re.IGNORECASE):
                return told[:60]
        at = above
    return ""


def _is_field_name(named: Node | None) -> bool:
    """`name={csrf.name}`: the name as the server gave it."""
    shown = text(_only(named)) if named is not None else ""
    return bool(re.fullmatch(r"(?:\w+\??\.)*csrf\w*\??\.name", shown, re.IGNORECASE))


def _opaque(program: Program, module: ScriptModule, element: Node) -> str:
    """A component inside that cannot be read and is named like one that renders the field."""
    for node in walk(element, lambda one: one.type in _ELEMENTS):
        name = text(node.child_by_field_name("name"))
        if re.search(r"csrf|authenticity", name, re.IGNORECASE) and not isinstance(
            found := program.name(module, name, node), Value
        ):
            return name if found is not None else ""
    return ""


def _call(node: Node, policy: CsrfPolicy, shown: str) -> FormRow | None:
    """`submit(…, { method: "post" })`, `fetcher.submit(…)` and `fetch(…, { method: "POST" })`."""
    called = text(node.child_by_field_name("function"))
    submits = called == "submit" or called.endswith(".submit")
    if called != "fetch" and not submits:
        return None
    given = arguments(node)
    options = next((bare(one) for one in given[1:] if (bare(one) or one).type == "object"), None)
    method = _pair(options, "method")
    if method is None:
        return None
    word, quote = literal(method), " ".join(text(node).split())[:120]
    action = _shown_value(_pair(options, "action")) if submits else (literal(given[0]) or "") if given else ""
    if word is not None and word.upper() not in _UNSAFE:
        return None

    def row(verdict: object, evidence: str) -> FormRow:
        return FormRow(shown, line(node), "fetch", (word or "?").upper(), action, verdict, evidence, quote)  # type: ignore[arg-type]

    body, headers = text(given[0]) if given else "", text(_pair(options, "headers")).lower()
    carries = policy.header in headers or "csrf" in headers
    if carries or (submits and (policy.field in body or re.search(r"\bcsrf\b", body))):
        return row("protected", "it carries the token")
    if submits and re.fullmatch(
        r"(?:\w+\.)*(?:currentTarget|form|target|formRef\.current)(?:\.form)?|new FormData\(.*\)", body
    ):
        return row("protected", "it sends a form of the page, which is judged by itself")
    if submits and re.fullmatch(r"[\w.]+", body) and body not in ("null", "undefined"):
        return row("unknown", f"what `{body}` holds is not known")
    return row("unprotected", "it sends no token")


def _pair(options: Node | None, name: str) -> Node | None:
    for pair in options.named_children if options is not None else ():
        if pair.type == "pair" and text(pair.child_by_field_name("key")).strip("'\"") == name:
            return pair.child_by_field_name("value")
        if pair.type == "shorthand_property_identifier" and text(pair) == name:
            return pair
    return None


def _attributes(node: Node) -> Iterator[tuple[str, Node]]:
    for child in node.named_children:
        if child.type == "jsx_attribute" and child.named_children:
            value = child.named_children[1] if len(child.named_children) > 1 else child.named_children[0]
            yield text(child.named_children[0]), value


def _only(node: Node | None) -> Node | None:
    """The expression in `{…}`."""
    return (
        node.named_children[0] if node is not None and node.type == "jsx_expression" and node.named_children else None
    )


def _shown_value(node: Node | None) -> str:
    if node is None:
        return ""
    found = literal(node) or literal(_only(node))
    return found if found is not None else " ".join(text(node).split())[:60]
