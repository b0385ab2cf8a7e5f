"""Code of the application's own that runs before any check has looked at a request, and may answer or act by itself.

Which code that is comes out of real requests: a cross-site one to every route, and one to a path that no route has.
What it may do is read in its source, because to find out by running it would be to do it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

from .reading import reads_as

NOWHERE = "/dodai-audit-nowhere"
_CHECKS = (
    ("dodai/csrf/enforce/", ""),
    ("flask_wtf/csrf.py", "protect"),
    ("django/middleware/csrf.py", "process_view"),
    ("litestar/middleware/csrf.py", "__call__"),
)
_KNOWN = frozenset({"dodai", "django", "flask-wtf", "litestar"})
_CALLERS = frozenset({"flask", "django", "starlette", "fastapi", "litestar", "anyio", "asgiref", "dodai_agent"})
_BETWEEN = 6
_NO_ANSWER = 0x20 | 0x200  # CO_GENERATOR, CO_ASYNC_GENERATOR: a lifespan, or a body that is streamed


@dataclass(frozen=True)
class Passed:
    """One function that a request went through: its name, and who called it (`flask.app`, `preprocess_request`)."""

    code: CodeType
    name: str
    caller: tuple[str, str]


class PassageRecorder:
    """Notes which functions below `roots` are called from outside while it is entered, up to a check and behind it."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = tuple(root.rstrip(os.sep) + os.sep for root in roots)
        self._own: dict[str, bool] = {}
        self._before: dict[CodeType, Passed] = {}
        self._behind: dict[CodeType, Passed] = {}
        self._checked = False
        self._found: dict[CodeType, Passed] = {}
        self._notes = False
        threading.setprofile(self._note)  # a thread that a pool keeps is started once, perhaps before the first request

    def __enter__(self) -> None:
        self._before, self._behind, self._checked = {}, {}, False
        self._notes = True
        sys.setprofile(self._note)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        self._notes = False

    def keep(self, refused_by: str) -> None:
        """Keep what ran; of a request that a known check refused, only what ran in front of that check."""
        self._found |= self._before if refused_by in _KNOWN else {**self._behind, **self._before}

    def rows(self) -> Iterator[tuple[Passed, str, tuple[str, ...]]]:
        """Each function that may answer or act, what it calls for that, and the paths it names."""
        for passed in self._found.values():
            told = reads_as(passed.code, passed.caller)
            if told is not None:
                yield passed, told.calls, told.paths

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or not self._notes:
            return
        code = frame.f_code
        if not self._is_own(code.co_filename):
            self._checked = self._checked or _is_check(code)
            return
        if code.co_flags & _NO_ANSWER:
            return
        name = f"{frame.f_globals.get('__name__', '')}.{getattr(code, 'co_qualname', code.co_name)}"
        called_by = self._caller(frame)
        (self._behind if self._checked else self._before).setdefault(code, Passed(code, _shown(name), called_by))

    def _caller(self, frame: FrameType) -> tuple[str, str]:
        """(module, function) of who wanted the call: a framework, libraries between left aside, or its own code."""
        caller = frame.f_back
        for _ in range(_BETWEEN):
            if caller is None:
                break
            module = str(caller.f_globals.get("__name__", ""))
            if module.partition(".")[0] in _CALLERS or self._is_own(caller.f_code.co_filename):
                return module, caller.f_code.co_name
            caller = caller.f_back
        return "", ""

    def _is_own(self, path: str) -> bool:
        if path not in self._own:
            self._own[path] = path.startswith(self._roots) and "site-packages" not in path
        return self._own[path]


def _is_check(code: CodeType) -> bool:
    return any(place in code.co_filename and name in ("", code.co_name) for place, name in _CHECKS)


def _shown(name: str) -> str:
    """The class where its one entrance is meant."""
    return name.removesuffix(".__call__").removesuffix(".dispatch")
