"""The rules, each a pure function over sources or lines."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

from dodai.core.errors import Code
from dodai.core.finding import Finding, Place
from dodai.core.line import FIELD_NAMES
from dodai.core.rule import declared, rule
from dodai.observability import codes
from dodai.observability.check.samples import LineSample
from dodai.observability.check.sources import PythonSources

_CONTEXT_LOSING = {
    "Thread": "`Thread` starts without the request of its maker",
    "Timer": "`Timer` starts without the request of its maker",
    "ThreadPoolExecutor": "`ThreadPoolExecutor` runs its work without the request that submitted it",
    "run_in_executor": "`run_in_executor` runs its work without the request that called it",
}
_OWN_EXECUTORS = frozenset({"ContextExecutor", "ContextThread"})
_LOG_METHODS = frozenset({"debug", "info", "warning", "warn", "error", "critical", "exception", "log"})
_LOG_OBJECTS = frozenset(
    {"log", "logger", "logging", "_log", "_logger", "LOG", "LOGGER", "getLogger", "get_logger", "get_task_logger"}
)
_SECRET_WORDS = ("password", "passwd", "secret", "token", "cookie", "authorization", "api_key", "credential", "dsn")
_PERSONAL_WORDS = ("email", "e_mail", "phone", "address", "birthday")
_REQUEST_PARTS = frozenset({"headers", "cookies", "query_params", "form", "body", "json", "META", "POST", "GET"})
_UNBOUNDED = frozenset({"path", "raw_path", "url", "path_info", "full_path", "query_string"})
_UNBOUNDED_NAMES = ("user_id", "request_id", "email", "session", "ip", "user_agent")

Visit = Callable[[ast.AST], Iterator[tuple[ast.AST, str]]]


@rule(codes.CONTEXT_LOST, needs=(PythonSources,))
def context_is_kept(sources: PythonSources) -> Iterator[Finding]:
    yield from _walk(sources, codes.CONTEXT_LOST, _context_losing)


@rule(codes.BASE_HTTP_MIDDLEWARE, needs=(PythonSources,))
def no_base_http_middleware(sources: PythonSources) -> Iterator[Finding]:
    yield from _walk(sources, codes.BASE_HTTP_MIDDLEWARE, _base_http)


@rule(codes.UNBOUNDED_LABEL, needs=(PythonSources,))
def labels_are_bounded(sources: PythonSources) -> Iterator[Finding]:
    yield from _walk(sources, codes.UNBOUNDED_LABEL, _unbounded_labels)


@rule(codes.SECRET_IN_LOG, needs=(PythonSources,))
def logs_hold_no_secrets(sources: PythonSources) -> Iterator[Finding]:
    yield from _walk(sources, codes.SECRET_IN_LOG, _secrets)


@rule(codes.LINE_DRIFT, needs=(LineSample,))
def lines_keep_the_schema(sample: LineSample) -> Iterator[Finding]:
    for drift in sample.drifts:
        said = f"`{drift.service}` wrote {drift.count} of {sample.lines} lines in which {drift.problem}"
        yield Finding(codes.LINE_DRIFT, said, Place(drift.path, drift.line))


@rule(codes.UNKNOWN_FIELD, needs=(PythonSources,))
def notes_are_in_the_schema(sources: PythonSources) -> Iterator[Finding]:
    yield from _walk(sources, codes.UNKNOWN_FIELD, _unknown_notes)


def _walk(sources: PythonSources, code: Code, visit: Visit) -> Iterator[Finding]:
    for path, text in sources.files:
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            continue  # the interpreter says it better
        lines = text.splitlines()
        for node in ast.walk(tree):
            for found, message in visit(node):
                line, column = getattr(found, "lineno", 1), getattr(found, "col_offset", 0)
                quote = lines[line - 1] if line <= len(lines) else ""
                length = (getattr(found, "end_col_offset", None) or column) - column
                single = getattr(found, "end_lineno", line) == line
                yield Finding(code, message, Place(path, line, column + 1, max(0, length) if single else 0), quote)


def _context_losing(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    if not isinstance(node, ast.Call):
        return
    name = _last_name(node.func)
    if name not in _CONTEXT_LOSING:
        return
    if name == "run_in_executor" and node.args and _is_ours(node.args[0]):
        return
    yield node.func, _CONTEXT_LOSING[name]


def _is_ours(executor: ast.expr) -> bool:
    called = executor.func if isinstance(executor, ast.Call) else executor
    return _last_name(called) in _OWN_EXECUTORS or "context" in _last_name(called).lower()


def _base_http(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    if isinstance(node, ast.ClassDef):
        for base in node.bases:
            if _last_name(base) == "BaseHTTPMiddleware":
                yield base, f"`{node.name}` is a `BaseHTTPMiddleware`"
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and _last_name(decorator.func) == "middleware" and _says_http(decorator):
                yield decorator, f'`@middleware("http")` makes `{node.name}` a `BaseHTTPMiddleware`'


def _says_http(call: ast.Call) -> bool:
    return bool(call.args) and isinstance(call.args[0], ast.Constant) and call.args[0].value == "http"


def _unbounded_labels(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    if isinstance(node, ast.Call) and _last_name(node.func) == "labels" and isinstance(node.func, ast.Attribute):
        for value in [*node.args, *(keyword.value for keyword in node.keywords)]:
            if name := _unbounded(value):
                yield value, f"`{name}` as a label value has no bound"
    if isinstance(node, ast.Assign) and any(_is_route(target) for target in node.targets) and _unbounded(node.value):
        yield node.value, f"`{_unbounded(node.value)}` as the route has no bound"


def _is_route(target: ast.expr) -> bool:
    return isinstance(target, ast.Attribute) and target.attr == "route"


def _unbounded(value: ast.expr) -> str:
    """The name in `value` whose values clients choose; empty when there is none."""
    for node in ast.walk(value):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if isinstance(node, ast.Attribute) and name in _UNBOUNDED and _mentions_request(node):
            return ast.unparse(node)
        if name in _UNBOUNDED_NAMES:
            return ast.unparse(node)
    return ""


def _mentions_request(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Name) and "req" in part.id.lower() for part in ast.walk(node))


def _secrets(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    if not isinstance(node, ast.Call) or not _is_log_call(node.func):
        return
    for value in [*node.args, *(keyword.value for keyword in node.keywords)]:
        for part in ast.walk(value):
            if name := _sensitive(part):
                yield part, f"`{name}` goes into a log"
                break


def _is_log_call(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id == "print"
    if not isinstance(function, ast.Attribute) or function.attr not in _LOG_METHODS:
        return False
    return _last_name(function.value) in _LOG_OBJECTS


def _sensitive(node: ast.AST) -> str:
    """What of `node` is a secret, personal, or a part of a request that holds both; empty when nothing is."""
    if isinstance(node, ast.Attribute) and node.attr in _REQUEST_PARTS and _mentions_request(node.value):
        return ast.unparse(node)
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else _key(node)
    lowered = name.lower()
    if any(word in lowered for word in (*_SECRET_WORDS, *_PERSONAL_WORDS)) and not lowered.endswith(_HARMLESS):
        return ast.unparse(node)
    return ""


def _key(node: ast.AST) -> str:
    """The name under which `node` takes something: `environ["SESSION_SECRET"]`, `claims.get("email")`, `getenv(…)`."""
    asked: ast.AST | None = node.slice if isinstance(node, ast.Subscript) else None
    if isinstance(node, ast.Call) and node.args and _last_name(node.func) in ("get", "pop", "getenv"):
        asked = node.args[0]
    return asked.value if isinstance(asked, ast.Constant) and isinstance(asked.value, str) else ""


_HARMLESS = ("_id", "_count", "_name", "_age", "_kind", "_path", "_error", "error", "_missing", "_expired")


def _unknown_notes(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    if not isinstance(node, ast.Call) or _last_name(node.func) != "note" or len(node.args) != 2:
        return
    owner = node.func.value if isinstance(node.func, ast.Attribute) else None
    named = node.args[0]
    if owner is None or "context" not in _last_name(owner).lower() or not isinstance(named, ast.Constant):
        return
    if isinstance(named.value, str) and named.value not in FIELD_NAMES:
        yield named, f"`{named.value}` is no field of the line schema"


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Call):
        return _last_name(node.func)
    return node.id if isinstance(node, ast.Name) else ""


RULES = declared(globals())
