"""Apply and undo migrations on one database, one runner at a time, with a ledger that is true whatever happens."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dodai.migrations.apply.applied import Applied, Ran
from dodai.migrations.apply.pending import edited, pending, transaction_control, transaction_statements, up_to
from dodai.migrations.apply.preconditions import check_connection, lock_holder, only_runner, refuse_unmanaged
from dodai.migrations.apply.up_down import down, readable, up

if TYPE_CHECKING:
    from dodai.migrations.apply.batch import apply_all
    from dodai.migrations.apply.blocker_watch import BlockerWatch
    from dodai.migrations.apply.failure_report import Account, cure
    from dodai.migrations.apply.file import Runner, statement_checksum
    from dodai.migrations.apply.migration_status import MigrationEntry, Status, status

# `migrate up` is typed all day, mostly with nothing to do: what that does not need is loaded when it is asked for.
_LATER = {
    "apply_all": "batch",
    "Runner": "file",
    "statement_checksum": "file",
    "Account": "failure_report",
    "cure": "failure_report",
    "MigrationEntry": "migration_status",
    "Status": "migration_status",
    "status": "migration_status",
    "BlockerWatch": "blocker_watch",
}

__all__ = [
    "Account",
    "Applied",
    "BlockerWatch",
    "MigrationEntry",
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
    "refuse_unmanaged",
    "statement_checksum",
    "status",
    "transaction_control",
    "transaction_statements",
    "up",
    "up_to",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(name)
    return getattr(import_module(f"dodai.migrations.apply.{_LATER[name]}"), name)
