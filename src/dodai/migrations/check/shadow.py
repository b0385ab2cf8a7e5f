"""Every migration on an empty throw-away server: applied, measured, taken down and applied again."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import field, replace
from functools import partial

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.fact import Unknown
from dodai.migrations import lock_probe
from dodai.migrations.check.facts import MigrationHistory, ShadowRun, ShadowTrial, Trip
from dodai.migrations.goose_file import history_of
from dodai.migrations.lock_probe.walk import StatementError, probe_file, run_file, run_inside
from dodai.migrations.look import Look, look
from dodai.migrations.migration import Direction, Migration
from dodai.migrations.ports import Connect, MigrationTarget, Shadow, SqlConnection
from dodai.migrations.queries import Query, QueryTrial, breaks, broken
from dodai.migrations.snapshot import own_rows, snapshot

_CLUSTER_WIDE = "SELECT rolname FROM pg_roles UNION ALL SELECT spcname FROM pg_tablespace ORDER BY 1"
_NO_EXTENSION = re.compile(r'extension "([^"]+)" is not available|control file ".*?/([^/"]+)\.control"')
_UNDEFINED = ("42704", "42883", "42P01", "42703", "3F000")
"""States in which something that a file names is not there (PostgreSQL appendix A)."""
_ONLY_TOGETHER = ("55006", "55P04", "25001")
"""States in which a way down, or the second way up, fails only because it shares a transaction with the other."""


@dataclass(slots=True)
class _Course:
    """The state of one walk over the history: the connection, the schema so far, the tables that count as old.

    `seen` is the last look at it outside of a transaction, which the next builds on; `is_current` says that nothing ran
    since: a file that was not judged, or one that left other columns.
    `applied` are the files that went through, `left_out` the paths of those that did not, or could not be read.
    """

    shadow: Shadow
    stack: ExitStack
    database: Callable[[], Connect]
    conn: SqlConnection
    own: list[str]
    left_out: list[str]
    applied: list[Migration] = field(default_factory=list)
    seen: Look | None = None
    is_current: bool = False
    known: frozenset[int] | None = None
    known_names: frozenset[str] = frozenset()

    def look(self) -> Look:
        """The schema now, read only where it may have changed."""
        if not self.is_current or self.seen is None:
            self.seen, self.is_current = look(self.conn, self.seen), True
        return self.seen

    def another(self) -> SqlConnection:
        """An empty database, on a server of its own where this one has roles now that would be in the way."""
        if _cluster_wide(self.conn) != self.own:
            self.database = self.stack.enter_context(self.shadow())
        return _fresh(self.database)


def shadow_run(
    history: MigrationHistory,
    shadow: Shadow,
    *,
    everything: bool,
    unread: Sequence[str] = (),
    old_queries: Sequence[Query] = (),
    new_queries: Sequence[Query] = (),
    assumed: tuple[str, ...] = (),
) -> ShadowRun:
    """Apply all, probe and round-trip the judged ones. A file that fails is left out, and the walk goes on.

    With `everything` a table counts as old once an earlier file made it, otherwise only those that files outside
    the judged made: what one branch creates is empty in production when the branch's next file comes.
    """
    *earlier, last = _parts([m.id for m in history.migrations if m.id in history.judged])
    walk = partial(_walk, history, shadow, everything=everything, unread=unread, assumed=assumed)
    with ThreadPoolExecutor(len(earlier) or 1) as pool:
        beside = [pool.submit(walk, part) for part in earlier]
        found = walk(last, old_queries=old_queries, new_queries=new_queries, to_the_end=True)
        trials = {trial.migration.id: trial for trial in found.trials}
        for part, other in zip(earlier, beside, strict=True):
            trials |= {trial.migration.id: trial for trial in other.result().trials if trial.migration.id in part}
    return replace(found, trials=tuple(trials.values()), assumed=assumed)


def _walk(
    history: MigrationHistory,
    shadow: Shadow,
    judged: frozenset[str],
    *,
    everything: bool,
    unread: Sequence[str],
    assumed: Sequence[str] = (),
    old_queries: Sequence[Query] = (),
    new_queries: Sequence[Query] = (),
    to_the_end: bool = False,
) -> ShadowRun:
    """One walk on a server of its own, in which `judged` are probed; it ends behind the last of them."""
    with ExitStack() as stack:
        database = stack.enter_context(shadow())
        conn = _fresh(database)
        course = _Course(shadow, stack, database, conn, _cluster_wide(conn), list(unread))
        server = conn.execute("SHOW server_version", prepare=False).fetchone()[0]
        trials: list[ShadowTrial] = []
        left = len(judged)
        for migration in history.migrations:
            if not left and not to_the_end:
                break
            left -= migration.id in judged
            trial = _try(course, migration, judged=migration.id in judged, everything=everything)
            trials.append(_excused(trial, course.left_out, server, assumed))
            if trial.failure:
                course.left_out.append(migration.path)
        lines = snapshot(course.conn).lines if to_the_end else ()
        queries: tuple[QueryTrial, ...] | Unknown = ()
        old = [m for m in history.migrations if m.id not in history.fresh]
        if old and history.fresh and not course.left_out and (old_queries or new_queries):
            queries = _try_queries(course, old, old_queries, new_queries)
        own = () if course.left_out else tuple(broken(new_queries, old_queries, course.conn))
        course.conn.close()
    untried = queries if isinstance(queries, Unknown) else None
    tried = () if isinstance(queries, Unknown) else queries
    return ShadowRun(tuple(trials), (*tried, *own), server, lines, tuple(unread), untried)


ALONE = 60
"""So many files are judged by one walk; the start of another server costs as much as judging ten of them."""
_FIRST_SHARE = 0.62
"""The later a file comes, the bigger the schema that is looked at: with this share both halves take equally long."""


def _parts(judged: Sequence[str]) -> list[frozenset[str]]:
    """What each walk judges: with many files, and a processor for each, two walks on two servers."""
    if len(judged) <= ALONE or (os.cpu_count() or 1) < 2:
        return [frozenset(judged)]
    cut = int(len(judged) * _FIRST_SHARE)
    return [frozenset(judged[:cut]), frozenset(judged[cut:])]


def _excused(trial: ShadowTrial, left_out: Sequence[str], server: str, assumed: Sequence[str]) -> ShadowTrial:
    """`trial` with the reason why its failure may not be its own: what it needs was left out, or is not installed."""
    if not trial.failure:
        return trial
    path = trial.migration.path
    if found := _NO_EXTENSION.search(trial.failure):
        said = f"`{path}` needs the extension `{found[1] or found[2]}`, which PostgreSQL {server} here does not have"
        fix = (
            "install it for a PostgreSQL of this machine, and name that with `[database] major`; or name a server that"
            " has it and that nobody uses, such as a container, with `[database] shadow_url`; or name it in"
            " `[check] assume_extensions`: what needs it is then not judged"
        )
        return replace(trial, excuse=Unknown(said, fix))
    if assumed and trial.state in _UNDEFINED:
        named = ", ".join(f"`{name}`" for name in assumed)
        said = f"`{path}` may need the extension {named}, which is assumed: {trial.failure}"
        return replace(trial, excuse=Unknown(said))
    if left_out:
        which = f"`{left_out[0]}`" + (f" and {len(left_out) - 1} more" if len(left_out) > 1 else "")
        return replace(trial, excuse=Unknown(f"`{path}` does not apply without {which}: {trial.failure}"))
    return trial


def _try_queries(
    course: _Course,
    migrations: Sequence[Migration],
    old_queries: Sequence[Query],
    new_queries: Sequence[Query],
) -> tuple[QueryTrial, ...] | Unknown:
    """Both releases' queries on both schemas: while one release replaces the other each meets each."""
    old = course.another()
    try:
        for migration in migrations:
            try:
                run_file(old, migration, "up")
            except StatementError as error:
                said = f"`{migration.path}` does not apply without the new files: {_said(migration, error)}"
                return Unknown(f"no query was tried on the schema before them: {said}")
        return (
            *breaks(old_queries, fits=old, tried=course.conn, which="old query, new schema"),
            *breaks(new_queries, fits=course.conn, tried=old, which="new query, old schema"),
        )
    finally:
        old.close()


def _fresh(database: Callable[[], Connect]) -> SqlConnection:
    conn = database()()
    conn.autocommit = True
    return conn


def _cluster_wide(conn: SqlConnection) -> list[str]:
    return [row[0] for row in own_rows(conn, _CLUSTER_WIDE)]


def _try(course: _Course, migration: Migration, *, judged: bool, everything: bool) -> ShadowTrial:
    conn = course.conn
    try:
        if not judged:
            course.is_current = False
            run_file(conn, migration, "up")
            course.applied.append(migration)
            return ShadowTrial(migration)
        if course.known is None and not everything:
            tables = lock_probe.tables(conn)
            course.known, course.known_names = frozenset(tables), frozenset(table.name for table in tables.values())
        before = course.look()
        old = frozenset(lock_probe.tables(conn)) if everything and not migration.transactional else course.known
        course.is_current = False
        walked = probe_file(conn, migration, old)
    except StatementError as error:
        if not migration.transactional:
            _rebuild(course)
        return ShadowTrial(migration, failure=_said(migration, error), line=error.line, state=error.state)
    probes = walked.probes
    if migration.transactional and any(effect.dropped for each in probes for effect in each.effects):
        probes = lock_probe.lasting(probes, walked.before, walked.after)
    after = course.look()
    course.applied.append(migration)
    trial = ShadowTrial(migration, probes)
    return _round_trip(course, trial, before, after) if migration.reversible else trial


def _round_trip(course: _Course, trial: ShadowTrial, before: Look, after: Look) -> ShadowTrial:
    """Down must lead back to the schema before, and Up again to the one after; column order is told apart.

    In one transaction that is rolled back where that is possible: whatever came of it, the next file finds the schema
    that this one makes. Otherwise on an own pass, after which the schema is built anew when it is not the same.
    """
    migration, conn = trial.migration, course.conn
    if migration.transactional:
        conn.execute("BEGIN")
        found = _there_and_back(conn, trial, before, after, run_inside)
        if conn.info.transaction_status:
            conn.execute("ROLLBACK")
        if found.state not in _ONLY_TOGETHER:
            return found
    found = _there_and_back(conn, trial, before, after, run_file)
    if found.trip == "order differs":
        course.is_current = False
        return found
    untouched = found.trip == "same" or (found.trip == "down fails" and migration.transactional)
    if not untouched and (error := _rebuild(course)):
        return replace(found, failure=f"on a second empty database: {error.message}", line=error.line)
    return found


def _there_and_back(
    conn: SqlConnection, trial: ShadowTrial, before: Look, after: Look, run: Callable[..., object]
) -> ShadowTrial:
    seen: Trip = "same"
    ways: tuple[tuple[Direction, Look, Trip, Trip], ...] = (
        ("down", before, "down fails", "differs after down"),
        ("up", after, "up fails again", "differs after up"),
    )
    for direction, wanted, fails, differs in ways:
        try:
            run(conn, trial.migration, direction)
        except StatementError as error:
            return replace(
                trial, trip=fails, trip_message=_said(trial.migration, error), trip_line=error.line, state=error.state
            )
        if (found := look(conn, after)).is_same(wanted):
            continue
        if lines := wanted.snapshot.undone(found.snapshot):
            return replace(trial, trip=differs, differences=lines)
        seen = "order differs"
    return replace(trial, trip=seen)


def _said(migration: Migration, error: StatementError) -> str:
    """The server's words, except where they may quote a value that ENVSUB put into a statement."""
    return f"failed (its text is hidden: ENVSUB; SQLSTATE `{error.state}`)" if migration.hides_text else error.message


def _rebuild(course: _Course) -> StatementError | None:
    """A bad way down must not poison the files after it: start again on an empty database.

    Returns the error of the first file that does not apply a second time.
    """
    conn = course.another()
    course.conn.close()
    course.conn, course.seen, course.is_current = conn, None, False
    first: StatementError | None = None
    for migration in tuple(course.applied):
        try:
            run_file(conn, migration, "up")
        except StatementError as error:
            course.applied.remove(migration)
            course.left_out.append(migration.path)
            first = first or error
    if course.known is not None:
        now = lock_probe.tables(conn)
        course.known = frozenset(oid for oid, table in now.items() if table.name in course.known_names)
    return first


def locks(there: MigrationTarget, shadow_of: Callable[[], Shadow], pending: Collection[str] | None) -> Iterator[str]:
    """A line for each lock that the files `pending` take on tables that older files made; why not, where not known."""
    if pending is None:
        yield "unknown: the database does not run, so what is pending is not known"
    if not pending:
        return
    judged = frozenset(pending)
    try:
        folder = history_of(there)
        history = MigrationHistory(folder.migrations, folder.problems, judged, judged)
        tried = shadow_run(history, shadow_of(), everything=False)
    except DodaiError as error:
        yield f"unknown: {error.message}"
        return
    found = [line for trial in tried.trials if trial.migration.id in judged for line in _locks_of(trial)]
    yield from found or ["none on a table that was there before"]


def _locks_of(trial: ShadowTrial) -> Iterator[str]:
    path = trial.migration.path
    if trial.failure:
        yield f"{path}:{trial.line}: unknown: {trial.failure}"
    for probe in trial.probes:
        for effect in probe.effects:
            size = ", rewrites it" if effect.rewritten else ", reads it as a whole" if effect.scanned else ""
            writers = ", keeps writers out" if effect.blocks_writes else ""
            yield f"{path}:{probe.statement.line}: {effect.lock} on {effect.table}{writers}{size}"
