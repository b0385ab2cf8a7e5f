"""How each fact of each area is gathered from the providers this project uses."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from dodai.core.fact import NotApplicable
from dodai.core.manifest import Manifest
from dodai.csrf.check.gather import gather_forms, gather_routes
from dodai.csrf.form_table import FormTable
from dodai.csrf.route_table import RouteTable
from dodai.migrations import check as migrations
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import Connect
from dodai.wiring.gathering import Gathering
from dodai.wiring.migrations import policy_of


def manifest(gathering: Gathering) -> Any:
    """The manifest."""
    return gathering.project.manifest if gathering.project else NotApplicable("there is no dodai.toml")


def history(gathering: Gathering) -> Any:
    """The migration files."""
    return migrations.gather_history(
        gathering.root,
        _migrations_policy(gathering),
        today=gathering.today,
        base=gathering.base,
        everything=gathering.everything,
    )


def base_history(gathering: Gathering) -> Any:
    """The migration files beside those of the branch they go to."""
    policy = _migrations_policy(gathering)
    return migrations.gather_base(gathering.root, policy, gathering.fact(migrations.History), base=gathering.base)


def shadow_run(gathering: Gathering) -> Any:
    """What happens when the migrations are applied to an empty server."""
    return migrations.gather_shadow(
        gathering.root,
        _migrations_policy(gathering),
        gathering.fact(migrations.History),
        lambda: _shadow_server(gathering),
        base=gathering.base,
        everything=gathering.everything,
    )


def route_table(gathering: Gathering) -> Any:
    """The routes of the services, audited in the interpreter of the project."""
    project = gathering.project
    if project is None:
        return NotApplicable("there is no dodai.toml that names an `app`")
    return gather_routes(
        project.manifest.data,
        root=project.root,
        python=project.python,
        today=gathering.today.isoformat(),
        manifest_path=project.root / project.manifest.path,
    )


def form_table(gathering: Gathering) -> Any:
    """The forms of the templates."""
    data = gathering.project.manifest.data if gathering.project else {}
    return gather_forms(data, root=gathering.root)


@contextlib.contextmanager
def _shadow_server(gathering: Gathering) -> Iterator[Callable[[], Connect]]:
    """A throw-away server of the version production runs; each call of what it gives makes an empty database."""
    from dodai.providers.postgres.binaries import find_binaries
    from dodai.providers.postgres.cluster import throw_away
    from dodai.providers.postgres.connection import connect

    major = gathering.project.policy.database.major if gathering.project else 0
    with throw_away(find_binaries(major=major)) as cluster:
        names = (f"shadow_{number}" for number in range(1, 1_000_000))

        def new_database() -> Connect:
            url = cluster.create_database(next(names))
            return lambda: connect(url)

        yield new_database


def _migrations_policy(gathering: Gathering) -> MigrationsPolicy:
    found = policy_of(gathering.project) if gathering.project else None
    return found or MigrationsPolicy()


GATHERERS: dict[type, Callable[[Gathering], Any]] = {
    Manifest: manifest,
    migrations.History: history,
    migrations.BaseHistory: base_history,
    migrations.ShadowRun: shadow_run,
    RouteTable: route_table,
    FormTable: form_table,
}
