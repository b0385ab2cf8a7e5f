"""`dodai trace ID`: one request through every tier. Runs before the command line library is loaded."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from typing import TYPE_CHECKING, Any

from dodai.core.request import is_request_id
from dodai.observability.trace.find import FoundLines, default_roots, find, line_folders
from dodai.observability.trace.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from dodai.core.errors import DodaiError
    from dodai.observability.ports import KeptLines

__all__ = ["Tree", "find", "main", "trace_json"]

_POLL_S = 0.2
_NAMED = 3
_SEALER = "import sys; from dodai.observability.segment import seal_all; [seal_all(each) for each in sys.argv[1:]]"
_LONGEST = re.compile(rb'^[ \t]*longest_request[ \t]*=[ \t]*["\'](\d+(?:\.\d+)?)\s*(ms|s|m|h|d)["\']', re.MULTILINE)
_UNITS_S = {b"ms": 0.001, b"s": 1.0, b"m": 60.0, b"h": 3600.0, b"d": 86400.0}


class _Words:
    """The command line, understood."""

    __slots__ = ("as_json", "follow_s", "lines_at", "request_id", "roots")

    def __init__(self, lines_at: Callable[[str], KeptLines]) -> None:
        self.lines_at = lines_at
        self.request_id = ""
        self.as_json = False
        self.follow_s: float | None = None
        self.roots: list[str] = []


def main(words: list[str], lines_at: Callable[[str], KeptLines]) -> int:
    """The exit code of `dodai trace`: 0 found, 1 nothing found (DOD481), 2 usage, 130 interrupted.

    `lines_at` says who keeps lines at an address.
    """
    asked = _Words(lines_at)
    try:
        _parse(words, asked)
    except ValueError as error:
        return _fail(_usage(str(error)), as_json="--json" in words)
    try:
        return _run(asked)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


def trace_json(request_id: str, found: FoundLines, took_s: float) -> dict[str, Any]:
    """The `dodai.trace/1` document."""
    tree = Tree(found.lines)
    return {
        "schema": "dodai.trace/1",
        "requestId": request_id,
        "failed": tree.failure,
        "refused": tree.refusal,
        "tree": tree.as_json(),
        "lines": found.lines,
        "unreadable": found.torn,
        "unread": sorted(found.unread),
        "tookMs": round(took_s * 1000.0, 3),
    }


def _run(asked: _Words) -> int:
    roots = asked.roots or default_roots(dict(os.environ), os.getcwd())  # noqa: PTH109 - no pathlib on this path
    until = time.monotonic() + (asked.follow_s or 0.0)
    longest_s = longest_request_s([os.environ.get("DODAI_MANIFEST", ""), *map(_manifest_beside, roots)])
    servers = [root for root in roots if root.startswith(("http://", "https://", "env:"))]
    shown = 0
    while True:
        started = time.perf_counter()
        folders = line_folders([root for root in roots if root not in servers])
        found = find(asked.request_id, folders, longest_request_s=longest_s)
        unasked = _ask_servers(asked, servers, found)
        if len(found.lines) > shown:
            shown = len(found.lines)
            _print(asked, found, time.perf_counter() - started)
        if asked.follow_s is None or time.monotonic() >= until:
            break
        time.sleep(_POLL_S)
    if unasked:
        return _fail(_not_asked(unasked), as_json=asked.as_json)
    if not shown:
        return _fail(_not_found(asked.request_id, roots, sorted(found.unread)), as_json=asked.as_json)
    _seal(found)
    return 0


def _ask_servers(asked: _Words, servers: list[str], found: FoundLines) -> list[str]:
    """Add what they have to `found`; what is wrong with those that did not say."""
    if not servers:
        return []
    from dodai.observability.trace.find import read_back  # nobody needs it who looks in files

    unasked = []
    for server in servers:
        try:
            found.add(read_back(asked.lines_at(server), asked.request_id))
        except (OSError, ValueError) as error:
            unasked.append(f"`{server}` cannot be asked: {error}")
    found.lines.sort(key=lambda line: float(line.get("ts", 0.0)))
    return unasked


def longest_request_s(manifests: list[str]) -> float:
    """`[observability] longest_request` of the first of these manifests that says it, else 60 seconds.

    One line is looked for, because a parser and the validation would take longer than the whole lookup. No other table
    has a key of this name.
    """
    for path in manifests:
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - no pathlib on this path
                said = _LONGEST.search(file.read())
        except OSError:
            continue
        if said:
            return float(said[1]) * _UNITS_S[said[2]]
    return 60.0


def _manifest_beside(root: str) -> str:
    """The manifest of the project whose `.dodai` the state folder `root` is, or is in."""
    folder = os.path.abspath(root)  # noqa: PTH100 - no pathlib on this path
    project, state, _ = folder.rpartition(os.sep + ".dodai")
    return os.path.join(project if state else folder, "dodai.toml")  # noqa: PTH118


def _print(asked: _Words, found: FoundLines, took_s: float) -> None:
    if asked.as_json:
        import json

        text = json.dumps(trace_json(asked.request_id, found, took_s), ensure_ascii=False, indent=2)
    else:
        from dodai.observability.trace.show import render

        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") not in ("utf8", "utf8sig")
        tree, unread = Tree(found.lines), sorted(found.unread)
        text = render(asked.request_id, tree, found.torn, unread=unread, colour=colour, ascii_only=ascii_only)
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    sys.stdout.flush()


def _seal(found: FoundLines) -> None:
    """Seal what had to be read line by line, once the answer is out; the next lookup is faster.

    By another process, because a large file takes a minute and nobody waits for it with a prompt.
    """
    if not found.unsealed:
        return
    words = [sys.executable, "-c", _SEALER, *sorted(found.unsealed)]
    nowhere = [(os.POSIX_SPAWN_OPEN, descriptor, os.devnull, os.O_RDWR, 0) for descriptor in (0, 1, 2)]
    with contextlib.suppress(OSError):
        os.posix_spawn(sys.executable, words, dict(os.environ), file_actions=nowhere, setsid=True)


def _parse(words: list[str], asked: _Words) -> None:
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word == "--json":
            asked.as_json = True
        elif name in ("--state", "--env", "--for"):
            value = value if equals else rest.pop(0) if rest else ""
            if not value:
                raise ValueError(f"`{name}` needs a value")
            if name == "--state":
                asked.roots.append(value)
            elif name == "--env":
                asked.roots.append(f"env:{value}")
            else:
                asked.follow_s = _seconds(value)
        elif word == "--follow":
            asked.follow_s = float("inf") if asked.follow_s is None else asked.follow_s
        elif word.startswith("-"):
            raise ValueError(f"unknown option `{word}`")
        elif asked.request_id:
            raise ValueError(f"one request id at a time, `{word}` is a second one")
        else:
            asked.request_id = word.strip()
    if not is_request_id(asked.request_id.encode("utf-8", "replace")):
        raise ValueError(f"`{asked.request_id}` is no request id (8 to 64 letters, digits and `._:-`)")


def _seconds(value: str) -> float:
    try:
        seconds = float(value.removesuffix("s"))
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds < float("inf"):
        raise ValueError(f"`--for {value}` is no number of seconds")
    return seconds


def _usage(message: str) -> DodaiError:
    from dodai.core import proposal
    from dodai.core.codes import USAGE
    from dodai.core.errors import DodaiError

    return DodaiError(USAGE, message, f"see `{proposal.TRACE_HELP()}`", exit_code=2)


def _not_asked(problems: list[str]) -> DodaiError:
    from dodai.core.errors import DodaiError
    from dodai.observability.codes import TRACE_NOT_FOUND

    return DodaiError(TRACE_NOT_FOUND, "; ".join(problems), TRACE_NOT_FOUND.fix.en, exit_code=1)


def _not_found(request_id: str, roots: list[str], unread: list[str]) -> DodaiError:
    from dodai.core.errors import DodaiError
    from dodai.observability.codes import TRACE_NOT_FOUND

    where = ", ".join(f"`{root}`" for root in roots) or "no state folder (`.dodai`) here or above"
    message = f"no line has the id `{request_id}`, looked in {where}"
    if unread:
        message += f"; not read, because compressed: {', '.join(f'`{path}`' for path in unread[:_NAMED])}"
        message += f" and {len(unread) - _NAMED} more" * (len(unread) > _NAMED)
    return DodaiError(TRACE_NOT_FOUND, message, TRACE_NOT_FOUND.fix.en, exit_code=1)


def _fail(error: DodaiError, *, as_json: bool) -> int:
    if as_json:
        import json

        body = {"schema": "dodai.error/1", "error": error.as_json(), "exitCode": error.exit_code}
        sys.stdout.write(json.dumps(body, ensure_ascii=False, indent=2) + "\n")
    else:
        text = f"{error.code.id} {error.code.name}: {error.message}\n  fix: {error.fix}\n  why: {error.code.why.en}\n"
        encoding = sys.stderr.encoding or "utf-8"
        sys.stderr.write(text.encode(encoding, "replace").decode(encoding))
    return error.exit_code
