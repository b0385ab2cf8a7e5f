"""What a function in front of a check may do by itself, read in its source: answer, or act in passing.

It passes a request on when there is one thing that gets its `send` or `start_response`, or when what it returns comes
from the next in line. An answer is harmless when nothing is called for it but what makes responses.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Literal

Form = Literal["asgi", "wsgi", "returns", "lost"]
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_NESTED = (*_FUNCTIONS, ast.ClassDef, ast.Lambda)

_MAKES_RESPONSES = re.compile(r"(Response|Redirect|Error|Exception|Denied|Forbidden|Unauthorized|NotFound)\Z")
_HARMLESS_FUNCTIONS = re.compile(
    r"(all|any|bool|bytes|callable|dict|enumerate|filter|float|frozenset|getattr|hasattr|int|isinstance|iter|len|list|map"
    r"|max|min|next|print|repr|set|sorted|str|super|tuple|vars|zip|abort|compare_digest|copy|dumps|flash|getLogger|gettext"
    r"|get_flashed_messages|jsonify|loads|make_response|monotonic|perf_counter|redirect|render|render_template"
    r"|render_template_string|reverse|time|url_for|url_path_for|uuid4|Headers|MutableHeaders|QueryParams|Request|URL|_)\Z"
)
_HARMLESS_METHODS = re.compile(
    r"(abort|compare_digest|copy|count|debug|decode|dumps|encode|endswith|error|exception|format|from_scope|fullmatch|get"
    r"|getlist|hexdigest|inc|increment|info|items|join|keys|labels|loads|log|lower|lstrip|match|monotonic|observe"
    r"|partition|perf_counter|redirect|removeprefix|removesuffix|render|replace|rpartition|rsplit|rstrip|search|split"
    r"|splitlines|startswith|strip|time|title|upper|url_for|url_path_for|uuid4|values|warning|TemplateResponse)\Z"
)
_HARMLESS_OWNERS = re.compile(
    r"(self\._?)?(scope|environ|headers|log|logger|logging|message|response(\.headers)?|request(\.("
    r"headers|url|args|query_params|cookies|path|full_path|path_info|META|GET|POST|session|user|form|values))?)\Z"
)
_ACTS = re.compile(
    r"(?i)_?(add|approve|cancel|change|charge|clear|commit|create|delete|destroy|drop|enqueue|execute|handle|insert|pay"
    r"|publish|purge|remove|reset|revoke|run|save|send|set|store|submit|update|write)(_|\Z)"
)
_NEXT = frozenset({"call_next", "get_response", "self.get_response", "self._get_response", "self.process_request"})
_REFUSAL = re.compile(r"redirect|abort|denied|forbidden|unauthorized|notfound", re.IGNORECASE)
_CHOOSES = re.compile(
    r"(?i)\b(path|path_info|raw_path|full_path|url|endpoint|url_rule|base_url|resolver_match|method)\b"
)
_ASKS = re.compile(r"(?i)\b(path|path_info|full_path|url|method|form|json|get_json|body|data|values|args|POST|GET)\b")
_REFUSED = 400
_FLASK_CALLS = frozenset({"preprocess_request", "wsgi_app", "full_dispatch_request", "dispatch_request", "__call__"})
_DJANGO_LATE = frozenset({"process_response", "process_template_response", "process_exception"})
_ASYNC = frozenset({"anyio", "starlette", "fastapi", "litestar"})


@dataclass(frozen=True)
class OwnAnswer:
    """`calls` is the first thing that it calls for its own answer, `paths` what its conditions name."""

    calls: str
    paths: tuple[str, ...]


def reads_as(code: CodeType, caller: tuple[str, str]) -> OwnAnswer | None:
    """What may go wrong in a function that `caller` (module, function) has called; None when it passes requests on."""
    if code.co_name == "matches" and caller[0].startswith("starlette"):
        return OwnAnswer("which requests it takes is known to it alone", ())
    form = _form(code, *caller)
    if form is None:
        return None
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, SyntaxError, ValueError, TypeError):
        return OwnAnswer("its source cannot be read", ())
    function = next((node for node in ast.walk(tree) if isinstance(node, _FUNCTIONS)), None) or _of_lambda(tree)
    if function is None:
        return OwnAnswer("its source cannot be read", ())
    calls = _Reading(function, form).calls()
    return OwnAnswer(calls, tuple(_paths(function))) if calls else None


def _of_lambda(tree: ast.AST) -> ast.FunctionDef | None:
    """The first lambda as a function that returns its expression."""
    found = next((node for node in ast.walk(tree) if isinstance(node, ast.Lambda)), None)
    if found is None:
        return None
    made = ast.parse("def made(): ...").body[0]
    assert isinstance(made, ast.FunctionDef)  # noqa: S101 - for the type checker
    made.args, made.body = found.args, [ast.copy_location(ast.Return(found.body), found)]
    return made


def _form(code: CodeType, module: str, function: str) -> Form | None:
    names = code.co_varnames[: code.co_argcount]
    names = names[1:] if names[:1] in (("self",), ("cls",)) else names
    package = module.partition(".")[0]
    if passed := _channelled(code, names, package):
        return passed
    if module == "starlette.middleware.base" or names[1:] == ("call_next",):
        return "returns" if len(names) == 2 else None
    if package == "flask" and function.startswith("handle_"):
        return "lost"
    if package == "flask":
        asked = names in ((), ("endpoint", "values")) and code.co_name != "process_response"
        return "returns" if function in _FLASK_CALLS and asked else None
    if module.startswith(("django.core.handlers", "django.utils.deprecation", "asgiref")) and names:
        answers = {2: "lost", 1: "returns", 4: "returns"}  # handler404; a middleware; process_view
        return None if code.co_name in _DJANGO_LATE else answers.get(len(names))  # type: ignore[return-value]
    handles = package == "anyio" or "exception" in module or module == "starlette.middleware.errors"
    return "lost" if handles and len(names) == 2 and package in _ASYNC else None


def _channelled(code: CodeType, names: tuple[str, ...], package: str) -> Form | None:
    """The protocol of a function that is given a way to answer, by its signature or because it is the outermost."""
    outermost = package == "dodai_agent"
    if names == () and code.co_flags & inspect.CO_VARARGS and code.co_name == "__call__":
        return "asgi"  # or WSGI: what it was given is handed on as it came
    awaited = package in _ASYNC and code.co_flags & inspect.CO_COROUTINE
    if len(names) == 3 and (outermost or names[-1] == "send" or awaited):
        return "asgi"
    if len(names) == 2 and (outermost or names[0].startswith("env") or names[1].startswith("start")):
        return "wsgi"
    return None


class _Reading:
    def __init__(self, function: ast.FunctionDef | ast.AsyncFunctionDef, form: Form) -> None:
        self.function = function
        self.form = form
        arguments = [argument.arg for argument in function.args.args]
        held = [function.args.vararg.arg] if function.args.vararg and len(arguments) < 2 else arguments[-1:]
        self.channel = "".join(held) if form in ("asgi", "wsgi") else ""
        # Whatever `dispatch` calls the next in line by.
        self.following = {arguments[-1]} if form == "returns" and len(arguments) > 1 else set()
        self.wrappers = {
            node.name for node in ast.walk(function) if isinstance(node, _FUNCTIONS) and node is not function
        }
        self.assigned: dict[str, list[ast.expr]] = {}
        for node in _own(function):
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    if isinstance(target, ast.Name):
                        self.assigned.setdefault(target.id, []).append(node.value)
        self.next = self._next_in_line()

    def calls(self) -> str:
        """The first call of an answer, or of an act beside it, that is not harmless; empty when there is none."""
        if self.form == "lost" and not _ASKS.search(ast.unparse(self.function)):
            return ""
        for block, statement, tests in _statements(self.function.body, ()):
            if said := self._answer(block, statement, tests) or self._in_passing(statement, tests):
                return said
        return ""

    def _answer(self, block: list[ast.stmt], statement: ast.stmt, tests: tuple[ast.expr, ...]) -> str:
        answers = list(self._answers(statement))
        if not answers:
            return ""
        for answer in answers:
            if isinstance(answer, str):
                return answer
        beside = [part for other in block for part in _heads(other)]
        refuses = any(_refuses(answer) for answer in answers if isinstance(answer, ast.expr))
        for part in (*beside, *(() if refuses else tests)):
            if said := self._harmful(part):
                return said
        return ""

    def _answers(self, statement: ast.stmt) -> Iterator[ast.expr | str]:
        """The expressions with which a statement answers; a text where something does it that is not next in line."""
        if self.form in ("returns", "lost"):
            value = statement.value if isinstance(statement, ast.Return) else None
            if value is not None and not _is_none(value) and not self._is_passed_on(value):
                yield value
            return
        for call in (node for part in _heads(statement) for node in _walk(part) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Name) and call.func.id == self.channel:
                yield call
            elif self._gives(call):
                yield from self._handed_to(call)

    def _handed_to(self, call: ast.Call) -> Iterator[ast.expr | str]:
        made: list[ast.expr] = [call.func] if isinstance(call.func, ast.Call) else []
        if isinstance(call.func, ast.Name):
            made += self.assigned.get(call.func.id, [])
        if made and all(map(_is_response, made)):
            yield from made
        elif ast.unparse(call.func) != self.next:
            yield ast.unparse(call)[:80]

    def _gives(self, call: ast.Call) -> bool:
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        plain = [each.value if isinstance(each, ast.Starred) else each for each in given]
        return any(isinstance(each, ast.Name) and each.id in {self.channel, *self.wrappers} for each in plain)

    def _next_in_line(self) -> str:
        """The one attribute or outer name that is given the channel; empty when there are several."""
        given = {
            ast.unparse(node.func)
            for node in _own(self.function)
            if isinstance(node, ast.Call) and self.channel and self._gives(node)
            if self._is_fixed(node.func) and not _MAKES_RESPONSES.search(_name(node.func))
        }
        return given.pop() if len(given) == 1 else ""

    def _is_fixed(self, func: ast.expr) -> bool:
        """Whether it is the same for every request: an attribute, a name from outside, a numbered place in either."""
        if isinstance(func, ast.Subscript):
            return isinstance(func.slice, ast.Constant) and self._is_fixed(func.value)
        return isinstance(func, ast.Attribute) or (isinstance(func, ast.Name) and func.id not in self.assigned)

    def _is_passed_on(self, value: ast.expr, depth: int = 5) -> bool:
        value = value.value if isinstance(value, ast.Await) else value
        if isinstance(value, ast.IfExp) and depth:
            return self._is_passed_on(value.body, depth - 1) and self._is_passed_on(value.orelse, depth - 1)
        if isinstance(value, ast.Name) and depth:
            made = [each for each in self.assigned.get(value.id, []) if not self._changes(each, value.id)]
            return bool(made) and all(_is_none(each) or self._is_passed_on(each, depth - 1) for each in made)
        if not isinstance(value, ast.Call):
            return False
        return ast.unparse(value.func) in {*_NEXT, *self.following, f"super().{self.function.name}"}

    def _changes(self, value: ast.expr, name: str) -> bool:
        return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(value))

    def _in_passing(self, statement: ast.stmt, tests: tuple[ast.expr, ...]) -> str:
        """A call whose result nobody uses, where the path has been looked at: what it does is done on the way.

        Where the result is used, one that is named like an act.
        """
        chosen = _ASKS if self.form == "lost" else _CHOOSES
        own = [statement.test] if isinstance(statement, ast.If) else list(_heads(statement))
        within = [node for part in own for node in _walk(part) if isinstance(node, (ast.IfExp, ast.BoolOp))]
        if not any(chosen.search(ast.unparse(test)) for test in (*tests, *within)):
            return ""
        if isinstance(statement, ast.Expr):
            return self._harmful(statement.value)
        return next((said for part in own if (said := self._harmful(part, acts=True))), "")

    def _harmful(self, part: ast.AST, *, acts: bool = False) -> str:
        for call in (node for node in _walk(part) if isinstance(node, ast.Call)):
            if not self._is_harmless(call) and (not acts or _ACTS.match(_name(call.func))):
                return ast.unparse(call)[:80]
        return ""

    def _is_harmless(self, call: ast.Call) -> bool:
        func, name = call.func, _name(call.func)
        if isinstance(func, ast.Call):
            return _is_response(func)
        if isinstance(func, ast.Name):
            made = self.assigned.get(name, [])
            known = bool(_HARMLESS_FUNCTIONS.match(name)) or name == self.channel
            known = known or (bool(made) and all(map(_is_response, made)))
        else:
            owner = ast.unparse(func.value) if isinstance(func, ast.Attribute) else ""
            known = bool(_HARMLESS_METHODS.match(name) or _HARMLESS_OWNERS.match(owner))
        passed_on = ast.unparse(func) == self.next or self._is_passed_on(call)
        return known or passed_on or bool(_MAKES_RESPONSES.search(name))


def _statements(
    body: list[ast.stmt], tests: tuple[ast.expr, ...]
) -> Iterator[tuple[list[ast.stmt], ast.stmt, tuple[ast.expr, ...]]]:
    """(its block, the statement, the conditions around it) of everything that is not inside a nested function."""
    for statement in body:
        yield body, statement, tests
        if isinstance(statement, _NESTED):
            continue
        inner = (*tests, statement.test) if isinstance(statement, (ast.If, ast.While)) else tests
        for name in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(statement, name, None) or [], inner)
        for handler in getattr(statement, "handlers", ()):
            yield from _statements(handler.body, inner)
        for case in getattr(statement, "cases", ()):
            yield from _statements(case.body, (*inner, statement.subject))  # type: ignore[attr-defined]


def _heads(statement: ast.stmt) -> Iterator[ast.expr]:
    """The expressions of a statement, those of its blocks and its condition left out."""
    if isinstance(statement, (ast.If, ast.While, *_NESTED)):
        return
    for field, value in ast.iter_fields(statement):
        if field not in ("body", "orelse", "finalbody", "handlers", "cases"):
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, ast.expr):
                    yield each
                elif isinstance(each, ast.withitem):
                    yield each.context_expr


def _own(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    for statement in function.body:
        yield from _walk(statement)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """Like `ast.walk`, without what nested functions do."""
    if isinstance(node, _NESTED):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _walk(child)


def _name(func: ast.expr) -> str:
    return func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""


def _is_response(made: ast.expr) -> bool:
    return isinstance(made, ast.Call) and bool(_MAKES_RESPONSES.search(_name(made.func)))


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _refuses(answer: ast.expr) -> bool:
    """Whether it sends away: a redirect, or a status from 400 on."""
    for node in ast.walk(answer):
        if isinstance(node, ast.Constant):
            status = node.value if isinstance(node.value, int) else str(node.value)[:3]
            if str(status).isdigit() and _REFUSED <= int(status) < 600:
                return True
        elif isinstance(node, ast.Call) and _REFUSAL.search(_name(node.func)):
            return True
    return False


def _paths(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """The paths that its conditions name."""
    tests = [node.test for node in ast.walk(function) if isinstance(node, (ast.If, ast.IfExp))]
    found = [node.value for test in tests for node in ast.walk(test) if isinstance(node, ast.Constant)]
    for value in dict.fromkeys(found):
        if isinstance(value, str) and value.startswith("/") and len(value) > 1 and " " not in value:
            yield value
