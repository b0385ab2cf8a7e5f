"""A row of `dodai doctor`: one thing that was looked at."""

from __future__ import annotations

from typing import Literal

from dodai.core.dataclass import dataclass

RowState = Literal["ok", "warning", "absent", "missing"]
"""`absent`: it is not there, and nothing here needs it; `missing`: something does."""


@dataclass(frozen=True, slots=True)
class DoctorRow:
    """One thing that was looked at: what it is, what was seen, and what to do when it is not good."""

    name: str
    verdict: RowState
    seen: str
    needed_for: str = ""
    fix: str = ""
