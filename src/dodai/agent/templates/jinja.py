"""Jinja2 templates, parsed by Jinja2 itself; macros, imports, includes, extends and call blocks are followed."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .jinja_tree import Trees, shown
from .template_page import Budget, Find, Fragment, Helpers, Words

_MAX_DEPTH = 40


@dataclass(frozen=True)
class Macro:
    """A macro and where it was defined."""

    node: Any
    frame: Frame


@dataclass(frozen=True)
class JinjaModule:
    """An imported template; `frame` is None when it is not among the templates."""

    frame: Frame | None


@dataclass(frozen=True)
class Constant:
    """A value that is written in a template."""

    value: Any


@dataclass
class Frame:
    """Where names are looked up: the template they stand in, and what its statements have given them so far."""

    path: str
    names: dict[str, Any]
    blocks: dict[str, list[tuple[Frame, list[Any]]]] = field(default_factory=dict)
    caller: Callable[[], Fragment] | None = None
    above: tuple[str, int] = ("", 0)

    def inner(self, **names: Any) -> Frame:
        return Frame(self.path, {**self.names, **names}, self.blocks, self.caller, self.above)


class Jinja:
    """Expands templates; `branches` grows by the conditions that it meets."""

    def __init__(self, texts: Mapping[str, str], find: Find, words: Words, visited: set[str]) -> None:
        self.find, self.visited, self.words = find, visited, words
        self.helpers = Helpers(words)
        self.trees = Trees(texts)
        self.nodes = self.trees.nodes
        self.in_django = importlib.util.find_spec("django") is not None
        self.branches: dict[int, int] = {}
        self.budget = Budget()
        self.modules: dict[str, Frame] = {}
        self.called: set[tuple[str, str]] = set()
        self.open: list[str] = []

    def names(self, path: str) -> Iterator[str]:
        """The templates that this one extends or includes, as far as they are named in it."""
        for node in self.trees.of(path).find_all((self.nodes.Extends, self.nodes.Include)):
            yield from self.trees.names_in(node.template)

    def page(self, path: str) -> Fragment:
        self.budget.renew()
        return self._template(path, Frame(path, {}))

    def unused_macros(self) -> Iterator[tuple[str, str]]:
        """(path, name) of macros that write a form or a script and that no template calls."""
        for path, tree in list(self.trees.known.items()):
            for node in tree.find_all(self.nodes.Macro):
                data = "".join(part.data for part in node.find_all(self.nodes.TemplateData))
                if (path, node.name) not in self.called and re.search(r"<form|<script|hx-|\son\w+=", data):
                    yield path, node.name

    def macro_page(self, path: str, name: str) -> Fragment:
        """What a macro writes when nothing is known about its arguments."""
        self.budget.renew()
        frame = self._module(path)
        node = next(node for node in self.trees.of(path).find_all(self.nodes.Macro) if node.name == name)
        return self._called(Macro(node, frame), (), {}, Fragment)

    def _template(self, path: str, frame: Frame) -> Fragment:
        self.visited.add(path)
        tree = self.trees.of(path)
        parent = next(tree.find_all(self.nodes.Extends), None)
        for node in tree.find_all(self.nodes.Block):
            frame.blocks.setdefault(node.name, []).append((frame, node.body))
        written = self._all(tree.body, frame)
        if parent is None:
            return written
        for name in self.trees.names_in(parent.template):
            found = self.find(name, path)
            if found and found not in self.open:
                self.open.append(path)
                try:
                    return self._template(found, Frame(found, dict(frame.names), frame.blocks))
                finally:
                    self.open.pop()
        # The layout is not known: its blocks are all that can be seen of the page.
        made = Fragment.of(f"{{% extends {shown(parent.template)} %}}", path, parent.lineno, "markup")
        for node in tree.find_all(self.nodes.Block):
            made.add(self._block(node, frame))
        return made

    def _all(self, nodes: Iterable[Any], frame: Frame) -> Fragment:
        made = Fragment()
        for node in nodes:
            part = self._node(node, frame)
            self.budget.spend([part])
            made.add(part)
        return made

    def _node(self, node: Any, frame: Frame) -> Fragment:
        statement = getattr(self, f"_{type(node).__name__.lower()}", None)
        if statement is not None:
            made: Fragment = statement(node, frame)
            return made
        body = getattr(node, "body", None)
        return self._all(body, frame) if isinstance(body, list) else Fragment()

    def _output(self, node: Any, frame: Frame) -> Fragment:
        made = Fragment()
        for part in node.nodes:
            made.add(self.expression(part, frame))
        return made

    def _if(self, node: Any, frame: Frame) -> Fragment:
        kept: list[list[Any]] = []
        whole = True
        for test, body in [(node.test, node.body), *((each.test, each.body) for each in node.elif_)]:
            truth = self._truth(test, frame)
            if truth is not False:
                kept.append(body)
            if truth is True:
                break
        else:
            whole = bool(node.else_)
            kept += [node.else_] if node.else_ else []
        return self._branched(kept, frame, whole=whole)

    def _branched(self, bodies: list[list[Any]], frame: Frame, *, whole: bool) -> Fragment:
        if whole and len(bodies) == 1:
            return self._all(bodies[0], frame)
        number = self._condition(len(bodies) if whole else 0)
        made = Fragment()
        for at, body in enumerate(bodies):
            made.add(self._all(body, frame), (number, at))
        return made

    def _for(self, node: Any, frame: Frame) -> Fragment:
        names = {each.name: None for each in node.target.find_all(self.nodes.Name)}
        if isinstance(node.target, self.nodes.Name):
            names[node.target.name] = None
        inner = Frame(frame.path, {**frame.names, **names}, frame.blocks, frame.caller, frame.above)
        listed = isinstance(node.iter, (self.nodes.List, self.nodes.Tuple)) and node.iter.items and node.test is None
        bodies = [node.body, *([node.else_] if node.else_ and not listed else [])]
        return self._branched(bodies, inner, whole=bool(listed) or len(bodies) > 1)

    def _macro(self, node: Any, frame: Frame) -> Fragment:
        frame.names[node.name] = Macro(node, frame)
        return Fragment()

    def _extends(self, node: Any, frame: Frame) -> Fragment:
        del node, frame
        return Fragment()

    def _block(self, node: Any, frame: Frame) -> Fragment:
        return self._stacked(node.name, 0, frame) if node.name in frame.blocks else self._all(node.body, frame)

    def _stacked(self, name: str, at: int, frame: Frame) -> Fragment:
        stack = frame.blocks.get(name, [])
        if at >= len(stack):
            return Fragment()
        home, body = stack[at]
        names = {**frame.names, **home.names}
        return self._all(body, Frame(home.path, names, frame.blocks, None, (name, at)))

    def _include(self, node: Any, frame: Frame) -> Fragment:
        wanted = list(self.trees.names_in(node.template))
        found = next((path for name in wanted if (path := self.find(name, frame.path))), "")
        if not found:
            missing = "value" if node.ignore_missing and wanted else "markup"
            return Fragment.of(f"{{% include {shown(node.template)} %}}", frame.path, node.lineno, missing)
        if found in self.open or found == frame.path or len(self.open) > _MAX_DEPTH:
            return Fragment()
        self.open.append(frame.path)
        try:
            return self._template(found, Frame(found, dict(frame.names) if node.with_context else {}))
        finally:
            self.open.pop()

    def _import(self, node: Any, frame: Frame) -> Fragment:
        frame.names[node.target] = JinjaModule(self._imported(node, frame))
        return Fragment()

    def _fromimport(self, node: Any, frame: Frame) -> Fragment:
        module = self._imported(node, frame)
        for each in node.names:
            name, alias = each if isinstance(each, tuple) else (each, each)
            frame.names[alias] = module.names.get(name) if module else JinjaModule(None)
        return Fragment()

    def _imported(self, node: Any, frame: Frame) -> Frame | None:
        for name in self.trees.names_in(node.template):
            if found := self.find(name, frame.path):
                return self._module(found)
        return None

    def _module(self, path: str) -> Frame:
        if path not in self.modules:
            self.modules[path] = frame = Frame(path, {})
            self.visited.add(path)
            self._all(self.trees.of(path).body, frame)
        return self.modules[path]

    def _assign(self, node: Any, frame: Frame) -> Fragment:
        if isinstance(node.target, self.nodes.Name):
            frame.names[node.target.name] = self._value(node.node, frame)
        return Fragment()

    def _assignblock(self, node: Any, frame: Frame) -> Fragment:
        if isinstance(node.target, self.nodes.Name):
            frame.names[node.target.name] = self._all(node.body, frame)
        return Fragment()

    def _with(self, node: Any, frame: Frame) -> Fragment:
        given = {
            target.name: self._value(value, frame)
            for target, value in zip(node.targets, node.values, strict=True)
            if isinstance(target, self.nodes.Name)
        }
        return self._all(node.body, frame.inner(**given))

    def _callblock(self, node: Any, frame: Frame) -> Fragment:
        def caller() -> Fragment:
            return self._all(node.body, frame.inner(**{each.name: None for each in node.args}))

        macro = self._callee(node.call.node, frame)
        if isinstance(macro, Macro):
            return self._call_macro(macro, node.call, frame, caller)
        made = self.expression(node.call, frame)
        made.add(caller())
        return made

    def expression(self, node: Any, frame: Frame) -> Fragment:
        """What `{{ node }}` writes."""
        kind = type(node).__name__
        if kind in ("Const", "TemplateData"):
            value = node.value if kind == "Const" else node.data
            return Fragment.of("" if value is None else str(value), frame.path, node.lineno)
        if kind in ("MarkSafe", "MarkSafeIfAutoescape"):
            return self.expression(node.expr, frame)
        if kind == "Filter" and node.node is not None:
            return self._filtered(node, frame)
        if kind in ("Concat", "Add"):
            made = Fragment()
            for part in node.nodes if kind == "Concat" else (node.left, node.right):
                made.add(self.expression(part, frame))
            return made
        if kind == "CondExpr":
            return self._conditional(node, frame)
        if kind == "Call":
            return self._call(node, frame)
        if kind == "Name" and (known := self._known(node, frame)) is not None:
            return known
        if kind == "Getattr":
            if node.attr == "csrf_token":
                return self.helpers.field(frame.path, node.lineno, shown=shown(node))
            if isinstance(node.node, self.nodes.Getattr) and node.node.attr == "csrf_token":
                return self.helpers.token(frame.path, node.lineno, shown(node))
        return Fragment.of(f"{{{{ {shown(node)} }}}}", frame.path, node.lineno, "value")

    def _known(self, node: Any, frame: Frame) -> Fragment | None:
        """What a name writes; in Django's Jinja2 the helpers are values, elsewhere functions that have to be called."""
        value = frame.names.get(node.name)
        if isinstance(value, Constant):
            return Fragment.of("" if value.value is None else str(value.value), frame.path, node.lineno)
        if value is None and self.in_django:
            return self.helpers.named(node.name, frame.path, node.lineno)
        return value if isinstance(value, Fragment) else None

    def _filtered(self, node: Any, frame: Frame) -> Fragment:
        inner = self.expression(node.node, frame)
        if node.name == "tojson":
            around = Fragment.of('"', frame.path, node.lineno)
            return Fragment([*around.pieces, *inner.pieces, *around.pieces])
        return inner

    def _conditional(self, node: Any, frame: Frame) -> Fragment:
        truth = self._truth(node.test, frame)
        if truth is not None:
            chosen = node.expr1 if truth else node.expr2
            return self.expression(chosen, frame) if chosen is not None else Fragment()
        number = self._condition(2)
        made = Fragment()
        made.add(self.expression(node.expr1, frame), (number, 0))
        if node.expr2 is not None:
            made.add(self.expression(node.expr2, frame), (number, 1))
        return made

    def _call(self, node: Any, frame: Frame) -> Fragment:
        callee, line = node.node, node.lineno
        if isinstance(callee, self.nodes.Name):
            if callee.name == "caller" and frame.caller is not None:
                return frame.caller()
            if callee.name == "super" and frame.above[0]:
                return self._stacked(frame.above[0], frame.above[1] + 1, frame)
            if callee.name not in frame.names and (made := self.helpers.named(callee.name, frame.path, line)):
                return made
        macro = self._callee(callee, frame)
        if isinstance(macro, Macro):
            return self._call_macro(macro, node, frame, None)
        if isinstance(callee, self.nodes.Getattr):
            owner = getattr(callee.node, "name", "")
            if owner == "self" and callee.attr in frame.blocks:
                return self._stacked(callee.attr, 0, frame)
            if callee.attr in ("hidden_tag", "csrf_token") or callee.attr in self.words.helpers:
                return self.helpers.field(frame.path, line, shown=shown(callee))
        unseen = isinstance(macro, JinjaModule)
        return Fragment.of(f"{{{{ {shown(node)} }}}}", frame.path, line, "markup" if unseen else "value")

    def _callee(self, node: Any, frame: Frame) -> Any:
        """The macro that is called, a `JinjaModule` when it comes from a template that is not here, or None."""
        if isinstance(node, self.nodes.Name):
            return frame.names.get(node.name)
        if isinstance(node, self.nodes.Getattr) and isinstance(node.node, self.nodes.Name):
            module = frame.names.get(node.node.name)
            if isinstance(module, JinjaModule):
                return module.frame.names.get(node.attr) if module.frame else module
        return None

    def _call_macro(self, macro: Macro, call: Any, frame: Frame, caller: Callable[[], Fragment] | None) -> Fragment:
        given = {pair.key: self._value(pair.value, frame) for pair in call.kwargs}
        return self._called(macro, [self._value(arg, frame) for arg in call.args], given, caller)

    def _called(
        self, macro: Macro, args: Iterable[Any], given: Mapping[str, Any], caller: Callable[[], Fragment] | None
    ) -> Fragment:
        node, home = macro.node, macro.frame
        key = f"{home.path}::{node.name}"
        if self.open.count(key) > 1 or len(self.open) > _MAX_DEPTH:
            return Fragment()
        self.called.add((home.path, node.name))
        names: dict[str, Any] = {each.name: None for each in node.args}
        for target, default in zip(reversed(node.args), reversed(node.defaults), strict=False):
            names[target.name] = self._value(default, home)
        names |= dict(zip(names, args, strict=False))
        names |= given
        if caller is None:
            names.setdefault("caller", Constant(value=False))
        inner = Frame(home.path, {**home.names, **names}, home.blocks, caller, home.above)
        self.open.append(key)
        try:
            return self._all(node.body, inner)
        finally:
            self.open.pop()

    def _value(self, node: Any, frame: Frame) -> Any:
        if isinstance(node, self.nodes.Const):
            return Constant(node.value)
        if isinstance(node, self.nodes.Name) and node.name in frame.names:
            return frame.names[node.name]
        return self.expression(node, frame)

    def _truth(self, node: Any, frame: Frame) -> bool | None:
        """What a condition comes to when that is written in the template; None when it is not."""
        if isinstance(node, self.nodes.Not):
            inner = self._truth(node.node, frame)
            return None if inner is None else not inner
        if isinstance(node, (self.nodes.And, self.nodes.Or)):
            sides = (self._truth(node.left, frame), self._truth(node.right, frame))
            decisive = isinstance(node, self.nodes.Or)
            return decisive if decisive in sides else (not decisive if None not in sides else None)
        if isinstance(node, self.nodes.Const):
            return bool(node.value)
        if isinstance(node, self.nodes.Name):
            value = frame.names.get(node.name)
            if isinstance(value, Constant):
                return bool(value.value)
            return True if node.name == "caller" and frame.caller is not None else None
        return None

    def _condition(self, branches: int) -> int:
        number = len(self.branches) + 1
        self.branches[number] = branches
        return number
