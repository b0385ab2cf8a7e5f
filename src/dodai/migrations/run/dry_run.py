"""What a run would do, and whether the files are fit for one; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.migrations import apply, ledger
from dodai.migrations.goose_file import files_of, nothing_found
from dodai.migrations.migration import FileProblem, Migration
from dodai.migrations.ports import MigrationTarget


@apply.coded()
def preview(
    target: MigrationTarget,
    *,
    allow_missing: bool = False,
    beside_tables: bool = False,
    to: str = "",
    note: Callable[[str], None] = lambda _: None,
) -> tuple[Migration, ...]:
    """What `up` would apply now, in the order of the files; raises what it would refuse (see `run.up`).

    The lock is not taken: a run that goes on at the same time is not waited for.
    """
    from dodai.migrations.goose_file import history_of

    migrations = history_of(target).sound()
    with target.reading() as conn:
        apply.check_connection(conn, target.policy, target.connect, note)
        state = apply.readable(lambda: ledger.read(conn, target.policy, target.tool))
        if not beside_tables and not state.ledger.present and not state.ledger.side_present:
            apply.refuse_unmanaged(conn)
    return apply.up_to(apply.pending(migrations, state, allow_missing=allow_missing), to, state).migrations


@dataclass(frozen=True, slots=True)
class Validation:
    """How many files were read, and what is wrong with them or with others."""

    files: int
    problems: tuple[FileProblem, ...] = ()

    def as_json(self) -> dict[str, Any]:
        problems = [
            {
                "code": p.code.id,
                "path": p.path,
                "line": p.line or None,
                "message": p.message,
                "fix": p.fix or p.code.fix.en,
            }
            for p in self.problems
        ]
        return {"schema": "dodai.migrate.validate/1", "files": self.files, "problems": problems}


def validate(target: MigrationTarget) -> Validation:
    """What can be said of the files alone: no server is asked, and nothing of the user's code is run."""
    folder = files_of(target)
    problems = list(folder.problems)
    if not folder.migrations and not problems:
        problems.append(nothing_found(target.root, target.policy.folder))
    if several := folder.several():
        problems.append(FileProblem(several.code, several.message, target.policy.folder, fix=several.fix))
    problems += [found for migration in folder.migrations if (found := apply.transaction_control(migration))]
    return Validation(len(folder.migrations), tuple(problems))
