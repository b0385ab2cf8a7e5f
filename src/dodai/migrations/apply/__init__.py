"""Apply and undo migrations on one database, one runner at a time, with a ledger that is true whatever happens."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dodai.migrations.apply.applied import Applied, Ran
    from dodai.migrations.apply.batch import apply_all
    from dodai.migrations.apply.blocker_watch import BlockerWatch
    from dodai.migrations.apply.failure_report import Account, cure
    from dodai.migrations.apply.file import Runner
    from dodai.migrations.apply.half_done import statement_checksum
    from dodai.migrations.apply.migration_status import MigrationEntry, Status, status
    from dodai.migrations.apply.pending_files import (
        baseline_command,
        baselines_of,
        edited,
        pending,
        transaction_control,
        transaction_statements,
        up_to,
    )
    from dodai.migrations.apply.preconditions import (
        check_connection,
        coded,
        lock_holder,
        only_runner,
        readable,
        refuse_unmanaged,
    )
    from dodai.migrations.apply.up_down import down, up

# `migrate up` is typed all day, mostly with nothing to do: what that does not need is loaded when it is asked for.
_LATER = {
    "apply_all": "batch",
    "Runner": "file",
    "statement_checksum": "half_done",
    "Account": "failure_report",
    "cure": "failure_report",
    "MigrationEntry": "migration_status",
    "Status": "migration_status",
    "status": "migration_status",
    "BlockerWatch": "blocker_watch",
    "Applied": "applied",
    "Ran": "applied",
    "baseline_command": "pending_files",
    "baselines_of": "pending_files",
    "edited": "pending_files",
    "pending": "pending_files",
    "transaction_control": "pending_files",
    "transaction_statements": "pending_files",
    "up_to": "pending_files",
    "check_connection": "preconditions",
    "coded": "preconditions",
    "lock_holder": "preconditions",
    "only_runner": "preconditions",
    "refuse_unmanaged": "preconditions",
    "readable": "preconditions",
    "down": "up_down",
    "up": "up_down",
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
    "baseline_command",
    "baselines_of",
    "check_connection",
    "coded",
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
