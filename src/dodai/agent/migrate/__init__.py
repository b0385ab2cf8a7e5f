"""Migrations of another tool, listed or run by that tool in the user's interpreter.

A request has `tool` (`alembic`, `django`), `do` and what that needs. A run has `todo`, one `{"id", "row"}` for each
migration; it is answered once for each, and once more when the tool came to its end. The answer about a migration is
`{"limits", "before", "statements": [{"sql", "ms", "after", "operation"}], "committed", "failed"}`; one that failed is
the last. `row` is the statement that writes dodai's log: it is sent in the tool's own session, in the transaction in
which the tool records the migration, so that both say so or neither does.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_LIBRARIES = {
    "alembic": (
        "alembic.config",
        "alembic.script",
        "alembic.runtime.environment",
        "alembic.op",
        "sqlalchemy.dialects.postgresql",
    ),
    "django": (
        "django.core.management",
        "django.core.management.sql",
        "django.db.migrations.executor",
        "django.db.backends.postgresql.base",
    ),
}
"""What each of their commands loads before anything of the user's."""
_HISTORIES = {"alembic": (".alembic_history", "AlembicHistory"), "django": (".django_history", "DjangoHistory")}


def opened(
    request: Mapping[str, Any], guard: Any, answers: int, give: Callable[[dict[str, Any]], None]
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """What answers the requests of one conversation; raises what the user's code raises while it is loaded.

    `answers` is where the answers go: once nobody reads there any more this process ends, whatever it is doing.
    `give` gives an answer before the last one.
    """
    importlib.import_module("dodai_agent.audit").enter(request)
    threading.Thread(target=_end_with_reader, args=(answers,), daemon=True).start()
    module, name = _HISTORIES[request["tool"]]
    history: list[Any] = []
    usual = gc.get_threshold()
    gc.set_threshold(50_000, 10, 10)  # nearly all that is allocated while code loads are modules, which are kept

    def answer(asked: Mapping[str, Any]) -> dict[str, Any]:
        if asked["do"] == "warm":
            return _warm(_LIBRARIES[asked["tool"]])
        if not history:
            # Before anything of the user's is loaded: settings read their variables while they are.
            os.environ.update(asked.get("environ") or {})
            if not asked.get("url"):
                guard.install()  # what only reads needs no database, so it gets none
            history.append(getattr(importlib.import_module(module, __package__), name)(asked, give))
        if asked["do"] in ("run", "render"):
            gc.freeze()
            gc.set_threshold(*usual)
        found: dict[str, Any] = getattr(history[0], asked["do"])(asked)
        return found

    return answer


def _warm(modules: tuple[str, ...]) -> dict[str, Any]:
    """Load the tool and nothing of the user's; what cannot be loaded is said by the request that needs it."""
    for module in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    return {}


def _end_with_reader(answers: int) -> None:
    """Whoever asked is gone (`kill -9`): its lock is gone too, so nothing may go on here."""
    poll = select.poll()
    poll.register(answers, 0)
    poll.poll()
    os.kill(os.getpid(), signal.SIGKILL)


def failure(error: BaseException) -> dict[str, Any]:
    """What went wrong in a run: the driver's own error, its SQLSTATE, and the last place outside of libraries."""
    own = _driver_error(error)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    frames = [f for f in frames if not f.filename.startswith((str(Path(__file__).parents[1]), "<"))]
    last = frames[-1] if frames else None
    return {
        "type": f"{type(own).__module__.partition('.')[0]}.{type(own).__qualname__}".removeprefix("builtins."),
        "message": _words(own).strip().partition("\n")[0][:500],
        "file": last.filename if last else "",
        "line": last.lineno if last else 0,
        "sqlstate": _state(own),
        "refused": getattr(error, "refused", ""),
    }


def _words(error: BaseException) -> str:
    """The server's message where a driver puts the whole answer into its error (pg8000)."""
    first = error.args[0] if error.args else ""
    return str(first["M"]) if isinstance(first, dict) and "M" in first else str(error)


def _driver_error(error: BaseException) -> BaseException:
    """The innermost cause that carries an SQLSTATE, else the error itself."""
    seen, found = set[int](), error
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        if _state(each):
            found = each
        each = getattr(each, "orig", None) or each.__cause__ or each.__context__
    return found


def _state(error: BaseException) -> str:
    """Psycopg and asyncpg say `sqlstate`, psycopg2 `pgcode`, pg8000 a dictionary with `C`."""
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if not state and error.args and isinstance(error.args[0], dict):
        state = error.args[0].get("C")
    return state if isinstance(state, str) and len(state) == 5 else ""
