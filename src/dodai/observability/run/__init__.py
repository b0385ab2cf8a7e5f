"""What `dodai watch` runs: reading, evaluating, telling and showing."""

from __future__ import annotations

from dodai.observability.run.curves import Row
from dodai.observability.run.overview import Overview, overview
from dodai.observability.run.watcher import Watched, Watcher, locked

__all__ = ["Overview", "Row", "Watched", "Watcher", "locked", "overview"]
