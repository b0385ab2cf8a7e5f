"""The application side: what a process knows about itself and how its lines leave it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dodai.runtime.config import RuntimeConfig
    from dodai.runtime.failures import RequestIdFilter, lost_lines, stopping
    from dodai.runtime.process import Runtime
    from dodai.runtime.tasks import ContextExecutor, ContextThread, spawn

# A command only asks where the manifest is: what it does not need is loaded when it is asked for.
_LATER = {
    "RuntimeConfig": "dodai.runtime.config",
    "Runtime": "dodai.runtime.process",
    "lost_lines": "dodai.runtime.failures",
    "stopping": "dodai.runtime.failures",
    "ContextExecutor": "dodai.runtime.tasks",
    "ContextThread": "dodai.runtime.tasks",
    "spawn": "dodai.runtime.tasks",
    "RequestIdFilter": "dodai.runtime.failures",
}

__all__ = [
    "ContextExecutor",
    "ContextThread",
    "RequestIdFilter",
    "Runtime",
    "RuntimeConfig",
    "lost_lines",
    "spawn",
    "stopping",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(name)
    return getattr(import_module(_LATER[name]), name)
