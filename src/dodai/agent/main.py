"""The agent's process: reads one request as JSON from stdin, writes one answer as JSON to the descriptor it names.

    python -I main.py < request

Started by path in the user's interpreter (`call.py` does it): this folder and `frameworks` are loaded under names of
their own, so nothing of dodai gets onto `sys.path`. What the user's code prints goes to stderr.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import traceback
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


def describe(error: BaseException, own: Path) -> dict[str, Any]:
    """What went wrong, and the last place in the user's code."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((str(own), "<frozen"))]
    last = frames[-1] if frames else None
    return {
        "type": type(error).__qualname__,
        "message": str(error)[:500],
        "file": last.filename if last else "",
        "line": last.lineno if last else 0,
        "module": getattr(error, "name", None) if isinstance(error, ImportError) else None,
    }


def main() -> None:
    request = json.load(sys.stdin)
    out = os.fdopen(int(request["fd"]), "w", encoding="utf-8")
    os.dup2(2, 1)
    here = Path(__file__).resolve().parent
    try:
        load_package("dodai_agent", here)
        frameworks = load_package("dodai_frameworks", here.parent / "frameworks")
        from dodai_agent import audit, guard  # type: ignore[import-not-found]

        guard.install()
        answer = audit.audit(request, frameworks)
    except BaseException as error:  # noqa: BLE001 - SystemExit of an application is an answer too
        answer = {"error": describe(error, here.parent)}
    json.dump({"schema": "dodai.agent/1", **answer}, out)
    out.flush()
    os._exit(0)  # threads and exit handlers of the user's code have nothing to say any more


if __name__ == "__main__":
    main()
