"""What the shadow server showed of each file: its way down, and what its statements do to tables with rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from dodai.core.code_page import Level
from dodai.core.dataclass import dataclass
from dodai.core.errors import Code
from dodai.core.finding import Finding, Place
from dodai.migrations import apply, codes, sql
from dodai.migrations.check.facts import MigrationHistory, ShadowRun, ShadowTrial
from dodai.migrations.format_words import WORDS, FormatWords
from dodai.migrations.lock_probe import Effect, StatementProbe
from dodai.migrations.migration import Direction, Migration

SMALL_TABLE_ROWS = 10_000
"""Below this a rewrite or scan is over before anybody notices (measured: 10,000 rows rewrite in about 10 ms)."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A finding before the acceptances of its file are looked at."""

    migration: Migration
    finding: Finding


def short(text: str) -> str:
    """One line of at most 120 characters."""
    line = " ".join(text.split())
    return line if len(line) <= 120 else line[:117] + "..."


def line_of(text: str, number: int) -> str:
    """The line of a file, "" where there is none."""
    lines = text.splitlines()
    return lines[number - 1].strip()[:200] if 0 < number <= len(lines) else ""


def _down_fails(_: MigrationHistory, run: ShadowRun) -> Iterator[Candidate]:
    for trial in run.trials:
        if trial.trip in ("down fails", "up fails again"):
            which = "Down" if trial.trip == "down fails" else "Up after Down"
            direction: Direction = "down" if trial.trip == "down fails" else "up"
            place = Place(trial.migration.path_of(direction), trial.trip_line)
            quote = line_of(trial.migration.text_of(direction), trial.trip_line)
            message, fix = f"{which}: {trial.trip_message}", apply.cure(trial.state, trial.migration)
            yield Candidate(trial.migration, Finding(codes.DOWN_FAILS, message, place, quote, fix))


def _round_trip(_: MigrationHistory, run: ShadowRun) -> Iterator[Candidate]:
    for trial in run.trials:
        if trial.trip in ("differs after down", "differs after up"):
            when = "Down does not undo Up" if trial.trip == "differs after down" else "Up after Down differs"
            shown = "; ".join(f"`{short(line)}`" for line in trial.differences[:3])
            more = f" and {len(trial.differences) - 3} more" if len(trial.differences) > 3 else ""
            message = f"{when}: {shown}{more} (`-` expected, `+` found)"
            data = {"differences": list(trial.differences)}
            place = Place(trial.migration.path_of("down" if trial.trip == "differs after down" else "up"))
            yield Candidate(trial.migration, Finding(codes.ROUND_TRIP, message, place, data=data))


Test = Callable[[Effect, StatementProbe], str]


def _effects(
    code: Code, history: MigrationHistory, run: ShadowRun, test: Test, *, weigh: bool = True
) -> Iterator[Candidate]:
    for trial in run.trials:
        for probe in trial.probes:
            for effect in probe.effects:
                if said := test(effect, probe):
                    yield Candidate(trial.migration, _measured(code, history, trial, probe, effect, said, weigh=weigh))


def _measured(
    code: Code,
    history: MigrationHistory,
    trial: ShadowTrial,
    probe: StatementProbe,
    effect: Effect,
    said: str,
    *,
    weigh: bool,
) -> Finding:
    rows = history.rows.get(effect.table)
    size = f" ({rows:,} rows in production)" if rows is not None else ""
    level: Level | None = "info" if weigh and rows is not None and rows < SMALL_TABLE_ROWS else None
    # From the file and not from the statement, which may hold values of the environment.
    quote = line_of(trial.migration.text, probe.statement.line)
    place = Place(trial.migration.path, probe.statement.line)
    data = {"table": effect.table, "lock": effect.lock, "rows": rows}
    fix = _FIXES[code](WORDS[trial.migration.layout]) if code in _FIXES else ""
    return Finding(code, f"`{effect.table}`{size} {said}", place, quote, fix, level=level, data=data)


_FIXES: dict[Code, Callable[[FormatWords], str]] = {
    codes.BLOCKING_INDEX: lambda words: words.concurrently,
    codes.BLOCKING_DROP: lambda words: words.drop_concurrently,
}
"""What is done about it in the words of a format, where they differ."""


def _rewrites(history: MigrationHistory, run: ShadowRun) -> Iterator[Candidate]:
    def test(effect: Effect, probe: StatementProbe) -> str:
        truncates = sql.words(probe.statement.sql, 1) == ("truncate",)
        return f"is rewritten under {effect.lock}" if effect.rewritten and not truncates else ""

    return _effects(codes.REWRITE, history, run, test)


def _scans(history: MigrationHistory, run: ShadowRun) -> Iterator[Candidate]:
    def test(effect: Effect, _: StatementProbe) -> str:
        only_scan = effect.scanned and not (effect.rewritten or effect.indexed or effect.must_fill)
        return f"is read as a whole under {effect.lock}" if only_scan and effect.blocks_writes else ""

    return _effects(codes.SCAN_UNDER_LOCK, history, run, test)


def _indexes(history: MigrationHistory, run: ShadowRun) -> Iterator[Candidate]:
    def test(effect: Effect, _: StatementProbe) -> str:
        blocking = effect.indexed and effect.scanned and effect.blocks_writes and not effect.rewritten
        return f"gets an index while {effect.lock} keeps writers out" if blocking else ""

    return _effects(codes.BLOCKING_INDEX, history, run, test)


def _contractions(history: MigrationHistory, run: ShadowRun) -> Iterator[Candidate]:
    def test(effect: Effect, probe: StatementProbe) -> str:
        if effect.dropped:
            return "is dropped"
        if effect.dropped_columns:
            return f"loses {', '.join(f'`{name}`' for name in effect.dropped_columns)}"
        if effect.renamed:
            return f"has {', '.join(f'`{name}`' for name in effect.renamed)} renamed"
        if effect.hides_rows:
            return "hides its rows from every role that no policy names"
        return "is emptied" if effect.rewritten and sql.words(probe.statement.sql, 1) == ("truncate",) else ""

    yield from _effects(codes.CONTRACTION, history, run, test, weigh=False)
    yield from _renamed_labels(run)


def _must_fill(history: MigrationHistory, run: ShadowRun) -> Iterator[Candidate]:
    def test(effect: Effect, _: StatementProbe) -> str:
        columns = ", ".join(f"`{name}`" for name in effect.must_fill)
        return f"gets {columns} NOT NULL without a default, which fails as soon as it has a row" if columns else ""

    return _effects(codes.NOT_NULL_WITHOUT_DEFAULT, history, run, test, weigh=False)


def _renamed_labels(run: ShadowRun) -> Iterator[Candidate]:
    for trial in run.trials:
        for probe in trial.probes:
            found = sql.words(probe.statement.sql)
            if found[:2] == ("alter", "type") and ("rename", "value") in pairwise(found):
                message = f"`{found[2]}` has a label renamed"
                quote = line_of(trial.migration.text, probe.statement.line)
                place = Place(trial.migration.path, probe.statement.line)
                yield Candidate(trial.migration, Finding(codes.CONTRACTION, message, place, quote))


def _whole_tables(history: MigrationHistory, run: ShadowRun) -> Iterator[Candidate]:
    def test(effect: Effect, probe: StatementProbe) -> str:
        found = sql.words(probe.statement.sql, 10_000)
        if found[:1] not in (("update",), ("delete",)) or "where" in found or effect.dropped or probe.statement.batch:
            return ""
        named = effect.table.rpartition(".")[2] in (word.strip('"') for word in found)
        what = "updated" if found[0] == "update" else "deleted"
        return f"has every row {what} in one statement" if named and (effect.written or effect.scanned) else ""

    return _effects(codes.WHOLE_TABLE_WRITE, history, run, test)


def _dropped_indexes(history: MigrationHistory, run: ShadowRun) -> Iterator[Candidate]:
    def test(effect: Effect, probe: StatementProbe) -> str:
        dropped = effect.unindexed and sql.words(probe.statement.sql, 2) == ("drop", "index")
        return f"loses an index under {effect.lock}" if dropped else ""

    return _effects(codes.BLOCKING_DROP, history, run, test)


SHADOW: dict[Code, Callable[[MigrationHistory, ShadowRun], Iterator[Candidate]]] = {
    codes.DOWN_FAILS: _down_fails,
    codes.ROUND_TRIP: _round_trip,
    codes.REWRITE: _rewrites,
    codes.SCAN_UNDER_LOCK: _scans,
    codes.BLOCKING_INDEX: _indexes,
    codes.CONTRACTION: _contractions,
    codes.NOT_NULL_WITHOUT_DEFAULT: _must_fill,
    codes.WHOLE_TABLE_WRITE: _whole_tables,
    codes.BLOCKING_DROP: _dropped_indexes,
}
"""What each code is found by."""
