"""What a provider is: the parts of an environment that it can stand behind, and which of them go together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from pathlib import Path

from dodai.core import codes as core
from dodai.core.dataclass import dataclass
from dodai.core.errors import Code
from dodai.core.finding import Finding, Place
from dodai.core.manifest.scan import find
from dodai.core.suggestion import did_you_mean
from dodai.core.text import counted
from dodai.migrations.ports import Copies
from dodai.observability.ports import KeptCounters, PlatformLines
from dodai.operations.codes import LIMIT_NOT_KEPT, LOGIN_ROLE_UNFIT
from dodai.operations.environment_policy import PARTS, EnvironmentPolicy, Part
from dodai.operations.ports import (
    Artifacts,
    Compute,
    DatabaseService,
    DoctorRow,
    Edge,
    Host,
    IdentityService,
    Logs,
    SecretStore,
)
from dodai.operations.project import Project

MOST_CANARY_S = 3600.0
SHARED = frozenset(
    {
        "provider",
        *PARTS,
        "public_origins",
        "database_roles",
        "folder",
        "control_url",
        "direct_origins",
        "closed_ports",
        "certificate_left",
        "protected",
        "evidence",
        "evidence_signers",
        "approvals",
        "approval_age",
        "allowed_signers",
        "freeze",
        "manual_steps",
    }
)
"""The keys of `[env.NAME]` that are nobody's own. With these alone no other provider has to be loaded."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a provider is given to make a part of an environment. `host` is there where compute runs on this machine.

    `variables` are where tokens and addresses of vendors stand: the environment of the command, others in a rehearsal.
    `secrets` is where its passwords and tokens are; None while the store itself is made.
    """

    project: Project
    config: EnvironmentPolicy
    folder: Path
    host: Host | None = None
    variables: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    secrets: SecretStore | None = None

    @property
    def control_address(self) -> str:
        """Where the control database is; "" where there is none, or while the secret that is to say it has no value."""
        if not (name := self.config.control_secret):
            return self.config.control_url
        return self.variables.get(name, "") or (self.secrets.get() if self.secrets else {}).get(name, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """What stands behind the ports under one name; a part that is None it has not.

    `keys` are the keys and tables of `[env.NAME]` that only it reads, `required` those that it cannot do without,
    `for_services` maps that have to say something for each service that runs there.
    `examine` looks at the account of the vendor, read only, for `dodai doctor ENV --live`.
    `lines` are those that the platform keeps of what services write to their output, `counters` what it scrapes.
    `edge_keys` is where the key of its edge is kept, where dodai makes that. `copies` makes copies of its databases for
    a rehearsal; the second argument hears what a person should know.
    `sends_key`: its edge sends a key with every request, which the public service is told.
    `production`: its databases hold data of people. `keeps_limits`: its edge can hold clients to `[edge.limit.NAME]`.
    `together` names, for a part, another part that has to be of the same provider: a local edge leads to
    processes of this machine and to nothing else.
    """

    compute: Callable[[Opening], Compute] | None = None
    artifacts: Callable[[Opening], Artifacts] | None = None
    database: Callable[[Opening], DatabaseService] | None = None
    edge: Callable[[Opening], Edge] | None = None
    identity: Callable[[Opening], IdentityService | None] | None = None
    secrets: Callable[[Opening], SecretStore] | None = None
    host: Callable[[Opening], Host] | None = None
    logs: Callable[[Opening], Logs] | None = None
    lines: Callable[[Opening], PlatformLines] | None = None
    counters: Callable[[Opening], KeptCounters] | None = None
    edge_keys: Callable[[Opening], SecretStore] | None = None
    sends_key: Callable[[Project, EnvironmentPolicy], bool] | None = None
    examine: Callable[[Opening], Iterable[DoctorRow]] | None = None
    keys: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    for_services: tuple[str, ...] = ()
    copies: Callable[[Opening, Callable[[str], None]], Copies] | None = None
    production: bool = True
    keeps_limits: bool = True
    together: Mapping[Part, Part] = field(default_factory=dict)

    def has(self, part: Part) -> bool:
        """Whether it can stand behind `part`."""
        return getattr(self, part) is not None


def provider_problems(project: Project, name: str, known: Mapping[str, Callable[[], Provider]]) -> Iterator[Finding]:
    """Why the providers of the environment `name` cannot be used: DOD009, DOD010 and DOD011, each at its line.

    `known` are the providers there are; of an unknown one nothing more is asked.
    """
    config = project.environment(name)
    chosen = {part: config.provider_of(part) for part in PARTS}
    unknown = {(config.key_of(part), named): None for part, named in chosen.items() if named not in known}
    for key, named in unknown:
        said = f"`env.{name}.{key}` is `{named}`, and there is no such provider"
        yield _problem(project, name, key, core.UNKNOWN_PROVIDER, said, did_you_mean(named, known))
    if unknown:
        return
    providers = {named: known[named]() for named in dict.fromkeys(chosen.values())}
    for part, named in chosen.items():
        if part == "identity" and not config.identity:
            continue  # a provider that is named for everything may have none: it is then looked at by nobody
        if problem := _misfit(part, chosen, providers[named]):
            yield _problem(project, name, config.key_of(part), core.PROVIDERS_DO_NOT_FIT, *problem)
    for named, one in providers.items():
        for key in one.required:
            if not _value(project, name, key):
                at = next(config.key_of(part) for part in PARTS if chosen[part] == named)
                said = f"the provider `{named}` needs `{key}` in `[env.{name}]`"
                yield _problem(project, name, at, core.PROVIDERS_DO_NOT_FIT, said, f"write `{key} = …` there")
        for key in one.for_services:
            said_for = _value(project, name, key)
            for service in project.policy.without_local_only().services:
                if isinstance(said_for, Mapping) and service not in said_for:
                    at = next(config.key_of(part) for part in PARTS if chosen[part] == named)
                    said = f"the provider `{named}` needs `{key}.{service}` in `[env.{name}]`"
                    yield _problem(project, name, at, core.PROVIDERS_DO_NOT_FIT, said, f"name it: `{service} = …`")
    mine = {key for one in providers.values() for key in one.keys}
    written = project.manifest.data["env"].get(name, {})
    if config.database_roles and len(set(config.database_roles)) != 2:
        said = f"`env.{name}.database_roles` has {counted(len(set(config.database_roles)), 'role')}, not two"
        yield _problem(project, name, "database_roles", LOGIN_ROLE_UNFIT, said, LOGIN_ROLE_UNFIT.fix.en)
    for key, said, fix in _out_of_range(config):
        yield _problem(project, name, key, core.MANIFEST_WRONG_VALUE, f"`{key}` of `[env.{name}]` is {said}", fix)
    foreign = [key for key in written if key not in SHARED and key not in mine and is_written(project, name, key)]
    for other in sorted(set(known) - set(providers)) if foreign else ():
        for key in known[other]().keys:
            if key in foreign:
                said = f"`{key}` of `[env.{name}]` is a key of the provider `{other}`, which it does not use"
                fix = did_you_mean(key, sorted(mine), f'remove it, or write `provider = "{other}"`')
                yield _problem(project, name, key, core.KEY_OF_ANOTHER_PROVIDER, said, fix)


def unkept_limits(project: Project, name: str, known: Mapping[str, Callable[[], Provider]]) -> Iterator[Finding]:
    """DOD527 for each rate limit that the edge of the environment `name` cannot hold anybody to."""
    edge = project.environment(name).provider_of("edge")
    if edge not in known or known[edge]().keeps_limits:
        return
    for limit in project.policy.edge.limits:
        line = find(project.manifest.text.decode(), ("edge", "limit", limit))
        place = Place(project.manifest.path, line.number) if line else Place(project.manifest.path)
        yield Finding(LIMIT_NOT_KEPT, unkept(limit, name, edge), place)


def unkept(limit: str, env: str, edge: str) -> str:
    """What is said of it, by `check` and by `doctor`."""
    return f"`[edge.limit.{limit}]` holds nobody back in `{env}`: the edge of `{edge}` has no rate limits"


def _out_of_range(config: EnvironmentPolicy) -> Iterator[tuple[str, str, str]]:
    """(key, what its value is, what to write) for numbers that mean nothing."""
    fly = config.fly
    if not 0 < fly.max_unavailable <= 1:
        said = f"`{fly.max_unavailable:g}`, not a share of the machines"
        yield "fly.max_unavailable", said, "write a number above 0 and up to 1"
    if fly.canary_requests < 1:
        yield (
            "fly.canary_requests",
            f"`{fly.canary_requests}`: without a request nothing can be said",
            "write 1 or more",
        )
    if not 0 < fly.canary_for_s <= MOST_CANARY_S:
        said = f"`{fly.canary_for_s:g}s`, not a time in which a deploy can wait for requests"
        yield "fly.canary_for", said, "write more than none and up to 1h"


def _misfit(part: Part, chosen: Mapping[Part, str], provider: Provider) -> tuple[str, str] | None:
    """What is wrong with a part and what to write instead; None when it fits."""
    named = chosen[part]
    if not provider.has(part):
        return f"the provider `{named}` has no {part}", f"name another provider: `{part} = …`"
    beside = provider.together.get(part)
    if beside is None or chosen[beside] == named:
        return None
    said = f"the {part} of `{named}` works with the {beside} of `{named}` only, and that is `{chosen[beside]}`"
    return said, f'write `{part} = "{chosen[beside]}"`, or `{beside} = "{named}"`'


def is_written(project: Project, name: str, key: str) -> bool:
    """Whether the manifest itself says `key` of the environment; a default is nobody's mistake."""
    path = ("env", name, key)
    line = find(project.manifest.text.decode(), path)
    return line is not None and line.path[:3] == path


def _value(project: Project, name: str, key: str) -> object:
    """What the manifest says at `key` of the environment, or at `table.key`; its default where it says nothing."""
    value = project.manifest.data["env"].get(name, {})
    for word in key.split("."):
        value = value.get(word, {})
    return value


def _problem(project: Project, name: str, key: str, code: Code, said: str, fix: str) -> Finding:
    line = find(project.manifest.text.decode(), ("env", name, *key.split(".")))
    place = Place(project.manifest.path, line.number, line.column) if line else Place(project.manifest.path)
    return Finding(code, said, place, line.text if line else "", fix=fix)
