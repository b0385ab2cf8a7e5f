"""Which migrations a run would apply, and why it must not."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import Code, DodaiError
from dodai.migrations import codes, sql
from dodai.migrations.graph import ancestors
from dodai.migrations.ledger import State
from dodai.migrations.migration import DIRECTIONS, Direction, FileProblem, Migration, Statement

TRANSACTION_WORDS = ("begin", "commit", "rollback", "abort", "end")
_WORD = re.compile(r"\b(?:begin|commit|rollback|abort|end|start|prepare)\b", re.IGNORECASE)
"""Without one of these words there is nothing to look at more closely."""


@dataclass(frozen=True, slots=True)
class Pending:
    """`migrations` in the order they run; `newer` are applied ids that this tree is too old to know."""

    migrations: tuple[Migration, ...]
    newer: tuple[str, ...] = ()
    unrecorded: tuple[Migration, ...] = ()


def pending(migrations: Sequence[Migration], state: State, *, allow_missing: bool = False) -> Pending:
    """What is left to apply; raises DOD252 (order), DOD253 (edited), DOD254 (missing) or DOD223, changing nothing."""
    applied = set(state.ids)
    versioned = [m for m in migrations if not m.repeatable]
    gone, newer = without_file(versioned, state)
    if gone:
        named = ", ".join(f"`{_label(id_, state)}`" for id_ in gone[:5])
        refusal = _refuse(codes.REFUSED_MISSING, f"applied here, but without a file: {named}")
        raise replace(refusal, fix=_named(refusal.fix, baselines_of(versioned, state)))
    _not_edited(versioned, state)
    left = [m for m in versioned if m.id not in applied]
    ahead = overtaken(versioned, state)
    early = [m for m in left if m.id in ahead]
    if early and not allow_missing:
        named = ", ".join(f"`{m.path}`" for m in early[:5])
        raise _refuse(codes.REFUSED_ORDER, f"{named} sorts before the applied version `{_last(state)}`")
    left += [m for m in migrations if m.repeatable and _changed(m, state)]
    _no_transaction_control(left)
    unrecorded = tuple(m for m in versioned if m.id in applied and m.id not in state.recorded)
    return Pending(tuple(left), newer, unrecorded)


def up_to(found: Pending, to: str, state: State) -> Pending:
    """What is pending up to version `to`, without repeatable files; nothing when it is applied; DOD266 when unknown."""
    if not to or to in state.ids:
        return replace(found, migrations=() if to else found.migrations)
    if not state.linear:
        said = "`--to` goes by the numbers of SQL files; the order of another tool is its own"
        raise _refuse(codes.NOT_PENDING, said)
    ids = [m.id for m in found.migrations if not m.repeatable]
    if to not in ids:
        raise _refuse(codes.NOT_PENDING, f"`{to}` is neither applied nor pending")
    return replace(found, migrations=found.migrations[: ids.index(to) + 1])


def without_file(versioned: Sequence[Migration], state: State) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Applied ids that this tree does not know: those whose file is gone, and those of a newer release."""
    known = {m.id for m in versioned}
    unknown = [id_ for id_ in state.ids if id_ not in known]
    tool = state.ledger.tool
    if tool:
        # A graph has no highest version; what a tool needs for its next step must be there.
        if tool.needs_every_file:
            stuck = not known <= set(state.ids)
            return (tuple(unknown), ()) if stuck else ((), tuple(unknown))
        anew = {m.group for m in _beginnings(versioned, state) if _is_new(m, state)} if unknown else set[str]()
        without = tuple(id_ for id_ in unknown if id_.partition(".")[0] in anew)
        return without, tuple(id_ for id_ in unknown if id_ not in without)
    highest = max((m.order for m in versioned), default=0)
    gone = sorted(int(id_) for id_ in unknown if int(id_) <= highest)
    newer = sorted(int(id_) for id_ in unknown if int(id_) > highest)
    return tuple(map(str, gone)), tuple(map(str, newer))


def _beginnings(versioned: Sequence[Migration], state: State) -> list[Migration]:
    """Those that follow none of their group; of numbered files the first."""
    if state.linear:
        return list(versioned[:1])
    groups = {m.id: m.group for m in versioned}
    return [m for m in versioned if not any(groups.get(parent) == m.group for parent in m.parents)]


def _is_new(migration: Migration, state: State) -> bool:
    """Whether it is not, or not any more, what this database knows by its id."""
    recorded = state.recorded.get(migration.id)
    return migration.id not in state.ids if recorded is None else not recorded.same(migration)


def baselines_of(versioned: Sequence[Migration], state: State) -> tuple[str, ...]:
    """The files with which a history begins anew where others were applied: what a squash is, if it is one."""
    known = {m.id for m in versioned}
    groups = {"", *(id_.partition(".")[0] for id_ in (*state.ids, *state.recorded) if id_ not in known)}
    return tuple(m.id for m in _beginnings(versioned, state) if _is_new(m, state) and m.group in groups)


def baseline_command(ids: Sequence[str]) -> str:
    """`dodai migrate adopt` with these baselines."""
    first, *more = ids
    return proposal.MIGRATE_ADOPT_BASELINE(version=first) + "".join(f" --baseline {shlex.quote(id_)}" for id_ in more)


def _named(fix: str, ids: Sequence[str]) -> str:
    """`fix` with these baselines in its command, as it stands where there are none."""
    return fix.replace(baseline_command(["VERSION"]), baseline_command(ids)) if ids else fix


def overtaken(versioned: Sequence[Migration], state: State) -> frozenset[str]:
    """Ids that are not applied although a later one is: by version, or in a graph because that one follows them."""
    applied = set(state.ids)
    if not state.linear:
        return ancestors(versioned, applied) - applied
    highest = int(_last(state) or 0)
    return frozenset(m.id for m in versioned if m.id not in applied and m.order < highest)


def _last(state: State) -> str:
    return max(state.ids, key=int, default="") if state.linear else state.ids[-1]


def edited(migrations: Sequence[Migration], state: State) -> list[Migration]:
    """Applied files whose meaning changed since: comments and white space do not count."""
    applied = set(state.ids)
    return [m for m in migrations if m.id in applied and _changed(m, state) and m.id in state.recorded]


def _changed(migration: Migration, state: State) -> bool:
    recorded = state.recorded.get(migration.id)
    return recorded is None or not recorded.same(migration)


def _not_edited(migrations: Sequence[Migration], state: State) -> None:
    found = edited(migrations, state)
    if found:
        named = ", ".join(f"`{m.path}`" for m in found[:5])
        fix = codes.REFUSED_EDIT.fix.en.replace("VERSION", " ".join(m.id for m in found))
        squash = set() if state.linear else {m.id for m in found} & set(baselines_of(migrations, state))
        if squash and not {m.id for m in migrations}.issuperset(state.recorded):
            fix = f"after a squash `{baseline_command(sorted(squash))}`; else {fix}"
        raise DodaiError(codes.REFUSED_EDIT, f"changed after it was applied: {named}", fix, exit_code=1)


def _no_transaction_control(left: Sequence[Migration]) -> None:
    """Found before anything runs, in every file at once: afterwards a file would be half applied."""
    problems = [found for migration in left if (found := transaction_control(migration))]
    said = [f"{found.path}:{found.line}: `{found.quote[:60]}` {found.message}" for found in problems]
    if said:
        fixes = dict.fromkeys(found.fix or found.code.fix.en for found in problems)
        refusal = _refuse(codes.TRANSACTION_CONTROL, said[0])
        raise replace(refusal, fix="; ".join(fixes), details=tuple(said[1:]))


def _controls_transaction(text: str) -> bool:
    first = sql.words(text, 3)
    if first[0] == "rollback" and "to" in first:
        return False
    return first[0] in TRANSACTION_WORDS or first[:2] in (("start", "transaction"), ("prepare", "transaction"))


def transaction_control(migration: Migration) -> FileProblem | None:
    """The first statement that begins or ends a transaction in a transactional file, or leaves one open in another."""
    for direction in DIRECTIONS:
        found = transaction_statements(migration, direction)
        path = migration.path_of(direction)
        if found and migration.transactional:
            said = "in a file that runs as one transaction"
            return FileProblem(codes.TRANSACTION_CONTROL, said, path, *found[0], _own_transaction(migration))
        if found and sql.words(found[-1][1], 1)[0] in ("begin", "start"):
            said = "begins a transaction that the file does not end"
            fix = "end it in the same file with `COMMIT;`, or leave it out: each statement here is committed by itself"
            return FileProblem(codes.TRANSACTION_CONTROL, said, path, *found[-1], fix)
    return None


def transaction_statements(migration: Migration, direction: Direction) -> list[tuple[int, str]]:
    """Line and text of each statement that begins or ends a transaction."""
    return [
        (statement.line + span.line - 1, span.text)
        for statement in migration.statements(direction)
        if _WORD.search(statement.sql)
        for span in sql.statements(statement.sql)
        if _controls_transaction(span.text)
    ]


def transaction_ended(migration: Migration, statement: Statement) -> DodaiError:
    code = codes.TRANSACTION_CONTROL
    message = f"{migration.path}:{statement.line}: the statement ended the transaction of the file"
    return DodaiError(code, message, _own_transaction(migration), exit_code=4)


def _own_transaction(migration: Migration) -> str:
    from dodai.migrations.format_words import WORDS  # what a run that goes well does not load

    return "remove BEGIN and COMMIT" if migration.repeatable else WORDS[migration.layout].own_transaction


def _label(id_: str, state: State) -> str:
    recorded = state.recorded.get(id_)
    return recorded.path if recorded else id_


def _refuse(code: Code, message: str) -> DodaiError:
    return DodaiError(code, message, code.fix.en, exit_code=1)
