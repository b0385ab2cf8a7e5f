"""Say what is true where dodai cannot find out by itself; every word of it goes into the log with its reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.migrations import apply, codes, ledger
from dodai.migrations.apply import statement_checksum
from dodai.migrations.goose_file import history_of
from dodai.migrations.migration import Migration
from dodai.migrations.ports import MigrationTarget, SqlConnection
from dodai.migrations.run.author import new_run

Was = Literal["", "done", "undone"]


@dataclass(frozen=True, slots=True)
class Corrected:
    """What was written down about one migration; `did` is a sentence."""

    id: str
    did: str


@dataclass(frozen=True, slots=True)
class Repaired:
    """All that one repair wrote down, for one reason."""

    rows: tuple[Corrected, ...]
    reason: str

    def as_json(self) -> dict[str, Any]:
        rows = [{"id": row.id, "did": row.did} for row in self.rows]
        return {"schema": "dodai.migrate.repair/2", "repaired": rows, "reason": self.reason}


@apply.coded()
def repair(
    target: MigrationTarget,
    *versions: str,
    reason: str,
    statement: int = 0,
    was: Was = "",
    admit: Callable[[SqlConnection], None] = lambda _: None,
) -> Repaired:
    """Correct the record of migrations, never the schema; of all of them or, when one has nothing to repair, of none.

    An edited file: what it says now counts as applied. A file that is gone: the ledger row is removed. With
    `statement` and `was`: how an interrupted statement of a NO TRANSACTION file ended. `admit` looks at the database
    first and may refuse it. Raises DOD284 when there is nothing to repair.
    """
    if statement and len(versions) > 1:
        raise DodaiError(codes.LEDGER_UNUSABLE, "`--statement` is about one version", "name that one", exit_code=2)
    if not reason.strip():
        raise DodaiError(codes.LEDGER_UNUSABLE, "a repair needs a reason", "add `--reason TEXT`", exit_code=2)
    files = {m.id: m for m in history_of(target).migrations}
    conn = target.connect()
    try:
        admit(conn)
        conn.autocommit = True
        with apply.only_runner(conn, target.policy, lambda _: None):
            return _repair(
                target, conn, [(id_, files.get(id_)) for id_ in dict.fromkeys(versions)], reason, statement, was
            )
    finally:
        conn.close()


def _repair(
    target: MigrationTarget,
    conn: SqlConnection,
    versions: Sequence[tuple[str, Migration | None]],
    reason: str,
    statement: int,
    was: Was,
) -> Repaired:
    state = ledger.read(conn, target.policy, target.tool)
    if not state.ledger.side_present:
        raise _nothing(versions[0][0], "nothing was ever applied by dodai here")
    found = [
        _settle(conn, state.ledger, version, file, statement, was, reason)
        if statement
        else _corrected(state, version, file, reason)
        for version, file in versions
    ]
    run = new_run()
    ledger.begin_run(conn, run, "repair", state.ledger, replace(target.author(), approval=reason))
    conn.execute(f"BEGIN; {''.join(script for _, script in found).replace(_RUN, run)} COMMIT;")
    ledger.finish_run(conn, state.ledger, run, "done")
    rows = (Corrected(version, did) for (version, _), (did, _) in zip(versions, found, strict=True))
    return Repaired(tuple(rows), reason)


def _corrected(state: ledger.State, version: str, file: Migration | None, reason: str) -> tuple[str, str]:
    """What is done about one migration, and the statements that do it."""
    if file is None and version in state.ids:
        gone = Migration(version, 0, "", "", (), (), transactional=True, raw_sha256="", token_sha256="")
        row = ledger.log_sql(state.ledger, _RUN, gone, "down", "repaired", note=reason)
        return "removed from the ledger, its file is gone", ledger.record_sql(state.ledger, gone, "down") + row
    if file is not None and apply.edited([file], state):
        row = ledger.log_sql(state.ledger, _RUN, file, "up", "repaired", note=reason)
        return "what the file says now counts as applied", row
    raise _nothing(version, "its file and the ledger agree")


_RUN = "00000000000000000000000000000000"


def _settle(
    conn: SqlConnection,
    place: ledger.Ledger,
    version: str,
    file: Migration | None,
    statement: int,
    was: Was,
    reason: str,
) -> tuple[str, str]:
    if file is None or was not in ("done", "undone"):
        raise _nothing(version, "say `--was done` or `--was undone`, and keep the file")
    if ledger.progress(conn, place, version, "up").started != statement:
        raise _nothing(version, f"statement {statement} was not interrupted")
    event: ledger.Event = "done" if was == "done" else "repaired"
    checksum = statement_checksum(file.up[statement - 1])
    row = ledger.log_sql(place, _RUN, file, "up", event, statement=statement, checksum=checksum, note=reason)
    return f"statement {statement} counts as {was}", row


def _nothing(version: str, why: str) -> DodaiError:
    message = f"`{version}` has nothing to repair: {why}"
    return DodaiError(codes.LEDGER_UNUSABLE, message, f"see `{proposal.MIGRATE_STATUS()}`", exit_code=1)
