"""A squash: new files take the place of applied ones that are gone, once they are proven to build the same schema."""

from __future__ import annotations

from collections.abc import Sequence

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.migrations import apply, graph, ledger
from dodai.migrations.goose_file import statements_of
from dodai.migrations.migration import Migration
from dodai.migrations.ports import MigrationTarget, Shadow, SqlConnection
from dodai.migrations.run.author import new_run
from dodai.migrations.run.schema_proof import nearest, prefixes, schema_of, unproven
from dodai.migrations.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Squash:
    """What becomes of a ledger. `stands` are the baselines with what they follow in their groups.

    `gone` are applied ids that have no file, in these groups. `certain` is in effect whatever the proof says: the
    baselines, and what is applied as it was read. `doubtful` stands behind a baseline and has the id of something that
    is applied, but was it: an old file that follows the baseline now, or a new one under an old name. `again` are
    applied files that had to be edited only because they follow a baseline.
    """

    stands: tuple[Migration, ...]
    gone: tuple[str, ...]
    certain: tuple[Migration, ...]
    doubtful: tuple[Migration, ...]
    again: tuple[Migration, ...]


def stand_in(
    conn: SqlConnection,
    target: MigrationTarget,
    state: ledger.State,
    migrations: Sequence[Migration],
    shadow: Shadow,
    baselines: Sequence[str],
    at: str = "",
) -> tuple[str, ...] | None:
    """The ids that are in effect behind it; None when the baselines stand there already.

    The rows of the ledger and those of our log are one transaction. Raises DOD260, and has changed nothing then, when
    what would be in effect builds another schema than the database has.
    """
    squash = _squash(migrations, state, baselines)
    if not squash.gone and all(_is_as_applied(m, state) for m in squash.stands):
        return None
    kept = _proven(conn, target, state, migrations, shadow, squash, baselines, at)
    kept_ids = {m.id for m in kept}
    out = (*squash.gone, *(m.id for m in squash.doubtful if m.id not in kept_ids))
    added = [m for m in squash.stands if m.id not in state.ids]
    stood_for = (
        f"stands for {len(squash.gone)} versions, {squash.gone[0]} to {squash.gone[-1]}; " if squash.gone else ""
    )
    run, place = new_run(), ledger.create(conn, state.ledger)
    rows = [
        ledger.log_sql(place, run, m, "up", "adopted", note=f"{stood_for}schema proven equal")
        for m in (*squash.stands, *(m for m in squash.doubtful if m.id in kept_ids), *squash.again)
        if not _is_as_applied(m, state)
    ]
    rows += [
        ledger.log_sql(place, run, m, "down", "reverted", note="applied was another file of this name, which is gone")
        for m in squash.doubtful
        if m.id not in kept_ids
    ]
    ledger.begin_run(conn, run, "adopt", place, target.author())
    conn.execute(f"BEGIN;{ledger.replace_sql(place, out, added, kept)}{''.join(rows)}COMMIT;")
    ledger.finish_run(conn, place, run, "done")
    return tuple(m.id for m in kept)


def _squash(migrations: Sequence[Migration], state: ledger.State, baselines: Sequence[str]) -> Squash:
    files = {m.id: m for m in migrations}
    if unknown := [id_ for id_ in baselines if id_ not in files]:
        raise unproven(f"`{unknown[0]}` is the version of no file", f"see `{proposal.MIGRATE_STATUS()}`")
    applied, groups = set(state.ids), {files[id_].group for id_ in baselines}
    followed = _followed(migrations, state, baselines)
    stands = tuple(m for m in migrations if m.id in followed and m.group in groups)
    ids = {m.id for m in stands}
    if lacking := [id_ for id_ in followed if id_ not in ids | applied]:
        message = f"`{baselines[0]}` follows `{min(lacking)}`, which is not applied here"
        raise unproven(message, "apply it with the files that the database still knows, then adopt")
    behind = [
        m
        for m in migrations
        if m.id in applied - ids
        and m.group in groups
        and not _is_as_applied(m, state)
        and (
            m.order > min(each.order for each in stands) if state.linear else ids & graph.ancestors(migrations, [m.id])
        )
    ]
    # What something certain follows is certain as well.
    sure = graph.ancestors(migrations, ids | (applied - {m.id for m in behind}))
    doubtful = tuple(m for m in behind if m.id not in sure)
    certain = tuple(m for m in migrations if m.id in ids or (m.id in applied and m not in doubtful))
    return Squash(
        stands,
        tuple(id_ for id_ in state.ids if id_ not in files and ("" in groups or id_.partition(".")[0] in groups)),
        certain,
        doubtful,
        tuple(m for m in certain if m.id not in ids and ids.intersection(m.parents) and _is_edited(m, state)),
    )


def _followed(migrations: Sequence[Migration], state: ledger.State, baselines: Sequence[str]) -> frozenset[str]:
    """The baselines and all before them: of numbered files those with a lower version."""
    if state.linear:
        last = max(m.order for m in migrations if m.id in baselines)
        return frozenset(m.id for m in migrations if m.order <= last)
    return graph.ancestors(migrations, baselines)


def _is_as_applied(migration: Migration, state: ledger.State) -> bool:
    """Whether the log says that this very file is in effect."""
    recorded = state.recorded.get(migration.id)
    return migration.id in state.ids and recorded is not None and recorded.same(migration)


def _is_edited(migration: Migration, state: ledger.State) -> bool:
    return migration.id in state.recorded and not _is_as_applied(migration, state)


def _proven(
    conn: SqlConnection,
    target: MigrationTarget,
    state: ledger.State,
    migrations: Sequence[Migration],
    shadow: Shadow,
    squash: Squash,
    baselines: Sequence[str],
    at: str,
) -> tuple[Migration, ...]:
    """What is in effect: all that is certain, and as much of the doubtful as the schema shows."""
    ids = [m.id for m in (*squash.certain, *squash.doubtful)]
    told = {m.id: m for m in statements_of(target, shadow, ids).sound()}
    found = prefixes([told[id_] for id_ in ids], shadow)[len(squash.certain) :]
    live = schema_of(conn, state.ledger.table).without_schema(state.ledger.side, found)
    equal = [number for number, schema in enumerate(found) if schema == live]
    if not equal:
        message = f"`{squash.stands[-1].path}` and what is applied behind it build another schema"
        more = [id_ for id_ in apply.baselines_of(migrations, state) if id_ not in baselines]
        if more:
            fix = f"all that was squashed has to be named: `{apply.baseline_command([*baselines, *more])}`"
        else:
            fix = _through(target, state, migrations, shadow, squash, live)
        lines = found[nearest(found, live)].differences(live)
        raise unproven(f"{message} (`-` expected, `+` found)", fix, lines)
    last = [squash.stands[-1].id, *(m.id for m in squash.doubtful)]
    chosen = [number for number in equal if at in ("", last[number])]
    # What the log has never seen is believed, as `up` does; what it has seen with other words is not.
    if not chosen or any(_is_edited(m, state) for m in squash.doubtful[chosen[0] : chosen[-1]]):
        named = ", ".join(f"`{last[number]}`" for number in equal)
        message = f"up to {named} the files build the same schema; whether their data changes ran cannot be seen"
        command = f"`{apply.baseline_command(baselines)} --at {last[equal[-1]]}`"
        raise unproven(message, f"look at the data, then {command}")
    return (*squash.certain, *squash.doubtful[: chosen[-1]])


def _through(
    target: MigrationTarget,
    state: ledger.State,
    migrations: Sequence[Migration],
    shadow: Shadow,
    squash: Squash,
    live: Snapshot,
) -> str:
    """What to do where files behind the baselines complete the schema, because they are of the squash; else nothing."""
    known = {m.id for m in (*squash.certain, *squash.doubtful)}
    groups = {m.group for m in squash.stands}
    behind = [m for m in migrations if m.id not in known and m.group in groups]
    if squash.doubtful or not behind:
        return ""
    ids = [m.id for m in (*squash.certain, *behind)]
    told = {m.id: m for m in statements_of(target, shadow, ids).sound()}
    try:
        found = prefixes([told[id_] for id_ in ids], shadow)[len(squash.certain) :]
    except DodaiError:
        return ""  # the differences say more than a file behind them that does not run
    equal = [number for number, schema in enumerate(found) if schema == live]
    if not equal:
        return ""
    stands = [m.id for m in (*squash.stands, *behind[: equal[-1]])]
    command = apply.baseline_command(stands[-1:] if state.linear else graph.ends(migrations, stands))
    if len(equal) == 1:
        return f"the squash reaches to `{stands[-1]}`: `{command}`"
    named = ", ".join(f"`{behind[number - 1].id}`" for number in equal)
    return f"the squash reaches to one of {named}, which build the same schema: look at the data, then `{command}`"
