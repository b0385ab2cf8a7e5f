"""A history whose migrations name their parents, as Alembic's and Django's do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dodai.migrations import codes
from dodai.migrations.migration import Folder, Migration, Problem


def in_order(migrations: Iterable[Migration]) -> tuple[Migration, ...]:
    """Parents first, `order` counted from 1; those of a cycle come last."""
    waiting = sorted(migrations, key=lambda migration: (migration.path, migration.id))
    placed: dict[str, Migration] = {}
    here = {migration.id for migration in waiting}
    while ready := [m for m in waiting if all(parent in placed or parent not in here for parent in m.parents)]:
        placed |= {migration.id: migration for migration in ready}
        waiting = [migration for migration in waiting if migration.id not in placed]
    return tuple(replace(m, order=number) for number, m in enumerate((*placed.values(), *waiting), start=1))


def heads(migrations: Iterable[Migration]) -> tuple[str, ...]:
    """The ids that no other of their group follows, where a group has more than one; sorted, none in a sound one."""
    groups: dict[str, dict[str, Migration]] = {}
    for migration in migrations:
        groups.setdefault(migration.group, {})[migration.id] = migration
    found: list[str] = []
    for group in groups.values():
        open_ends = set(group) - {parent for migration in group.values() for parent in migration.parents}
        found += open_ends if len(open_ends) > 1 else ()
    return tuple(sorted(found))


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


def problems(migrations: Iterable[Migration], outside: Iterable[str] = ()) -> tuple[Problem, ...]:
    """Ids that exist twice (DOD202) and parents that are not there (DOD207) nor among those `outside`."""
    found: list[Problem] = []
    seen: dict[str, Migration] = {}
    migrations = tuple(migrations)
    for migration in sorted(migrations, key=lambda m: m.path):
        if other := seen.get(migration.id):
            message = f"`{migration.id}` is already that of `{other.path}`"
            found.append(Problem(codes.DUPLICATE, message, migration.path, migration.line))
        seen.setdefault(migration.id, migration)
    known = {*seen, *outside}
    for migration in migrations:
        for parent in migration.parents:
            if parent not in known:
                message = f"`{migration.path}` follows `{parent}`, which is not there"
                found.append(Problem(codes.MISSING, message, migration.path, migration.line))
    return tuple(found)


def folder(migrations: Iterable[Migration], wrong: Iterable[Problem] = (), outside: Iterable[str] = ()) -> Folder:
    """The history with its problems and the heads that must be joined; `outside` are parents kept elsewhere."""
    found = tuple(migrations)
    return Folder(in_order(found), (*wrong, *problems(found, outside)), heads(found))
