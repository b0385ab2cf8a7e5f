"""A row of `dodai doctor`: one thing that was looked at."""

from __future__ import annotations

from typing import Literal

from dodai.core.dataclass import dataclass
from dodai.core.errors import Code, DodaiError

RowState = Literal["ok", "warning", "absent", "missing"]
"""`absent`: it is not there, and nothing here needs it; `missing`: something does."""


@dataclass(frozen=True, slots=True)
class DoctorRow:
    """One thing that was looked at: what it is, what was seen, and what to do when it is not good.

    `code`: the account of a vendor is not as the manifest says, or (`remark`) the manifest says nothing of it and a
    person should know. `unseen`: it could not be looked at, so nobody knows how it is.
    """

    name: str
    verdict: RowState
    seen: str
    needed_for: str = ""
    fix: str = ""
    code: Code | None = None
    remark: bool = False
    unseen: bool = False


def row_of_error(name: str, error: DodaiError, needed_for: str, code: Code) -> DoctorRow:
    """A thing that could not be looked at, or that is known not to be there: `error.data` says `absent` then."""
    absent = bool(error.data.get("absent"))
    return DoctorRow(
        name, "missing", error.message, needed_for, error.fix, code=code if absent else None, unseen=not absent
    )
