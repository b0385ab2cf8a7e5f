"""The rules of migrations: pure over the facts. A finding whose file accepts it with a reason is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dodai.core import proposal
from dodai.core.errors import Code
from dodai.core.finding import Finding, Place
from dodai.core.rule import Rule, declared, rule
from dodai.migrations import apply, codes, graph, sql
from dodai.migrations.check.effects import SHADOW, Candidate, line_of, short
from dodai.migrations.check.facts import Attempts, BaseHistory, LiveSchema, MigrationHistory, QueriesTried, ShadowRun
from dodai.migrations.format_words import WORDS
from dodai.migrations.migration import DIRECTIONS, Migration
from dodai.migrations.policy import TOOL_LEDGERS
from dodai.migrations.queries import QueryTrial

_FILE_CODES = (codes.FILE_SYNTAX, codes.FILE_NAME, codes.DUPLICATE, codes.COPY_FROM_STDIN, codes.SPLIT_DIFFERS,
               codes.TRANSACTION_CONTROL, codes.DIRECTIVE, codes.EXTERNAL, codes.MISSING)  # fmt: skip
_CLUSTER_WIDE = ("role", "user", "group", "database", "tablespace")


# --- files ----------------------------------------------------------------------------------------------------------


def _file_rule(code: Code) -> Rule:
    @rule(code, needs=(MigrationHistory,))
    def judge(history: MigrationHistory) -> Iterator[Finding]:
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


@rule(codes.TRANSACTION_CONTROL, needs=(MigrationHistory,))
def no_transaction_control(history: MigrationHistory) -> Iterator[Finding]:
    for migration in history.judged_migrations:
        if found := apply.transaction_control(migration):
            message, place = f"`{short(found.quote)}` {found.message}", Place(found.path, found.line)
            yield Finding(codes.TRANSACTION_CONTROL, message, place, short(found.quote), found.fix)


@rule(codes.SEVERAL_HEADS, needs=(MigrationHistory,))
def one_head(history: MigrationHistory) -> Iterator[Finding]:
    if len(history.heads) > 1:
        paths = {m.id: m.path for m in history.migrations}
        named = " and ".join(f"`{id_}`" for id_ in history.heads)
        place = Place(paths.get(history.heads[-1], ""))
        yield Finding(codes.SEVERAL_HEADS, f"the history ends in {named}", place)


@rule(codes.SEVERAL_HEADS, needs=(BaseHistory,))
def one_head_after_the_merge(history: BaseHistory) -> Iterator[Finding]:
    removed = {m.id for m in history.base.fork} - {m.id for m in history.migrations}
    both = {m.id: m for m in (*history.base.tip, *history.migrations) if m.id not in removed}
    found = graph.heads(both.values())
    if any(m.parents for m in both.values()) and set(found) != set(graph.heads(history.migrations)):
        named = " and ".join(f"`{id_}`" for id_ in found)
        place = Place(next((both[id_].path for id_ in found if both[id_] in history.migrations), ""))
        yield Finding(codes.SEVERAL_HEADS, f"together with `{history.base.ref}` the history ends in {named}", place)


def _irreversible(history: MigrationHistory) -> Iterator[Candidate]:
    for migration in history.judged_migrations:
        if not migration.reversible and not migration.irreversible and not migration.repeatable:
            message = f"`{migration.path}` has no way down and no reason for it"
            fix = WORDS[migration.layout].way_down
            yield Candidate(migration, Finding(codes.IRREVERSIBLE, message, Place(migration.path), fix=fix))


def _cluster_wide(history: MigrationHistory) -> Iterator[Candidate]:
    for migration in history.judged_migrations:
        for statement in migration.up:
            first = sql.words(statement.sql, 2)
            if first[:1] == ("create",) and first[1:] and first[1] in _CLUSTER_WIDE:
                message = f"`{short(statement.sql)}` belongs to the whole server"
                place = Place(migration.path, statement.line)
                yield Candidate(migration, Finding(codes.CLUSTER_WIDE, message, place, short(statement.sql)))


# --- the base -------------------------------------------------------------------------------------------------------


@rule(codes.OUT_OF_ORDER, needs=(BaseHistory,))
def new_files_come_last(history: BaseHistory) -> Iterator[Finding]:
    known = {m.id for m in (*history.base.fork, *history.base.tip)}
    last = max((m for m in history.base.tip if not m.repeatable), key=lambda m: m.order, default=None)
    for migration in history.migrations:
        by_number = not migration.repeatable and migration.layout not in TOOL_LEDGERS
        if last and by_number and migration.id not in known and migration.order < last.order:
            message = f"`{migration.path}` sorts before `{last.path}`, which `{history.base.ref}` already has"
            fix = f"rename it to a version above `{last.id}` (`{proposal.MIGRATE_NEW()}` makes one)"
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


_OF_A_SQUASH = "; of a squash accept it in `[[check.accept]]`"


def _counterpart(history: BaseHistory, old: Migration) -> Migration | None:
    """The file of the same path, else (it may have been renamed) of the same version."""
    same = [m for m in history.migrations if m.id == old.id]
    return next((m for m in same if m.path == old.path), same[0] if same else None)


@rule(codes.EDITED, needs=(BaseHistory,))
def applied_files_stay(history: BaseHistory) -> Iterator[Finding]:
    squashed = _OF_A_SQUASH if _gone(history) else ""
    for old in history.base.fork:
        now = _counterpart(history, old)
        if now and not old.repeatable and now.applied_sha256 != old.applied_sha256:
            line = _first_difference(old.text, now.text)
            message = f"`{now.path}` was changed, but `{history.base.ref}` already has it"
            fix = f"`git checkout {history.base.ref} -- {now.path}`, and a new migration for the change{squashed}"
            yield Finding(codes.EDITED, message, Place(now.path, line), line_of(now.text, line), fix)


@rule(codes.EDITED_COMMENT, needs=(BaseHistory,))
def comments_may_change(history: BaseHistory) -> Iterator[Finding]:
    for old in history.base.fork:
        now = _counterpart(history, old)
        if now and now.applied_sha256 == old.applied_sha256 and now.raw_sha256 != old.raw_sha256:
            comments = now.token_sha256 == old.token_sha256
            message = f"only {'comments or white space' if comments else 'the way down'} of `{now.path}` changed"
            yield Finding(codes.EDITED_COMMENT, message, Place(now.path, _first_difference(old.text, now.text)))


@rule(codes.MISSING, needs=(BaseHistory,))
def applied_files_are_there(history: BaseHistory) -> Iterator[Finding]:
    for old in _gone(history):
        fix = f"`git checkout {history.base.ref} -- {old.path}`{_OF_A_SQUASH}"
        yield Finding(codes.MISSING, f"`{old.path}` is on `{history.base.ref}` and not here", Place(old.path), "", fix)


def _gone(history: BaseHistory) -> list[Migration]:
    """Files that the base has, and this tree does not."""
    files = {m.id for m in history.migrations}
    return [old for old in history.base.fork if old.id not in files and not old.repeatable]


# --- the shadow server ----------------------------------------------------------------------------------------------


@rule(codes.FAILS_ON_EMPTY, needs=(MigrationHistory, Attempts))
def every_file_applies(_: MigrationHistory, attempts: Attempts) -> Iterator[Finding]:
    for trial in attempts.run.trials:
        if trial.failure and not trial.excuse:
            place = Place(trial.migration.path, trial.line)
            quote = line_of(trial.migration.text, trial.line)
            yield Finding(codes.FAILS_ON_EMPTY, trial.failure, place, quote, apply.cure(trial.state, trial.migration))


def _query_rule(code: Code, which: str) -> Rule:
    @rule(code, needs=(MigrationHistory, QueriesTried))
    def judge(_: MigrationHistory, tried: QueriesTried) -> Iterator[Finding]:
        for trial in tried.run.queries:
            if trial.which == which:
                yield _query_finding(code, trial)

    return judge


def _query_finding(code: Code, trial: QueryTrial) -> Finding:
    return Finding(code, f"{trial.which}: {trial.message}", Place(trial.path, trial.line))


# --- acceptances ----------------------------------------------------------------------------------------------------

_STATIC: dict[Code, Callable[[MigrationHistory], Iterator[Candidate]]] = {
    codes.IRREVERSIBLE: _irreversible,
    codes.CLUSTER_WIDE: _cluster_wide,
}


def _accepts(migration: Migration, finding: Finding, history: MigrationHistory) -> bool:
    """Is there a directive for this finding in its file that has not expired?"""
    return any(
        accepted.code in (finding.code.id, finding.code.name)
        for accepted in migration.accepted
        if accepted.expires is None or accepted.expires >= history.today
    )


def _static_rule(code: Code, look: Callable[[MigrationHistory], Iterator[Candidate]]) -> Rule:
    @rule(code, needs=(MigrationHistory,))
    def judge(history: MigrationHistory) -> Iterator[Finding]:
        return (seen.finding for seen in look(history) if not _accepts(seen.migration, seen.finding, history))

    return judge


def _shadow_rule(code: Code, look: Callable[[MigrationHistory, ShadowRun], Iterator[Candidate]]) -> Rule:
    @rule(code, needs=(MigrationHistory, ShadowRun))
    def judge(history: MigrationHistory, run: ShadowRun) -> Iterator[Finding]:
        return (seen.finding for seen in look(history, run) if not _accepts(seen.migration, seen.finding, history))

    return judge


_OWN_TRANSACTION = (codes.TRANSACTION_CONTROL.id, codes.TRANSACTION_CONTROL.name)
"""Accepted, it is no finding: the file is read as one that runs statement by statement."""


def _controls(migration: Migration) -> bool:
    """Whether the acceptance has a reason to be there; it is the only mark of formats that have none of their own."""
    return not WORDS[migration.layout].mark or any(
        apply.transaction_statements(migration, direction) for direction in DIRECTIONS
    )


@rule(codes.ACCEPTANCE_UNUSED, needs=(MigrationHistory, ShadowRun))
def acceptances_are_used(history: MigrationHistory, run: ShadowRun) -> Iterator[Finding]:
    found = [seen for look in _STATIC.values() for seen in look(history)]
    found += [seen for look_shadow in SHADOW.values() for seen in look_shadow(history, run)]
    used = {(seen.migration.id, word) for seen in found for word in (seen.finding.code.id, seen.finding.code.name)}
    used |= {(m.id, word) for m in history.judged_migrations for word in _OWN_TRANSACTION if _controls(m)}
    for migration in history.judged_migrations:
        for accepted in migration.accepted:
            expired = accepted.expires is not None and accepted.expires < history.today
            if expired or (migration.id, accepted.code) not in used:
                why = f"expired on {accepted.expires}" if expired else "is not found in this file"
                message = f"`{accepted.code}` {why}"
                place = Place(migration.path, accepted.line)
                yield Finding(codes.ACCEPTANCE_UNUSED, message, place, line_of(migration.text, accepted.line))


# --- live -----------------------------------------------------------------------------------------------------------


@rule(codes.DRIFT, needs=(LiveSchema,))
def no_drift(live: LiveSchema) -> Iterator[Finding]:
    if live.differences:
        shown = "; ".join(f"`{short(line)}`" for line in live.differences[:3])
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


def _first_difference(old: str, new: str) -> int:
    before, after = old.splitlines(), new.splitlines()
    same = next(
        (n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    return min(same + 1, max(len(after), 1))


_OF_FILES = tuple(_file_rule(code) for code in _FILE_CODES)
_OF_STATEMENTS = tuple(_static_rule(code, look) for code, look in _STATIC.items())
_OF_THE_SHADOW = (
    *(_shadow_rule(code, look) for code, look in SHADOW.items()),
    _query_rule(codes.QUERY_BREAKS, "old query, new schema"),
    _query_rule(codes.QUERY_NEEDS_SCHEMA, "new query, old schema"),
    _query_rule(codes.QUERY_FITS_NOTHING, "new query, new schema"),
)
_OF_LIVE_DATABASES = (
    _live_rule(codes.REFUSED_EDIT, "edited", "was changed after it was applied to"),
    _live_rule(codes.REFUSED_MISSING, "missing", "has no file here but is applied to"),
    _live_rule(codes.REFUSED_ORDER, "out of order", "sorts before what is applied to"),
)
RULES = (*_OF_FILES, *_OF_STATEMENTS, *_OF_THE_SHADOW, *_OF_LIVE_DATABASES, *declared(globals()))
