"""Django templates, split by Django's own lexer; tags of the application's own are never imported."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .template_page import Budget, Find, Fragment, Helpers, Words

_BLOCKS = frozenset(
    {"autoescape", "block", "filter", "for", "if", "ifchanged", "partialdef", "spaceless", "verbatim", "with"}
    | {"blocktranslate", "blocktrans"}
)
_BRANCHES = {"if": ("elif", "else"), "for": ("empty",), "ifchanged": ("else",)}
_SILENT = frozenset(
    {"load", "debug", "cycle", "resetcycle", "firstof", "now", "regroup", "templatetag", "url", "widthratio", "lorem"}
    | {"static", "get_static_prefix", "get_media_prefix", "trans", "translate", "get_current_language", "querystring"}
)
_NAME = re.compile(r"""^["']([^"']+)["']$""")
_CONSTANT = {"True": True, "1": True, "False": False, "0": False, "None": False}
Vars = Mapping[str, Fragment]


@dataclass
class _Node:
    """Text (`kind` ""), a variable (`var`) or a tag; `branches` are (head, children) of a tag with an end."""

    kind: str
    text: str
    line: int
    branches: list[tuple[str, list[_Node]]] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        return re.findall(r"""(?:[^\s"']|"[^"]*"|'[^']*')+""", self.text)


class DjangoTemplates:
    """Expands templates; `branches` grows by the conditions that it meets."""

    def __init__(self, texts: Mapping[str, str], find: Find, words: Words, visited: set[str]) -> None:
        self.texts, self.find, self.visited = texts, find, visited
        self.helpers = Helpers(words)
        self.words = words
        self.branches: dict[int, int] = {}
        self.budget = Budget()
        self.parsed: dict[str, list[_Node]] = {}
        self.open: list[str] = []

    def names(self, path: str) -> Iterator[str]:
        """The templates that this one extends or includes."""
        for node in _every(self._tree(path)):
            match = _NAME.match(node.words[1]) if node.kind in ("extends", "include") and len(node.words) > 1 else None
            if match:
                yield match[1]

    def page(self, path: str) -> Fragment:
        self.budget.renew()
        return self._template(path, {}, {})

    def _template(self, path: str, scope: Vars, blocks: dict[str, list[tuple[str, list[_Node]]]]) -> Fragment:
        self.visited.add(path)
        tree = self._tree(path)
        parent = next((node for node in _every(tree) if node.kind == "extends"), None)
        for node in _every(tree):
            if node.kind == "block" and len(node.words) > 1:
                blocks.setdefault(node.words[1], []).append((path, node.branches[0][1]))
        if parent is None:
            return self._all(tree, path, scope, blocks)
        match = _NAME.match(parent.words[1]) if len(parent.words) > 1 else None
        found = self.find(match[1], path) if match else ""
        if not found or found in self.open:
            # The layout is not known: its blocks are all that can be seen of the page.
            made = Fragment.of(f"{{% {parent.text} %}}", path, parent.line, "markup")
            for node in _every(tree):
                if node.kind == "block":
                    made.add(self._tag_block(node, path, scope, blocks))
            return made
        self.open.append(path)
        try:
            return self._template(found, scope, blocks)
        finally:
            self.open.pop()

    def _all(self, nodes: list[_Node], path: str, scope: Vars, blocks: Any) -> Fragment:
        made = Fragment()
        for node in nodes:
            part = self._node(node, path, scope, blocks)
            self.budget.spend([part])
            made.add(part)
        return made

    def _node(self, node: _Node, path: str, scope: Vars, blocks: Any) -> Fragment:
        if node.kind == "":
            return Fragment.of(node.text, path, node.line)
        if node.kind == "var":
            return self._variable(node, path, scope, blocks)
        tag = getattr(self, f"_tag_{node.kind}", None)
        if tag is not None:
            made: Fragment = tag(node, path, scope, blocks)
            return made
        if node.kind in self.words.helpers:
            return self.helpers.field(path, node.line)
        if node.branches:
            made = Fragment()
            for _, children in node.branches:
                made.add(self._all(children, path, scope, blocks))
            return made
        known = node.kind in _SILENT
        return Fragment.of(f"{{% {node.text} %}}", path, node.line, "value" if known else "markup")

    def _variable(self, node: _Node, path: str, scope: Vars, blocks: Any) -> Fragment:
        name = node.text.partition("|")[0].strip()
        if name == "block.super":
            stack = blocks.get("", [])
            return self._stacked(stack[1:], scope, blocks) if len(stack) > 1 else Fragment()
        if literal := _NAME.match(name):
            return Fragment.of(literal[1], path, node.line)
        if name in scope:
            return scope[name]
        made = self.helpers.named(name, path, node.line)
        if made is None and name.endswith(".csrf_token"):
            made = self.helpers.field(path, node.line)
        return made or Fragment.of(f"{{{{ {node.text} }}}}", path, node.line, "value")

    def _stacked(self, stack: list[tuple[str, list[_Node]]], scope: Vars, blocks: Any) -> Fragment:
        path, children = stack[0]
        return self._all(children, path, scope, {**blocks, "": stack})

    def _tag_extends(self, *_: Any) -> Fragment:
        return Fragment()

    _tag_load = _tag_extends

    def _tag_csrf_token(self, node: _Node, path: str, *_: Any) -> Fragment:
        return self.helpers.field(path, node.line, "csrfmiddlewaretoken")

    def _tag_block(self, node: _Node, path: str, scope: Vars, blocks: Any) -> Fragment:
        name = node.words[1] if len(node.words) > 1 else ""
        return self._stacked(blocks.get(name) or [(path, node.branches[0][1])], scope, blocks)

    def _tag_include(self, node: _Node, path: str, scope: Vars, _: Any) -> Fragment:
        words = node.words
        match = _NAME.match(words[1]) if len(words) > 1 else None
        found = self.find(match[1], path) if match else ""
        if not found:
            return Fragment.of(f"{{% {node.text} %}}", path, node.line, "markup")
        if found in self.open or found == path:
            return Fragment()
        given = {} if "only" in words else dict(scope)
        given |= self._given(words[2:], path, node.line, scope)
        self.open.append(path)
        try:
            return self._template(found, given, {})
        finally:
            self.open.pop()

    def _tag_with(self, node: _Node, path: str, scope: Vars, blocks: Any) -> Fragment:
        given = {**scope, **self._given(node.words[1:], path, node.line, scope)}
        return self._all(node.branches[0][1], path, given, blocks)

    def _given(self, words: list[str], path: str, line: int, scope: Vars) -> dict[str, Fragment]:
        pairs = (word.partition("=") for word in words if "=" in word)
        return {name: self._variable(_Node("var", value, line), path, scope, {}) for name, _, value in pairs}

    def _tag_if(self, node: _Node, path: str, scope: Vars, blocks: Any) -> Fragment:
        kept: list[list[_Node]] = []
        whole = False
        for head, children in node.branches:
            truth = self._truth(head, scope)
            if truth is False:
                continue
            kept.append(children)
            if truth is True:
                whole = True
                break
        if whole and len(kept) == 1:
            return self._all(kept[0], path, scope, blocks)
        number = self._condition(len(kept) if whole else 0)
        made = Fragment()
        for at, children in enumerate(kept):
            made.add(self._all(children, path, scope, blocks), (number, at))
        return made

    def _truth(self, head: str, scope: Vars) -> bool | None:
        words = head.split()[1:]
        if head.split(maxsplit=1)[0] == "else":
            return True
        turned = words[:1] == ["not"]
        words = words[1:] if turned else words
        if len(words) != 1:
            return None
        truth = _CONSTANT.get(words[0])
        if truth is None and words[0] in scope and (text := scope[words[0]].text) is not None:
            truth = bool(text)
        return truth if truth is None else truth is not turned

    def _tag_for(self, node: _Node, path: str, scope: Vars, blocks: Any) -> Fragment:
        number = self._condition(len(node.branches) if len(node.branches) > 1 else 0)
        made = Fragment()
        for at, (_, children) in enumerate(node.branches):
            made.add(self._all(children, path, scope, blocks), (number, at))
        return made

    def _tag_partialdef(self, node: _Node, path: str, scope: Vars, blocks: Any) -> Fragment:
        inline = "inline" in node.words
        return self._all(node.branches[0][1], path, scope, blocks) if inline else Fragment()

    def _tag_partial(self, node: _Node, path: str, scope: Vars, blocks: Any) -> Fragment:
        wanted = node.words[1:2]
        for other in _every(self._tree(path)):
            if other.kind == "partialdef" and other.words[1:2] == wanted:
                return self._all(other.branches[0][1], path, scope, blocks)
        return Fragment.of(f"{{% {node.text} %}}", path, node.line, "markup")

    def _condition(self, branches: int) -> int:
        number = len(self.branches) + 1
        self.branches[number] = branches
        return number

    def _tree(self, path: str) -> list[_Node]:
        if path not in self.parsed:
            base = importlib.import_module("django.template.base")
            tokens = base.Lexer(self.texts[path]).tokenize()
            flat = list(_without_comments(_flat(token, base.TokenType) for token in tokens))
            ends = frozenset(node.kind for node in flat if node.kind.startswith("end"))
            self.parsed[path], _ = _nested(flat, 0, (), ends)
        return self.parsed[path]


def _flat(token: Any, kinds: Any) -> _Node | None:
    line = int(token.lineno or 0)
    if token.token_type == kinds.TEXT:
        return _Node("", token.contents, line)
    if token.token_type == kinds.VAR:
        return _Node("var", token.contents, line)
    if token.token_type == kinds.BLOCK and token.contents:
        return _Node(token.contents.split()[0], token.contents, line)
    return None


def _without_comments(nodes: Iterator[_Node | None]) -> Iterator[_Node]:
    inside = False
    for node in nodes:
        if node is None:
            continue
        if node.kind in ("comment", "endcomment"):
            inside = node.kind == "comment"
        elif not inside:
            yield node


def _nested(flat: list[_Node], at: int, stops: tuple[str, ...], ends: frozenset[str]) -> tuple[list[_Node], int]:
    """The nodes from `at` up to a tag of `stops`, and where that one stands; `ends` are all end tags of the file."""
    found: list[_Node] = []
    while at < len(flat):
        node = flat[at]
        if node.kind in stops:
            return found, at
        at += 1
        if node.kind not in ("", "var") and (node.kind in _BLOCKS or f"end{node.kind}" in ends):
            end = f"end{node.kind}"
            between = _BRANCHES.get(node.kind, ())
            head = node.text
            while True:
                children, at = _nested(flat, at, (*between, end), ends)
                node.branches.append((head, children))
                if at >= len(flat):
                    raise SyntaxError(f"`{{% {node.text} %}}` of line {node.line} has no end")
                head, kind = flat[at].text, flat[at].kind
                at += 1
                if kind == end:
                    break
        found.append(node)
    return found, at


def _every(nodes: list[_Node]) -> Iterator[_Node]:
    for node in nodes:
        yield node
        for _, children in node.branches:
            yield from _every(children)
