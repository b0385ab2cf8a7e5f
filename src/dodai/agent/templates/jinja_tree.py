"""Syntax trees of Jinja2 templates, made by Jinja2 itself; tags of unknown extensions are read through."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

_EXTENSIONS = ("jinja2.ext.i18n", "jinja2.ext.do", "jinja2.ext.loopcontrols")
_UNKNOWN_TAG = re.compile(r"unknown tag '(\w+)'")
_MAX_TAGS = 40


class Trees:
    """The trees of `texts`, each parsed once."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts
        self.jinja2 = importlib.import_module("jinja2")
        self.nodes = importlib.import_module("jinja2.nodes")
        self.known: dict[str, Any] = {}

    def of(self, path: str) -> Any:
        """The syntax tree of a template; a tag that Jinja2 does not know is one of the application's extensions."""
        text, tags = self.texts[path], {"csrf_token"}
        while path not in self.known:
            environment = self.jinja2.Environment(extensions=_EXTENSIONS)
            for tag in tags:
                environment.add_extension(self._extension(tag, text))
            try:
                self.known[path] = environment.parse(text)
            except self.jinja2.TemplateSyntaxError as error:
                unknown = _UNKNOWN_TAG.search(str(error.message))
                if unknown is None or unknown[1] in tags or len(tags) > _MAX_TAGS:
                    raise
                tags.add(unknown[1])
        return self.known[path]

    def _extension(self, tag: str, text: str) -> type:
        """An extension that reads `{% tag … %}`, with what stands up to its end if it has one."""
        nodes = self.nodes
        closed = re.search(rf"\{{%-?\s*end{tag}\b", text) is not None

        def parse(self: Any, parser: Any) -> Any:
            del self
            line = next(parser.stream).lineno
            while parser.stream.current.type != "block_end":
                next(parser.stream)
            if closed:
                return list(parser.parse_statements((f"name:end{tag}",), drop_needle=True))
            name = nodes.Name("csrf_field" if tag == "csrf_token" else tag, "load", lineno=line)
            return nodes.Output([nodes.Call(name, [], [], None, None, lineno=line)], lineno=line)

        base = importlib.import_module("jinja2.ext").Extension
        return type(f"Tag_{tag}", (base,), {"tags": {tag}, "parse": parse})

    def names_in(self, node: Any) -> Iterator[str]:
        """Every name of a template that an expression can come to, as far as they are written in it."""
        if isinstance(node, self.nodes.Const):
            values = node.value if isinstance(node.value, (list, tuple)) else [node.value]
            yield from (value for value in values if isinstance(value, str))
        elif isinstance(node, (self.nodes.List, self.nodes.Tuple)):
            for item in node.items:
                yield from self.names_in(item)
        elif isinstance(node, self.nodes.CondExpr):
            yield from self.names_in(node.expr1)
            yield from self.names_in(node.expr2)


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
