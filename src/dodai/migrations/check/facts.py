"""What the rules of migrations judge: the files and their past, a run on a shadow server, the live database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import date
from typing import ClassVar, Literal

from dodai.core.dataclass import dataclass
from dodai.core.fact import Cost, Unknown
from dodai.migrations.apply import Status
from dodai.migrations.lock_probe import StatementProbe
from dodai.migrations.migration import FileProblem, Migration
from dodai.migrations.queries import QueryTrial


@dataclass(frozen=True, slots=True)
class Base:
    """The branch that new files are compared with: what it has now, and what it had when this branch left it.

    `commit` is where it is, `fork_commit` where this branch left it.
    """

    cost: ClassVar[Cost] = "static"
    ref: str
    tip: tuple[Migration, ...] = ()
    fork: tuple[Migration, ...] = ()
    commit: str = ""
    fork_commit: str = ""

    def __str__(self) -> str:
        left = "" if self.fork_commit == self.commit else f", which this branch left at `{self.fork_commit[:9]}`"
        return f"`{self.ref}` (`{self.commit[:9]}`){left}"


@dataclass(frozen=True, slots=True)
class Unversioned(Unknown):
    """git does not know these files: each counts as new, and what became of them before is not judged."""


@dataclass(frozen=True, slots=True)
class MigrationHistory:
    """The files. `fresh` are the ids that are new against the base, `judged` these or all of them.

    `base` says what they were compared with, or why with nothing. `rows` are production's row counts, as far as they
    were saved.
    """

    cost: ClassVar[Cost] = "static"
    migrations: tuple[Migration, ...]
    problems: tuple[FileProblem, ...] = ()
    judged: frozenset[str] = frozenset()
    fresh: frozenset[str] = frozenset()
    today: date = date.min
    rows: Mapping[str, int] = field(default_factory=dict)
    heads: tuple[str, ...] = ()
    base: str = ""

    @property
    def seen(self) -> str:
        """What was looked at, for the report."""
        return (
            f"migrations: {len(self.fresh)} of {len(self.migrations)} new against {self.base},"
            f" {len(self.judged)} of {len(self.migrations)} judged"
        )

    @property
    def judged_migrations(self) -> tuple[Migration, ...]:
        return tuple(m for m in self.migrations if m.id in self.judged)


@dataclass(frozen=True, slots=True)
class BaseHistory:
    """The files beside those of the base; a fact of its own, because without git only these rules are silent."""

    cost: ClassVar[Cost] = "static"
    migrations: tuple[Migration, ...]
    base: Base


SHOWN = 5
"""How many of a long list a message names."""
Trip = Literal["not tried", "same", "order differs", "down fails", "differs after down", "up fails again",
               "differs after up"]  # fmt: skip


@dataclass(frozen=True, slots=True)
class ShadowTrial:
    """One migration on the shadow server. `failure` is the server's message, `line` where; "" when it went through.

    `state` is its SQLSTATE. `excuse` says why the failure may not be the migration's: it was not judged.
    """

    migration: Migration
    probes: tuple[StatementProbe, ...] = ()
    failure: str = ""
    line: int = 0
    state: str = ""
    excuse: Unknown | None = None
    trip: Trip = "not tried"
    trip_message: str = ""
    trip_line: int = 0
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ShadowRun:
    """Every migration applied to an empty throw-away server, the judged ones probed and taken down and up again.

    One that fails is left out, and the others go on without it. `lines` is the schema that they build, `unread` are
    the paths of files that could not be read and were left out too, `untried` says why no query was tried. `assumed`
    are the extensions whose statements were passed over.
    """

    cost: ClassVar[Cost] = "local"
    trials: tuple[ShadowTrial, ...]
    queries: tuple[QueryTrial, ...] = ()
    server: str = ""
    lines: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    untried: Unknown | None = None
    assumed: tuple[str, ...] = ()

    @property
    def seen(self) -> str:
        """What was looked at, for the report."""
        total = len(self.trials) + len(self.unread)
        ran = sum(not trial.failure for trial in self.trials)
        named = ", ".join(f"`{name}`" for name in self.assumed)
        without = f", without the extension {named}, which is assumed" if named else ""
        return f"migrations: {ran} of {total} applied to an empty PostgreSQL {self.server}{without}"

    @property
    def gaps(self) -> tuple[Unknown, ...]:
        """The files whose effects are not known, and why: what the others do together with them is not known either."""
        failed = [f"`{t.migration.path}` does not apply" for t in self.trials if t.failure and not t.excuse]
        return _gaps([Unknown(reason) for reason in failed] + self.excused, self.total)

    @property
    def total(self) -> int:
        return len(self.trials) + len(self.unread)

    @property
    def excused(self) -> list[Unknown]:
        """The files of which it is not known whether they apply."""
        unread = [Unknown(f"`{path}` cannot be read") for path in self.unread]
        return unread + [trial.excuse for trial in self.trials if trial.excuse]


@dataclass(frozen=True, slots=True)
class Attempts:
    """Which files apply. A fact of its own: of one that does not, just this is known."""

    cost: ClassVar[Cost] = "local"
    run: ShadowRun

    @property
    def gaps(self) -> tuple[Unknown, ...]:
        return _gaps(self.run.excused, self.run.total)


@dataclass(frozen=True, slots=True)
class QueriesTried:
    """What the queries came to. A fact of its own: they may be untried although every file was judged."""

    cost: ClassVar[Cost] = "local"
    run: ShadowRun

    @property
    def gaps(self) -> tuple[Unknown, ...]:
        return (*self.run.gaps, *([self.run.untried] if self.run.untried else ()))


def _gaps(missing: list[Unknown], total: int) -> tuple[Unknown, ...]:
    """All that is missing as one, with the first of them by name."""
    if not missing:
        return ()
    more = f"; and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
    named = "; ".join(one.reason for one in missing[:SHOWN])
    fix = next((one.fix for one in missing if one.fix), "")
    return (Unknown(f"{len(missing)} of {total} files were left out: {named}{more}", fix),)


@dataclass(frozen=True, slots=True)
class LiveSchema:
    """A live database beside what its applied migrations build; `differences` are `- line` expected, `+ line` found."""

    cost: ClassVar[Cost] = "live"
    env: str
    status: Status
    differences: tuple[str, ...] = ()
    invalid_indexes: tuple[str, ...] = ()
