"""The rules of migrations and how their facts are gathered."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

from dodai.core.fact import NotApplicable, Unknown
from dodai.migrations import ledger, sql
from dodai.migrations.apply import status
from dodai.migrations.apply.leftover import invalid_indexes
from dodai.migrations.check.base import queries_at, read_base
from dodai.migrations.check.facts import (
    Attempts,
    Base,
    BaseHistory,
    LiveSchema,
    MigrationHistory,
    QueriesTried,
    ShadowRun,
    Unversioned,
)
from dodai.migrations.check.git import GitError
from dodai.migrations.check.rules import RULES
from dodai.migrations.check.shadow import shadow_run
from dodai.migrations.goose_file import nothing_found, read_folder, statements_of
from dodai.migrations.lock_probe.rows import read_rows
from dodai.migrations.lock_probe.walk import run_file
from dodai.migrations.migration import Migration, Statement
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import MigrationTarget, Shadow, Tool
from dodai.migrations.queries import read_queries
from dodai.migrations.snapshot import snapshot

__all__ = [
    "RULES",
    "Attempts",
    "Base",
    "BaseHistory",
    "LiveSchema",
    "MigrationHistory",
    "QueriesTried",
    "Shadow",
    "ShadowRun",
    "gather_attempts",
    "gather_base",
    "gather_history",
    "gather_queries",
    "gather_shadow",
    "live_schema",
    "read_base",
]  # fmt: skip


Compared = Base | Unknown | NotApplicable
"""What `read_base` found."""


def gather_history(
    root: Path,
    policy: MigrationsPolicy,
    base: Compared,
    *,
    today: date,
    everything: bool = False,
    environment: Mapping[str, str] | None = None,
    reader: Tool | None = None,
) -> MigrationHistory | Unknown | NotApplicable:
    """The files; judged are those that the fork point with the base does not have, or all of them.

    `Unknown` with a base that is not here, unless all of them are judged: which files are new is then not known.
    `reader` is the tool of a history that is not SQL files.
    """
    if not (root / policy.folder).is_dir():
        return NotApplicable(f"there is no folder `{policy.folder}`")
    if isinstance(base, Unknown) and not isinstance(base, Unversioned) and not everything:
        return Unknown(base.reason, f"{base.fix}; `--all` judges every file, only not against a base")
    folder = reader.read() if reader else read_folder(root, policy.folder, environment, policy.format)
    if not folder.migrations and not folder.problems:
        folder = replace(folder, problems=(nothing_found(root, policy.folder),))
    ids = frozenset(m.id for m in folder.migrations)
    old = {m.id: m.token_sha256 for m in base.fork} if isinstance(base, Base) else {}
    fresh = frozenset(m.id for m in folder.migrations if old.get(m.id) != m.token_sha256)
    judged = ids if everything else fresh
    said = str(base) if isinstance(base, Base) else f"no base ({base.reason})"
    rows = read_rows(root, policy)
    return MigrationHistory(folder.migrations, folder.problems, judged, fresh, today, rows, folder.heads, said)


def gather_base(
    history: MigrationHistory | Unknown | NotApplicable, base: Compared
) -> BaseHistory | Unknown | NotApplicable:
    """The files beside those of the base."""
    if isinstance(history, NotApplicable):
        return history
    if isinstance(base, Base):
        return history if isinstance(history, Unknown) else BaseHistory(history.migrations, base)
    return base


def gather_attempts(run: ShadowRun | Unknown | NotApplicable) -> Attempts | Unknown | NotApplicable:
    """Which files applied in that walk."""
    return Attempts(run) if isinstance(run, ShadowRun) else run


def gather_queries(run: ShadowRun | Unknown | NotApplicable) -> QueriesTried | Unknown | NotApplicable:
    """What the queries came to in that walk."""
    return QueriesTried(run) if isinstance(run, ShadowRun) else run


def gather_shadow(
    root: Path,
    policy: MigrationsPolicy,
    history: MigrationHistory | Unknown | NotApplicable,
    base: Compared,
    shadow: Shadow,
    *,
    everything: bool = False,
    reader: Tool | None = None,
    assume_extensions: Collection[str] = (),
) -> ShadowRun | Unknown | NotApplicable:
    """The walk over an empty server, without the extensions that are assumed (`[check] assume_extensions`).

    Raises what `shadow` and `reader.rendered` raise.
    """
    if not isinstance(history, MigrationHistory):
        return history
    if history.problems and (reader or not history.migrations):
        first = history.problems[0]
        place = f"{first.path}:{first.line}" if first.line else first.path
        return Unknown(f"the files cannot be run while one cannot be read ({place})", first.fix or first.code.fix.en)
    if not history.migrations:
        return NotApplicable(f"`{policy.folder}` has no migration yet")
    try:
        old = queries_at(root, base.fork_commit, policy.queries) if isinstance(base, Base) and policy.queries else ()
    except GitError as error:
        return Unknown(f"the queries of `{policy.queries}` cannot be read from git: {error}")
    new = read_queries(root, policy.queries)
    if not history.judged and {one.sql for one in new} <= {one.sql for one in old}:
        return NotApplicable("nothing is new: `--all` runs every migration")
    if reader:
        history = replace(history, migrations=reader.rendered(shadow, history.judged).migrations)
    read = {migration.path for migration in history.migrations}
    unread = tuple(dict.fromkeys(problem.path for problem in history.problems if problem.path not in read))
    assumed = assumed_by(history.migrations, assume_extensions)
    if assumed:
        history = replace(history, migrations=without(history.migrations, assumed))
    return shadow_run(
        history, shadow, everything=everything, unread=unread, old_queries=old, new_queries=new, assumed=assumed
    )


_ABOUT = (("create", "extension"), ("alter", "extension"), ("drop", "extension"), ("comment", "on", "extension"))
_OPTIONAL = ("if", "not", "exists")


def without(migrations: Iterable[Migration], extensions: Collection[str]) -> tuple[Migration, ...]:
    """The migrations without their statements about `extensions`; lines keep their numbers."""
    return tuple(
        replace(each, up=tuple(_kept(each.up, extensions)), down=tuple(_kept(each.down, extensions)))
        for each in migrations
    )


def assumed_by(migrations: Iterable[Migration], extensions: Collection[str]) -> tuple[str, ...]:
    """Those of `extensions` that a statement of `migrations` is about."""
    spans = (span.text for each in migrations for statement in each.up for span in sql.statements(statement.sql))
    return tuple(sorted({name for text in spans if (name := _extension(text)) in extensions}))


def _kept(statements: Iterable[Statement], extensions: Collection[str]) -> Iterator[Statement]:
    for statement in statements:
        text = statement.sql
        for span in sql.statements(text) if "extension" in text.lower() else ():
            if _extension(span.text) in extensions:
                text = text.replace(span.text, "\n" * span.text.count("\n"), 1)
        if text == statement.sql:
            yield statement
        elif text.strip():
            yield replace(statement, sql=text)


def _extension(text: str) -> str:
    """The extension that a statement is about; "" for all others."""
    words = sql.words(text, 10)
    about = next((begin for begin in _ABOUT if words[: len(begin)] == begin), ())
    named = [word for word in words[len(about) :] if word not in _OPTIONAL]
    return named[0].strip('"') if about and named else ""


def live_schema(env: str, target: MigrationTarget, shadow: Shadow) -> LiveSchema:
    """Drift of `env`: its schema against that of its applied files on an empty server. Reads only."""
    seen = status(target)
    applied = set(seen.applied)
    files = [m for m in statements_of(target, shadow).migrations if m.id in applied]
    conn = target.connect()
    try:
        conn.autocommit = True
        place = ledger.locate(conn, target.policy, target.tool)
        found = snapshot(conn, place.table).ignoring_order
        invalid = invalid_indexes(conn)
    finally:
        conn.close()
    with shadow() as database:
        expected = database()()
        expected.autocommit = True
        for migration in files:
            run_file(expected, migration, "up")
        wanted = snapshot(expected, place.table).ignoring_order
        expected.close()
    return LiveSchema(env, seen, wanted.differences(found.without_schema(place.side, (wanted,))), invalid)
