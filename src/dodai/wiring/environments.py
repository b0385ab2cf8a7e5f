"""Environments, put together from the manifest: the one place that knows which provider stands behind a port.

A new provider is a folder whose module holds a `PROVIDER`, and one line here.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from dodai.core import codes
from dodai.core.errors import DodaiError
from dodai.core.finding import Finding
from dodai.core.manifest import ManifestProblems
from dodai.migrations.ports import Copies
from dodai.operations.environment import Environment, refuse_unfit_name
from dodai.operations.environment_policy import PARTS, EnvironmentPolicy, Part
from dodai.operations.journey import Visit, Visitor
from dodai.operations.local_control import FileControl
from dodai.operations.ports import Control, DatabaseService, DoctorRow, Logins
from dodai.operations.project import Project
from dodai.operations.provider import Opening, Provider, provider_problems, unkept_limits
from dodai.providers.local.signature import SshKeygen
from dodai.wiring.migration_target import ProjectMigrations

PROVIDERS: dict[str, str] = {
    "age": "dodai.providers.age.age_file",
    "command": "dodai.providers.secret_command.command_store",
    "fly": "dodai.wiring.fly_provider",
    "local": "dodai.wiring.local_provider",
    "authentik": "dodai.providers.authentik.declared_sign_in",
    "cloudflare": "dodai.providers.cloudflare.zone_edge",
    "neon": "dodai.wiring.neon_provider",
    "postgres": "dodai.wiring.postgres_provider",
}
"""The module of each provider."""

T = TypeVar("T")


def provider(name: str) -> Provider:
    """The provider of that name; loaded when it is asked for."""
    found: Provider = importlib.import_module(PROVIDERS[name]).PROVIDER
    return found


def registered() -> Mapping[str, Callable[[], Provider]]:
    """Every provider, loaded when it is asked for."""
    return {name: partial(provider, name) for name in PROVIDERS}


def problems_of(project: Project, name: str) -> tuple[Finding, ...]:
    """Why the providers of the environment `name` cannot be used; none when they can."""
    return tuple(provider_problems(project, name, registered()))


def unkept_limits_of(project: Project, name: str) -> tuple[Finding, ...]:
    """The rate limits that the edge of the environment `name` cannot hold anybody to."""
    return tuple(unkept_limits(project, name, registered()))


def open(project: Project, name: str) -> Environment:  # noqa: A001 - `environments.open(project, "staging")`
    """The environment `name`, nothing started; DOD051 when the manifest has none of that name.

    DOD318 (exit 2) for a name that cannot be the name of a folder.
    DOD009, DOD010 and DOD011 (exit 2) when its providers are unknown or do not fit.
    """
    config = project.environment(name)
    refuse_unfit_name(name)
    if problems := problems_of(project, name):
        raise ManifestProblems(problems)
    return assemble(config, project.root / config.folder if config.folder else project.state / "env" / name, project)


def copies(project: Project, name: str, note: Callable[[str], None]) -> Copies | None:
    """What makes copies of the database of `name` for a rehearsal; None where its provider has nothing of the kind."""
    here = open(project, name)
    made = provider(here.config.provider_of("database")).copies
    return made(Opening(project, here.config, here.folder, here.host, secrets=here.secrets), note) if made else None


def open_all(project: Project) -> Iterator[Environment]:
    """Every environment of the manifest, `local` included."""
    return (open(project, name) for name in project.environments)


def assemble(
    config: EnvironmentPolicy,
    folder: Path,
    project: Project,
    variables: Mapping[str, str] = os.environ,
    visit: Visit | None = None,
) -> Environment:
    """The environment that `config` describes, its state in `folder`; `variables` hold tokens of vendors.

    `visit` is for an environment whose public name leads nowhere, as that of a rehearsal.
    """
    compute, database = provider(config.provider_of("compute")), provider(config.provider_of("database"))
    edge, secrets = provider(config.provider_of("edge")), provider(config.provider_of("secrets"))
    project = project if compute.host else replace(project, elsewhere=True)
    opening = Opening(project, config, folder, variables=variables)
    host = compute.host(opening) if compute.host else None
    store = _part(secrets.secrets, "secrets", config)(opening)
    opening = replace(opening, host=host, secrets=store)
    identity = provider(config.provider_of("identity")).identity
    chosen = _part(database.database, "database", config)(opening)
    return Environment(
        project=project,
        config=config,
        folder=folder,
        compute=_part(compute.compute, "compute", config)(opening),
        artifacts=_part(compute.artifacts, "compute", config)(opening),
        database=chosen,
        migrations=ProjectMigrations(
            project,
            chosen.url,
            production=database.production,
            copies=partial(database.copies, opening) if database.copies else None,
        ),
        edge=_part(edge.edge, "edge", config)(opening),
        keeps_limits=edge.keeps_limits,
        secrets=store,
        control=_control(opening),
        signatures=SshKeygen(),
        visit=visit or partial(visitor_at, origin=next(iter(config.public_origins), "")),
        described_by=lambda other, described=None: assemble(described or config, folder, other, variables, visit),
        kept_in=lambda other: assemble(config, other, project, variables, visit),
        host=host,
        accounts=lambda: tuple(
            row
            for one in dict.fromkeys(map(config.provider_of, PARTS))
            for row in (provider(one).examine or _nothing)(opening)
        ),
        identity=identity(opening) if identity else None,
        logs=compute.logs(opening) if compute.logs else None,
        lines=compute.lines(opening) if compute.lines else None,
        counters=compute.counters(opening) if compute.counters else None,
        edge_keys=edge.edge_keys(opening) if edge.edge_keys else None,
        sends_key=edge.sends_key(project, config) if edge.sends_key else False,
        logins=_logins(config, project, chosen),
    )


def _logins(config: EnvironmentPolicy, project: Project, database: DatabaseService) -> Logins | None:
    if not (config.database_roles and project.policy.database.used_by):
        return None
    from dodai.providers.postgres.login_roles import LoginRoles  # psycopg is an extra

    return LoginRoles(database.url, partial(database.url, direct=False))


def _nothing(_: Opening) -> tuple[DoctorRow, ...]:
    return ()


def _part(made: T | None, part: Part, config: EnvironmentPolicy) -> T:
    """Unreachable for a manifest that was checked: `check_providers` refuses it first."""
    if made is None:
        raise DodaiError(
            codes.PROVIDERS_DO_NOT_FIT,
            f"`[env.{config.name}]`: `{config.provider_of(part)}` has no {part}",
            codes.PROVIDERS_DO_NOT_FIT.fix.en,
            exit_code=2,
        )
    return made


def _control(opening: Opening) -> Control:
    config = opening.config
    if not config.control_url:
        return FileControl(opening.folder, shared=opening.host is None)
    from dodai.providers.postgres.control.service import PostgresControl  # psycopg is an extra

    return PostgresControl(opening.control_address, config.name, opening.folder, secret=config.control_secret)


def visitor_at(url: str, origin: str = "") -> Visitor:
    """A new visitor at a base URL; its HTTP client is loaded here, as most commands visit nothing.

    People reach an edge of this machine by its public `origin`: an application that answers to that name only, or sends
    everybody to https, is visited as they do.
    """
    from dodai.providers.local.browser import HttpBrowser, is_loopback

    return HttpBrowser(url, origin=origin if is_loopback(urlsplit(url).hostname or "") else "")
