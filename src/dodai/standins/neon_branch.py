"""Branches and operations of the Neon stand-in."""

from __future__ import annotations

import time
from dataclasses import field
from datetime import UTC, datetime

from dodai.core.dataclass import dataclass
from dodai.standins.branch_server import BranchServer

STAMP = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(slots=True)
class StandInBranch:
    """A branch; `endpoint` "" means that it has no compute. `stays`: a root that was restored from another."""

    id: str
    name: str
    server: BranchServer
    parent_id: str = ""
    default: bool = False
    protected: bool = False
    endpoint: str = ""
    disabled: bool = False
    created_at: str = field(default_factory=lambda: datetime.now(UTC).strftime(STAMP))
    replaces: str = ""
    stays: bool = False


@dataclass(slots=True)
class StandInOperation:
    """Work that ends at `due`, or fails then."""

    id: str
    action: str
    branch_id: str
    due: float
    fails: str = ""

    @property
    def status(self) -> str:
        if time.monotonic() < self.due:
            return "running"
        return "failed" if self.fails else "finished"
