"""The agent's process: a request is a line of JSON on stdin, its answer a line on the descriptor that it names.

    python -I main.py < requests

Started by path in the user's interpreter (`call.py` does it): this folder and `frameworks` are loaded under names of
their own, so nothing of dodai gets onto `sys.path`. What the user's code prints goes to stderr.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any


def load_package(name: str, folder: Path) -> ModuleType:
    """The package in `folder`, under another name than its own."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load `{folder}`")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def describe(error: BaseException, own: Path, roots: tuple[str, ...] = ()) -> dict[str, Any]:
    """What went wrong, and the last place in the user's own code, which stands in `roots`; else in anybody's."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((str(own), "<frozen"))]
    theirs = [f for f in frames if f.filename.startswith(roots) and "site-packages" not in f.filename]
    last = next(iter([*reversed(theirs), *reversed(frames)]), None)
    guard = sys.modules.get("dodai_agent.audit_hook")
    before = [said for said in (guard.refused if guard else ()) if said not in str(error)]
    return {
        "type": type(error).__qualname__,
        "message": str(error)[:500] + (f" (refused before it: {before[-1]})" if before else ""),
        "file": last.filename if last else "",
        "line": last.lineno if last else 0,
        "module": getattr(error, "name", None) if isinstance(error, ImportError) else None,
    }


def main() -> None:
    request = json.loads(sys.stdin.readline())
    out = os.fdopen(int(request["fd"]), "w", encoding="utf-8")
    os.dup2(2, 1)
    here = Path(__file__).resolve().parent
    answer_to = None

    def give(answer: dict[str, Any]) -> None:
        """One answer; a request for several things has several."""
        out.write(json.dumps({"schema": "dodai.agent/1", **answer}) + "\n")
        out.flush()

    while request:
        try:
            answer_to = answer_to or loaded(request, here, out.fileno(), give)
            answer = answer_to(request)
        except BaseException as error:  # noqa: BLE001 - SystemExit of an application is an answer too
            answer = {"error": describe(error, here.parent, tuple(request.get("path") or ()))}
        give(answer)
        request = json.loads(sys.stdin.readline() or "null")
    os._exit(0)  # threads and exit handlers of the user's code have nothing to say any more


def loaded(
    request: Any, here: Path, answers: int, give: Callable[[dict[str, Any]], None]
) -> Callable[[Any], dict[str, Any]]:
    """What answers requests of the first one's kind."""
    load_package("dodai_agent", here)
    from dodai_agent import audit_hook  # type: ignore[import-not-found]

    if "tool" in request:
        from dodai_agent import migrate

        migrating: Callable[[Any], dict[str, Any]] = migrate.opened(request, audit_hook, answers, give)
        return migrating
    if "templates" in request:
        from dodai_agent import templates

        expanding: Callable[[Any], dict[str, Any]] = templates.opened(request, audit_hook)
        return expanding
    from dodai_agent import audit

    frameworks = load_package("dodai_frameworks", here.parent / "frameworks")
    audit_hook.install()
    return lambda asked: audit.audit(asked, frameworks)


if __name__ == "__main__":
    main()
