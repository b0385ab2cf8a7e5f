"""A history whose migrations name their parents, as Alembic's and Django's do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from dodai.migrations import codes
from dodai.migrations.migration import FileProblem, Migration, MigrationFolder


def in_order(migrations: Iterable[Migration]) -> tuple[Migration, ...]:
    """Parents first, `order` counted from 1; those of a cycle come last."""
    files = sorted(migrations, key=lambda migration: (migration.path, migration.id))
    here = {migration.id for migration in files}
    missing = {m.id: {parent for parent in m.parents if parent in here} for m in files}
    children: dict[str, list[Migration]] = {}
    for migration in files:
        for parent in missing[migration.id]:
            children.setdefault(parent, []).append(migration)
    placed: list[Migration] = []
    ready = [m for m in files if not missing[m.id]]
    while ready:
        placed += ready
        following: dict[int, Migration] = {}
        for done in ready:
            for child in children.get(done.id, ()):
                missing[child.id].discard(done.id)
                if not missing[child.id]:
                    following[id(child)] = child
        ready = sorted(following.values(), key=lambda migration: (migration.path, migration.id))
    seen = {id(migration) for migration in placed}
    rest = [migration for migration in files if id(migration) not in seen]
    return tuple(replace(m, order=number) for number, m in enumerate((*placed, *rest), start=1))


def heads(migrations: Iterable[Migration]) -> tuple[str, ...]:
    """The ids that no other of their group follows, where a group has more than one; sorted, none in a sound one.

    Branches that each have a name (label) of their own are meant to have an end each, and are upgraded side by side.
    """
    groups: dict[str, dict[str, Migration]] = {}
    for migration in migrations:
        groups.setdefault(migration.group, {})[migration.id] = migration
    found: list[str] = []
    for group in groups.values():
        open_ends = set(group) - {parent for migration in group.values() for parent in migration.parents}
        found += open_ends if len(open_ends) > 1 and not _named(group, open_ends) else ()
    return tuple(sorted(found))


def _named(group: Mapping[str, Migration], ends: Iterable[str]) -> bool:
    """Whether each end is on a branch whose name none of the others has."""
    branches = [frozenset(label for id_ in _line(group, end) for label in group[id_].labels) for end in ends]
    return all(
        branch - frozenset().union(*(other for place, other in enumerate(branches) if place != number))
        for number, branch in enumerate(branches)
    )


def _line(group: Mapping[str, Migration], end: str) -> frozenset[str]:
    """An end and what it follows, without what it only depends on."""
    found: set[str] = set()
    waiting = [end]
    while waiting:
        id_ = waiting.pop()
        if id_ in group and id_ not in found:
            found.add(id_)
            waiting += [parent for parent in group[id_].parents if parent not in group[id_].depends_on]
    return frozenset(found)


def ancestors(migrations: Iterable[Migration], heads: Iterable[str]) -> frozenset[str]:
    """`heads` and everything they follow; readiness asks for these."""
    parents = {migration.id: migration.parents for migration in migrations}
    found: set[str] = set()
    waiting = list(heads)
    while waiting:
        id_ = waiting.pop()
        if id_ not in found:
            found.add(id_)
            waiting += parents.get(id_, ())
    return frozenset(found)


def ends(migrations: Sequence[Migration], ids: Iterable[str]) -> tuple[str, ...]:
    """Those of `ids` that no other of them follows, in the order of `migrations`."""
    wanted = set(ids)
    followed = {parent for migration in migrations if migration.id in wanted for parent in migration.parents}
    return tuple(m.id for m in migrations if m.id in wanted - followed)


def problems(migrations: Iterable[Migration], outside: Iterable[str] = ()) -> tuple[FileProblem, ...]:
    """Ids that exist twice (DOD202) and parents that are not there (DOD207) nor among those `outside`."""
    found: list[FileProblem] = []
    seen: dict[str, Migration] = {}
    migrations = tuple(migrations)
    for migration in sorted(migrations, key=lambda m: m.path):
        if other := seen.get(migration.id):
            message = f"`{migration.id}` is already that of `{other.path}`"
            found.append(FileProblem(codes.DUPLICATE, message, migration.path, migration.line))
        seen.setdefault(migration.id, migration)
    known = {*seen, *outside}
    for migration in migrations:
        for parent in migration.parents:
            if parent not in known:
                message = f"`{migration.path}` follows `{parent}`, which is not there"
                found.append(FileProblem(codes.MISSING, message, migration.path, migration.line))
    return tuple(found)


def folder(
    migrations: Iterable[Migration], wrong: Iterable[FileProblem] = (), outside: Iterable[str] = ()
) -> MigrationFolder:
    """The history with its problems and the heads that must be joined; `outside` are parents kept elsewhere."""
    found = tuple(migrations)
    return MigrationFolder(in_order(found), (*wrong, *problems(found, outside)), heads(found))
