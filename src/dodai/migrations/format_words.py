"""The words of each format: how its files say that they run without a transaction, and how they go back."""

from __future__ import annotations

from collections.abc import Mapping

from dodai.core.dataclass import dataclass
from dodai.migrations.policy import Format

ACCEPTED = "-- dodai: accept DOD223 REASON"
"""What has any SQL file run statement by statement, as it stands."""


@dataclass(frozen=True, slots=True)
class FormatWords:
    """Parts of sentences that say what to do.

    `mark` has a file run without a transaction; "" where the format has no such mark. `concurrently` is how a file
    builds an index that way, `drop_concurrently` how it drops one, `down` how a migration gets a way down, "" where the
    format knows none.
    """

    mark: str
    concurrently: str
    drop_concurrently: str
    down: str

    @property
    def alone(self) -> str:
        """What to do about a statement that no transaction may hold."""
        return self.mark or f"write `{ACCEPTED}` into the file, which then runs statement by statement"

    @property
    def own_transaction(self) -> str:
        """What to do about a file that begins or ends a transaction."""
        marked = f", or {self.mark}" if self.mark else ""
        return (
            f"remove BEGIN and COMMIT{marked}; a file that was applied elsewhere is run statement by statement as it"
            f" stands with `{ACCEPTED}` (a date behind `until` is for `check`: `up` does the same on every day)"
        )

    @property
    def way_down(self) -> str:
        """What to do about a migration that cannot be undone."""
        written = f"write {self.down}, or" if self.down else "write"
        return f"{written} a line `-- dodai: irreversible REASON` (in Python `# dodai: …`)"


def _sql(mark: str, with_mark: str, down: str) -> FormatWords:
    own = f"in a file of its own{with_mark}"
    return FormatWords(mark, f"use CREATE INDEX CONCURRENTLY {own}", f"use DROP INDEX CONCURRENTLY {own}", down)


_IN_A_BLOCK = "`with op.get_context().autocommit_block():`"
WORDS: Mapping[Format, FormatWords] = {
    "goose": _sql(
        "mark the file `-- +goose NO TRANSACTION`", " with `-- +goose NO TRANSACTION`", "a section `-- +goose Down`"
    ),
    "plain": _sql("", "", "the file of its way down, named `….down.sql` beside `….up.sql`"),
    "dbmate": _sql(
        "mark its section `-- migrate:up transaction:false`",
        " with `-- migrate:up transaction:false`",
        "a section `-- migrate:down`",
    ),
    "diesel": _sql(
        "put `run_in_transaction = false` into the `metadata.toml` beside it",
        " with `run_in_transaction = false` in the `metadata.toml` beside it",
        "the `down.sql` beside it",
    ),
    "prisma": _sql("", "", ""),
    "flyway": _sql("", "", "the `U` file of its version"),
    "alembic": FormatWords(
        f"put such statements into {_IN_A_BLOCK}",
        f"use `op.create_index(…, postgresql_concurrently=True)` in {_IN_A_BLOCK}",
        f"use `op.drop_index(…, postgresql_concurrently=True)` in {_IN_A_BLOCK}",
        "its `downgrade()`",
    ),
    "django": FormatWords(
        "say `atomic = False` in the migration",
        "use `AddIndexConcurrently` in a migration with `atomic = False`",
        "use `RemoveIndexConcurrently` in a migration with `atomic = False`",
        "`reverse_code` or `reverse_sql` for its operations",
    ),
}
