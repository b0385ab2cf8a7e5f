"""The rules of migrations: pure over the facts. A finding whose file accepts it with a reason is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dodai.core.code_page import Level
from dodai.core.errors import Code
from dodai.core.finding import Finding, Place
from dodai.core.rule import Rule, declared, rule
from dodai.migrations import apply, codes, graph, sql
from dodai.migrations.check.facts import BaseHistory, History, LiveSchema, QueryTrial, ShadowRun, Trial
from dodai.migrations.lock_probe import Effect, Probe
from dodai.migrations.migration import Migration

SMALL_TABLE_ROWS = 10_000
"""Below this a rewrite or scan is over before anybody notices (measured: 10,000 rows rewrite in about 10 ms)."""
_FILE_CODES = (codes.FILE_SYNTAX, codes.FILE_NAME, codes.DUPLICATE, codes.COPY_FROM_STDIN, codes.SPLIT_DIFFERS,
               codes.TRANSACTION_CONTROL, codes.REMARK, codes.EXTERNAL, codes.MISSING)  # fmt: skip
_CLUSTER_WIDE = ("role", "user", "group", "database", "tablespace")


@dataclass(frozen=True, slots=True)
class Seen:
    """A finding before the acceptances of its file are looked at."""

    migration: Migration
    finding: Finding


# --- files ----------------------------------------------------------------------------------------------------------


def _file_rule(code: Code) -> Rule:
    @rule(code, needs=(History,))
    def judge(history: History) -> Iterator[Finding]:
        for problem in history.problems:
            if problem.code is code:
                yield Finding(code, problem.message, Place(problem.path, problem.line), problem.quote, problem.fix)
        for migration in history.judged_migrations:
            for problem in migration.advice:
                place = Place(problem.path, problem.line)
                found = Finding(code, problem.message, place, problem.quote, problem.fix, level="warning")
                if problem.code is code and not _accepts(migration, found, history):
                    yield found

    return judge


@rule(codes.TRANSACTION_CONTROL, needs=(History,))
def no_transaction_control(history: History) -> Iterator[Finding]:
    for migration in history.judged_migrations:
        if found := apply.transaction_control(migration):
            message = f"`{_short(found[1])}` in a file that runs as one transaction"
            yield Finding(codes.TRANSACTION_CONTROL, message, Place(migration.path, found[0]), _short(found[1]))


@rule(codes.SEVERAL_HEADS, needs=(History,))
def one_head(history: History) -> Iterator[Finding]:
    if len(history.heads) > 1:
        paths = {m.id: m.path for m in history.migrations}
        named = " and ".join(f"`{id_}`" for id_ in history.heads)
        place = Place(paths.get(history.heads[-1], ""))
        yield Finding(codes.SEVERAL_HEADS, f"the history ends in {named}", place)


@rule(codes.SEVERAL_HEADS, needs=(BaseHistory,))
def one_head_after_the_merge(history: BaseHistory) -> Iterator[Finding]:
    both = {m.id: m for m in (*history.base.tip, *history.migrations)}
    found = graph.heads(both.values())
    if any(m.parents for m in both.values()) and set(found) != set(graph.heads(history.migrations)):
        named = " and ".join(f"`{id_}`" for id_ in found)
        place = Place(next((both[id_].path for id_ in found if both[id_] in history.migrations), ""))
        yield Finding(codes.SEVERAL_HEADS, f"together with `{history.base.ref}` the history ends in {named}", place)


def _irreversible(history: History) -> Iterator[Seen]:
    for migration in history.judged_migrations:
        if not migration.reversible and not migration.irreversible and not migration.repeatable:
            message = f"`{migration.path}` has no Down section and no reason for it"
            yield Seen(migration, Finding(codes.IRREVERSIBLE, message, Place(migration.path)))


def _cluster_wide(history: History) -> Iterator[Seen]:
    for migration in history.judged_migrations:
        for statement in migration.up:
            first = sql.words(statement.sql, 2)
            if first[:1] == ("create",) and first[1:] and first[1] in _CLUSTER_WIDE:
                message = f"`{_short(statement.sql)}` belongs to the whole server"
                place = Place(migration.path, statement.line)
                yield Seen(migration, Finding(codes.CLUSTER_WIDE, message, place, _short(statement.sql)))


# --- the base -------------------------------------------------------------------------------------------------------


@rule(codes.OUT_OF_ORDER, needs=(BaseHistory,))
def new_files_come_last(history: BaseHistory) -> Iterator[Finding]:
    known = {m.id for m in (*history.base.fork, *history.base.tip)}
    last = max((m for m in history.base.tip if not m.repeatable), key=lambda m: m.order, default=None)
    for migration in history.migrations:
        by_number = not migration.repeatable and not migration.parents
        if last and by_number and migration.id not in known and migration.order < last.order:
            message = f"`{migration.path}` sorts before `{last.path}`, which `{history.base.ref}` already has"
            fix = f"rename it to a version above `{last.id}` (`dodai migrate new` makes one)"
            yield Finding(codes.OUT_OF_ORDER, message, Place(migration.path), fix=fix)


@rule(codes.DUPLICATE, needs=(BaseHistory,))
def no_version_twice_with_the_base(history: BaseHistory) -> Iterator[Finding]:
    fork = {m.id for m in history.base.fork}
    tip = {m.id: m for m in history.base.tip}
    for migration in history.migrations:
        other = tip.get(migration.id)
        if other and migration.id not in fork and other.path != migration.path:
            message = f"version `{migration.id}` is already that of `{other.path}` on `{history.base.ref}`"
            yield Finding(codes.DUPLICATE, message, Place(migration.path))


def _counterpart(history: BaseHistory, old: Migration) -> Migration | None:
    """The file of the same path, else (it may have been renamed) of the same version."""
    same = [m for m in history.migrations if m.id == old.id]
    return next((m for m in same if m.path == old.path), same[0] if same else None)


@rule(codes.EDITED, needs=(BaseHistory,))
def applied_files_stay(history: BaseHistory) -> Iterator[Finding]:
    for old in history.base.fork:
        now = _counterpart(history, old)
        if now and not old.repeatable and now.token_sha256 != old.token_sha256:
            line = _first_difference(old.text, now.text)
            message = f"`{now.path}` was changed, but `{history.base.ref}` already has it"
            fix = f"`git checkout {history.base.ref} -- {now.path}`, and a new migration for the change"
            yield Finding(codes.EDITED, message, Place(now.path, line), _line(now.text, line), fix)


@rule(codes.EDITED_COMMENT, needs=(BaseHistory,))
def comments_may_change(history: BaseHistory) -> Iterator[Finding]:
    for old in history.base.fork:
        now = _counterpart(history, old)
        if now and now.token_sha256 == old.token_sha256 and now.raw_sha256 != old.raw_sha256:
            message = f"only comments or white space of `{now.path}` changed"
            yield Finding(codes.EDITED_COMMENT, message, Place(now.path, _first_difference(old.text, now.text)))


@rule(codes.MISSING, needs=(BaseHistory,))
def applied_files_are_there(history: BaseHistory) -> Iterator[Finding]:
    files = {m.id for m in history.migrations}
    for old in history.base.fork:
        if old.id not in files and not old.repeatable:
            fix = f"`git checkout {history.base.ref} -- {old.path}`"
            yield Finding(
                codes.MISSING, f"`{old.path}` is on `{history.base.ref}` and not here", Place(old.path), "", fix
            )


# --- the shadow server ----------------------------------------------------------------------------------------------


@rule(codes.FAILS_ON_EMPTY, needs=(History, ShadowRun))
def every_file_applies(_: History, run: ShadowRun) -> Iterator[Finding]:
    for trial in run.trials:
        if trial.failure:
            place = Place(trial.migration.path, trial.line)
            yield Finding(codes.FAILS_ON_EMPTY, trial.failure, place, _line(trial.migration.text, trial.line))


def _down_fails(_: History, run: ShadowRun) -> Iterator[Seen]:
    for trial in run.trials:
        if trial.trip in ("down fails", "up fails again"):
            which = "Down" if trial.trip == "down fails" else "Up after Down"
            place = Place(trial.migration.path, trial.trip_line)
            quote = _line(trial.migration.text, trial.trip_line)
            yield Seen(trial.migration, Finding(codes.DOWN_FAILS, f"{which}: {trial.trip_message}", place, quote))


def _round_trip(_: History, run: ShadowRun) -> Iterator[Seen]:
    for trial in run.trials:
        if trial.trip in ("differs after down", "differs after up"):
            when = "Down does not undo Up" if trial.trip == "differs after down" else "Up after Down differs"
            shown = "; ".join(f"`{_short(line)}`" for line in trial.differences[:3])
            more = f" and {len(trial.differences) - 3} more" if len(trial.differences) > 3 else ""
            message = f"{when}: {shown}{more} (`-` expected, `+` found)"
            data = {"differences": list(trial.differences)}
            yield Seen(trial.migration, Finding(codes.ROUND_TRIP, message, Place(trial.migration.path), data=data))


Test = Callable[[Effect, Probe], str]


def _effects(code: Code, history: History, run: ShadowRun, test: Test, *, weigh: bool = True) -> Iterator[Seen]:
    for trial in run.trials:
        for probe in trial.probes:
            for effect in probe.effects:
                if said := test(effect, probe):
                    yield Seen(trial.migration, _measured(code, history, trial, probe, effect, said, weigh=weigh))


def _measured(
    code: Code, history: History, trial: Trial, probe: Probe, effect: Effect, said: str, *, weigh: bool
) -> Finding:
    rows = history.rows.get(effect.table)
    size = f" ({rows:,} rows in production)" if rows is not None else ""
    level: Level | None = "info" if weigh and rows is not None and rows < SMALL_TABLE_ROWS else None
    # From the file and not from the statement, which may hold values of the environment.
    quote = _line(trial.migration.text, probe.statement.line)
    place = Place(trial.migration.path, probe.statement.line)
    data = {"table": effect.table, "lock": effect.lock, "rows": rows}
    return Finding(code, f"`{effect.table}`{size} {said}", place, quote, level=level, data=data)


def _rewrites(history: History, run: ShadowRun) -> Iterator[Seen]:
    def test(effect: Effect, probe: Probe) -> str:
        truncates = sql.words(probe.statement.sql, 1) == ("truncate",)
        return f"is rewritten under {effect.lock}" if effect.rewritten and not truncates else ""

    return _effects(codes.REWRITE, history, run, test)


def _scans(history: History, run: ShadowRun) -> Iterator[Seen]:
    def test(effect: Effect, _: Probe) -> str:
        only_scan = effect.scanned and not (effect.rewritten or effect.indexed or effect.must_fill)
        return f"is read as a whole under {effect.lock}" if only_scan and effect.blocks_writes else ""

    return _effects(codes.SCAN_UNDER_LOCK, history, run, test)


def _indexes(history: History, run: ShadowRun) -> Iterator[Seen]:
    def test(effect: Effect, _: Probe) -> str:
        blocking = effect.indexed and effect.scanned and effect.blocks_writes and not effect.rewritten
        return f"gets an index while {effect.lock} keeps writers out" if blocking else ""

    return _effects(codes.BLOCKING_INDEX, history, run, test)


def _contractions(history: History, run: ShadowRun) -> Iterator[Seen]:
    def test(effect: Effect, probe: Probe) -> str:
        if effect.dropped:
            return "is dropped"
        if effect.dropped_columns:
            return f"loses {', '.join(f'`{name}`' for name in effect.dropped_columns)}"
        if effect.renamed:
            return f"has {', '.join(f'`{name}`' for name in effect.renamed)} renamed"
        return "is emptied" if effect.rewritten and sql.words(probe.statement.sql, 1) == ("truncate",) else ""

    return _effects(codes.CONTRACTION, history, run, test, weigh=False)


def _must_fill(history: History, run: ShadowRun) -> Iterator[Seen]:
    def test(effect: Effect, _: Probe) -> str:
        columns = ", ".join(f"`{name}`" for name in effect.must_fill)
        return f"gets {columns} NOT NULL without a default, which fails as soon as it has a row" if columns else ""

    return _effects(codes.NOT_NULL_WITHOUT_DEFAULT, history, run, test, weigh=False)


def _query_rule(code: Code, which: str) -> Rule:
    @rule(code, needs=(History, ShadowRun))
    def judge(_: History, run: ShadowRun) -> Iterator[Finding]:
        for trial in run.queries:
            if trial.which == which:
                yield _query_finding(code, trial)

    return judge


def _query_finding(code: Code, trial: QueryTrial) -> Finding:
    return Finding(code, f"{trial.which}: {trial.message}", Place(trial.path, trial.line))


# --- acceptances ----------------------------------------------------------------------------------------------------

_STATIC: dict[Code, Callable[[History], Iterator[Seen]]] = {
    codes.IRREVERSIBLE: _irreversible,
    codes.CLUSTER_WIDE: _cluster_wide,
}
_SHADOW: dict[Code, Callable[[History, ShadowRun], Iterator[Seen]]] = {
    codes.DOWN_FAILS: _down_fails,
    codes.ROUND_TRIP: _round_trip,
    codes.REWRITE: _rewrites,
    codes.SCAN_UNDER_LOCK: _scans,
    codes.BLOCKING_INDEX: _indexes,
    codes.CONTRACTION: _contractions,
    codes.NOT_NULL_WITHOUT_DEFAULT: _must_fill,
}


def _accepts(migration: Migration, finding: Finding, history: History) -> bool:
    """Is there a remark for this finding in its file that has not expired?"""
    return any(
        accepted.code in (finding.code.id, finding.code.name)
        for accepted in migration.accepted
        if accepted.expires is None or accepted.expires >= history.today
    )


def _static_rule(code: Code, look: Callable[[History], Iterator[Seen]]) -> Rule:
    @rule(code, needs=(History,))
    def judge(history: History) -> Iterator[Finding]:
        return (seen.finding for seen in look(history) if not _accepts(seen.migration, seen.finding, history))

    return judge


def _shadow_rule(code: Code, look: Callable[[History, ShadowRun], Iterator[Seen]]) -> Rule:
    @rule(code, needs=(History, ShadowRun))
    def judge(history: History, run: ShadowRun) -> Iterator[Finding]:
        return (seen.finding for seen in look(history, run) if not _accepts(seen.migration, seen.finding, history))

    return judge


@rule(codes.ACCEPTANCE_UNUSED, needs=(History, ShadowRun))
def acceptances_are_used(history: History, run: ShadowRun) -> Iterator[Finding]:
    found = [seen for look in _STATIC.values() for seen in look(history)]
    found += [seen for look_shadow in _SHADOW.values() for seen in look_shadow(history, run)]
    used = {(seen.migration.id, word) for seen in found for word in (seen.finding.code.id, seen.finding.code.name)}
    for migration in history.judged_migrations:
        for accepted in migration.accepted:
            expired = accepted.expires is not None and accepted.expires < history.today
            if expired or (migration.id, accepted.code) not in used:
                why = f"expired on {accepted.expires}" if expired else "is not found in this file"
                message = f"`{accepted.code}` {why}"
                place = Place(migration.path, accepted.line)
                yield Finding(codes.ACCEPTANCE_UNUSED, message, place, _line(migration.text, accepted.line))


# --- live -----------------------------------------------------------------------------------------------------------


@rule(codes.DRIFT, needs=(LiveSchema,))
def no_drift(live: LiveSchema) -> Iterator[Finding]:
    if live.differences:
        shown = "; ".join(f"`{_short(line)}`" for line in live.differences[:3])
        more = f" and {len(live.differences) - 3} more" if len(live.differences) > 3 else ""
        message = f"`{live.env}`: {shown}{more} (`-` expected, `+` found)"
        yield Finding(codes.DRIFT, message, data={"differences": list(live.differences)})


@rule(codes.INVALID_INDEX, needs=(LiveSchema,))
def no_invalid_index(live: LiveSchema) -> Iterator[Finding]:
    for name in live.invalid_indexes:
        fix = f"`DROP INDEX CONCURRENTLY {name}`, then build it again"
        yield Finding(codes.INVALID_INDEX, f"`{name}` on `{live.env}` is invalid", fix=fix)


def _live_rule(code: Code, standing: str, said: str) -> Rule:
    @rule(code, needs=(LiveSchema,))
    def judge(live: LiveSchema) -> Iterator[Finding]:
        for entry in live.status.entries:
            if entry.standing == standing:
                yield Finding(code, f"`{entry.path or entry.id}` {said} `{live.env}`", Place(entry.path or entry.id))

    return judge


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 120 else line[:117] + "..."


def _line(text: str, number: int) -> str:
    lines = text.splitlines()
    return lines[number - 1].strip()[:200] if 0 < number <= len(lines) else ""


def _first_difference(old: str, new: str) -> int:
    before, after = old.splitlines(), new.splitlines()
    same = next(
        (n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    return min(same + 1, max(len(after), 1))


_OF_FILES = tuple(_file_rule(code) for code in _FILE_CODES)
_OF_STATEMENTS = tuple(_static_rule(code, look) for code, look in _STATIC.items())
_OF_THE_SHADOW = (
    *(_shadow_rule(code, look) for code, look in _SHADOW.items()),
    _query_rule(codes.QUERY_BREAKS, "old query, new schema"),
    _query_rule(codes.QUERY_NEEDS_SCHEMA, "new query, old schema"),
)
_OF_LIVE_DATABASES = (
    _live_rule(codes.REFUSED_EDIT, "edited", "was changed after it was applied to"),
    _live_rule(codes.REFUSED_MISSING, "missing", "has no file here but is applied to"),
    _live_rule(codes.REFUSED_ORDER, "out of order", "sorts before what is applied to"),
)
RULES = (*_OF_FILES, *_OF_STATEMENTS, *_OF_THE_SHADOW, *_OF_LIVE_DATABASES, *declared(globals()))
