"""The application side: what a process knows about itself and how its lines leave it."""

from __future__ import annotations

from dodai.runtime.config import RuntimeConfig
from dodai.runtime.process import Runtime
from dodai.runtime.tasks import ContextExecutor, ContextThread, spawn

__all__ = ["ContextExecutor", "ContextThread", "Runtime", "RuntimeConfig", "spawn"]
