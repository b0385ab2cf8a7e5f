"""Every migration on an empty throw-away server: applied, measured, taken down and applied again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dodai.migrations import lock_probe
from dodai.migrations.check.facts import History, QueryTrial, ShadowRun, Trial, Trip
from dodai.migrations.check.queries import Query, breaks
from dodai.migrations.lock_probe.walk import StatementError, run_file
from dodai.migrations.migration import Migration
from dodai.migrations.ports import Connect, Connection, Shadow
from dodai.migrations.snapshot import Snapshot, snapshot


@dataclass(slots=True)
class _Course:
    """The state of one walk over the history: the connection, the schema so far, the tables that count as old.

    `schema` is None where it has to be looked at again: behind a file that was not judged or left other columns.
    """

    connect: Callable[[], Connect]
    conn: Connection
    schema: Snapshot | None = None
    known: frozenset[int] | None = None
    known_names: frozenset[str] = frozenset()


def shadow_run(
    history: History,
    shadow: Shadow,
    *,
    everything: bool,
    old_queries: Sequence[Query] = (),
    new_queries: Sequence[Query] = (),
) -> ShadowRun:
    """Apply all, probe and round-trip the judged ones. A file that fails ends the walk: the rest stands on it.

    With `everything` a table counts as old once an earlier file made it, otherwise only those that files outside
    the judged made: what one branch creates is empty in production when the branch's next file comes.
    """
    migrations = history.migrations
    with shadow() as database:
        conn = _fresh(database)
        course = _Course(database, conn)
        server = conn.execute("SHOW server_version", prepare=False).fetchone()[0]
        trials: list[Trial] = []
        for number, migration in enumerate(migrations):
            judged = migration.id in history.judged
            trials.append(_try(course, migrations[: number + 1], judged=judged, everything=everything))
            if trials[-1].failure:
                break
        lines = (course.schema or snapshot(course.conn)).lines
        queries: tuple[QueryTrial, ...] = ()
        old = [m for m in migrations if m.id not in history.fresh]
        if old and history.fresh and not trials[-1].failure:
            queries = _try_queries(course, old, old_queries, new_queries)
        course.conn.close()
    return ShadowRun(tuple(trials), queries, server, lines)


def _try_queries(
    course: _Course,
    migrations: Sequence[Migration],
    old_queries: Sequence[Query],
    new_queries: Sequence[Query],
) -> tuple[QueryTrial, ...]:
    """Both releases' queries on both schemas: while one release replaces the other each meets each."""
    old = _fresh(course.connect)
    try:
        for migration in migrations:
            run_file(old, migration, "up")
        return (
            *breaks(old_queries, fits=old, tried=course.conn, which="old query, new schema"),
            *breaks(new_queries, fits=course.conn, tried=old, which="new query, old schema"),
        )
    except StatementError:
        return ()
    finally:
        old.close()


def _fresh(database: Callable[[], Connect]) -> Connection:
    conn = database()()
    conn.autocommit = True
    return conn


def _try(course: _Course, history: Sequence[Migration], *, judged: bool, everything: bool) -> Trial:
    migration = history[-1]
    conn = course.conn
    try:
        if not judged:
            course.schema = None
            run_file(conn, migration, "up")
            return Trial(migration)
        if course.known is None or everything:
            old = lock_probe.tables(conn)
            course.known, course.known_names = frozenset(old), frozenset(table.name for table in old.values())
        before = course.schema or snapshot(conn)
        probes = run_file(conn, migration, "up", course.known)
    except StatementError as error:
        return Trial(migration, failure=error.message, line=error.line)
    after = snapshot(conn)
    trial = Trial(migration, probes)
    if migration.reversible:
        trial = _round_trip(course, trial, before, after)
        if trial.trip not in ("same", "order differs"):
            trial = _rebuilt(course, history, trial)
    course.schema = after if trial.trip in ("not tried", "same") else None
    return trial


def _round_trip(course: _Course, trial: Trial, before: Snapshot, after: Snapshot) -> Trial:
    """Down must lead back to the schema before, and Up again to the one after; column order is told apart."""
    migration = trial.migration
    seen: Trip = "same"
    for direction, wanted, fails, differs in (
        ("down", before, "down fails", "differs after down"),
        ("up", after, "up fails again", "differs after up"),
    ):
        try:
            run_file(course.conn, migration, direction)  # type: ignore[arg-type]
        except StatementError as error:
            return replace(trial, trip=fails, trip_message=error.message, trip_line=error.line)  # type: ignore[arg-type]
        found = snapshot(course.conn)
        if found == wanted:
            continue
        if found.ignoring_order != wanted.ignoring_order:
            lines = wanted.ignoring_order.differences(found.ignoring_order)
            return replace(trial, trip=differs, differences=lines)  # type: ignore[arg-type]
        seen = "order differs"
    return replace(trial, trip=seen)


def _rebuilt(course: _Course, history: Sequence[Migration], trial: Trial) -> Trial:
    """`trial`, after a fresh start; a failure of it when the same files do not apply a second time."""
    try:
        _rebuild(course, history)
    except StatementError as error:
        return replace(trial, failure=f"on a second empty database: {error.message}", line=error.line)
    return trial


def _rebuild(course: _Course, history: Sequence[Migration]) -> None:
    """A bad way down must not poison the files after it: start again on an empty database."""
    course.conn.close()
    course.conn = _fresh(course.connect)
    for migration in history:
        run_file(course.conn, migration, "up")
    now = lock_probe.tables(course.conn)
    course.known = frozenset(oid for oid, table in now.items() if table.name in course.known_names)
