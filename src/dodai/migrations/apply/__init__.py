"""Apply and undo migrations on one database, one runner at a time, with a ledger that is true whatever happens."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dodai.migrations.apply.applied import Applied, Ran
from dodai.migrations.apply.change import down, readable, up
from dodai.migrations.apply.guard import check_connection, lock_holder, only_runner
from dodai.migrations.apply.pending import edited, pending, transaction_control

if TYPE_CHECKING:
    from dodai.migrations.apply.batch import apply_all
    from dodai.migrations.apply.file import Runner, statement_checksum
    from dodai.migrations.apply.outcome import Account, cure
    from dodai.migrations.apply.standing import Entry, Status, status
    from dodai.migrations.apply.watch import BlockerWatch

# `migrate up` is typed all day, mostly with nothing to do: what that does not need is loaded when it is asked for.
_LATER = {
    "apply_all": "batch",
    "Runner": "file",
    "statement_checksum": "file",
    "Account": "outcome",
    "cure": "outcome",
    "Entry": "standing",
    "Status": "standing",
    "status": "standing",
    "BlockerWatch": "watch",
}

__all__ = [
    "Account",
    "Applied",
    "BlockerWatch",
    "Entry",
    "Ran",
    "Runner",
    "Status",
    "apply_all",
    "check_connection",
    "cure",
    "down",
    "edited",
    "lock_holder",
    "only_runner",
    "pending",
    "readable",
    "statement_checksum",
    "status",
    "transaction_control",
    "up",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(name)
    return getattr(import_module(f"dodai.migrations.apply.{_LATER[name]}"), name)
