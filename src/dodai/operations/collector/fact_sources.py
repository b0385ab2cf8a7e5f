"""How each fact of each area is gathered."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dodai.core import proposal
from dodai.core.fact import NotApplicable, Unknown
from dodai.core.manifest import Manifest
from dodai.csrf.check.gather import gather_forms, gather_routes
from dodai.csrf.form_table import FormTable
from dodai.csrf.route_table import RouteTable, TierFlaws
from dodai.engine.state_folder import STATE
from dodai.migrations import check as migrations
from dodai.migrations.check.git import GitError, git
from dodai.migrations.goose_file.folder import nothing_found
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import Tool
from dodai.observability.check.incidents import IncidentFiles, gather_incidents
from dodai.observability.check.samples import LineSample, gather_lines
from dodai.observability.check.sources import PythonSources, gather_sources
from dodai.observability.policy import ObservabilityPolicy
from dodai.operations.check import (
    ClosedPorts,
    ComputeAccount,
    DatabaseAccount,
    DirectRequests,
    EdgeAccount,
    NamedPaths,
    OriginsSeen,
    Proofs,
    ProviderProblems,
    ReadyPaths,
    SecretState,
    SecretStates,
    ServedValues,
    SignInAccount,
    TrackedState,
    Variables,
    gather_named_paths,
    gather_variables,
)
from dodai.operations.collector import NO_MANIFEST, Gathering
from dodai.operations.collector.account_facts import compute_account, database_account, edge_account, sign_in_account
from dodai.operations.collector.network_facts import closed_ports, direct_requests, origins_seen
from dodai.operations.project import Project


def manifest(gathering: Gathering) -> Any:
    """The manifest."""
    return gathering.project.manifest if gathering.project else NO_MANIFEST


def base(gathering: Gathering) -> Any:
    """The branch that new migrations are compared with."""
    policy, reader = _migrations_policy(gathering), _reader(gathering)
    return migrations.read_base(gathering.root, policy, gathering.base, reader, _variables(gathering))


def _variables(gathering: Gathering) -> dict[str, str]:
    """What `ENVSUB` sees: what it sees in `up`, and what `[check].environment` has for a place that lacks it."""
    stated = gathering.project.manifest.data["check"]["environment"] if gathering.project else {}
    return {**stated, **os.environ}


def history(gathering: Gathering) -> Any:
    """The migration files; unknown when the manifest speaks of a folder that is not there."""
    seen = migrations.gather_history(
        gathering.root,
        _migrations_policy(gathering),
        gathering.fact(migrations.Base),
        today=gathering.today,
        everything=gathering.everything,
        environment=_variables(gathering),
        reader=_reader(gathering),
    )
    if isinstance(seen, NotApplicable) and gathering.project and gathering.project.manifest.mentions("migrations"):
        policy = MigrationsPolicy.from_manifest(gathering.project.manifest.section("migrations") or {})
        reason = f"there is no folder `{policy.folder}`, which `[migrations]` names"
        fix = nothing_found(gathering.root, policy.folder).fix or "correct `[migrations] folder`"
        return Unknown(reason, fix, by_manifest=True)
    return seen


def base_history(gathering: Gathering) -> Any:
    """The migration files beside those of the branch they go to."""
    return migrations.gather_base(gathering.fact(migrations.MigrationHistory), gathering.fact(migrations.Base))


def shadow_run(gathering: Gathering) -> Any:
    """What happens when the migrations are applied to an empty server."""
    return migrations.gather_shadow(
        gathering.root,
        _migrations_policy(gathering),
        gathering.fact(migrations.MigrationHistory),
        gathering.fact(migrations.Base),
        gathering.ports.shadow_of(gathering.project),
        everything=gathering.everything,
        reader=_reader(gathering),
        assume_extensions=gathering.project.manifest.data["check"]["assume_extensions"] if gathering.project else (),
    )


def attempts(gathering: Gathering) -> Any:
    """Which migrations apply to an empty server."""
    return migrations.gather_attempts(gathering.fact(migrations.ShadowRun))


def queries_tried(gathering: Gathering) -> Any:
    """Which queries of the application fit the schema before and behind the new migrations."""
    return migrations.gather_queries(gathering.fact(migrations.ShadowRun))


def live_schema(gathering: Gathering) -> Any:
    """The database of the target beside what its applied migrations build."""
    project = gathering.project
    policy = project.migrations if project else None
    if project is None or policy is None:
        return NotApplicable("there is no dodai.toml, or no folder of migrations")
    with gathering.ports.database_to_migrate(project, gathering.target or "local") as url:
        return migrations.live_schema(
            gathering.target,
            gathering.ports.target(project, project.root, lambda: url),
            gathering.ports.shadow_of(project),
        )


def route_table(gathering: Gathering) -> Any:
    """The routes of the services, audited in the interpreter of the project."""
    project, today = gathering.project, gathering.today.isoformat()
    if project is None:
        return gather_routes(
            {}, root=gathering.root, python=sys.executable, today=today, source=gathering.ports.route_source()
        )
    return gather_routes(
        project.manifest.data,
        root=project.root,
        python=project.python,
        today=today,
        manifest_path=project.root / project.manifest.path,
        source=gathering.ports.route_source(),
        ready=_ready_paths(project),
        lifespan=gathering.lifespan,
    )


def ready_paths(gathering: Gathering) -> Any:
    """What the applications answer where they are asked whether they are ready."""
    expected = _ready_paths(gathering.project) if gathering.project else {}
    if not expected:
        return NotApplicable("no service with an `app` is asked by a path whether it is ready")
    table = gathering.fact(RouteTable)
    if not isinstance(table, RouteTable):
        return table
    gaps = table.gaps if expected.keys() - table.ready.keys() else ()
    return ReadyPaths(table.ready, gaps)


def _ready_paths(project: Project) -> Mapping[str, str]:
    services = project.policy.services.values()
    return {one.name: one.ready_path for one in services if one.app and one.ready_kind == "http"}


def tier_flaws(gathering: Gathering) -> Any:
    """What else is wrong with the web tiers that are read as text."""
    table = gathering.fact(RouteTable)
    if not isinstance(table, RouteTable):
        return table
    return table.flaws or NotApplicable("no web tier is in Remix or React Router")


def form_table(gathering: Gathering) -> Any:
    """The forms of the templates."""
    data = gathering.project.manifest.data if gathering.project else {}
    python = gathering.project.python if gathering.project else sys.executable
    table = gathering.fact(RouteTable)
    routes = table if isinstance(table, RouteTable) else None
    return gather_forms(data, root=gathering.root, python=python, source=gathering.ports.route_source(), routes=routes)


def line_sample(gathering: Gathering) -> Any:
    """Lines that the services of this machine have written."""
    return gather_lines(gathering.root / ".dodai", gathering.root)


def incident_files(gathering: Gathering) -> Any:
    """The files of incidents, and how old they are today."""
    section = gathering.project.manifest.section("observability") if gathering.project else None
    policy = ObservabilityPolicy.from_manifest(section or {})
    return gather_incidents(gathering.root, policy.incidents, gathering.today)


def python_sources(gathering: Gathering) -> Any:
    """The Python files of the repository, parsed."""
    return gather_sources(gathering.root)


def tracked_state(gathering: Gathering) -> Any:
    """What git tracks of the state folders, those of folders below included."""
    try:
        listed = git(gathering.root, "-c", "core.fsmonitor=false", "ls-files", "-z", "--", f":(glob)**/{STATE}/**")
    except GitError as error:
        if any((folder / ".git").exists() for folder in (gathering.root, *gathering.root.parents)):
            return Unknown(str(error), "make `git status` work here")
        return NotApplicable("it is not a git repository")
    return TrackedState(tuple(sorted(os.fsdecode(name) for name in listed.split(b"\0") if name)))


def variables(gathering: Gathering) -> Any:
    """Where the application reads variables: the files that git has or would take, or all without git."""
    try:
        listed = git(gathering.root, "-c", "core.fsmonitor=false", "ls-files", "-z", "-co", "--exclude-standard")
        paths = sorted({os.fsdecode(name) for name in listed.split(b"\0") if name})
    except GitError:
        paths = sorted(_files_below(gathering.root))
    return gather_variables(gathering.root, paths)


def named_paths(gathering: Gathering) -> Any:
    """The paths that the manifest names, beside the working tree."""
    project = gathering.project
    return NO_MANIFEST if project is None else gather_named_paths(Path(project.root), project.manifest)


def _files_below(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name == ".github" or not name.startswith(".")]
        yield from ((Path(folder) / name).relative_to(root).as_posix() for name in names)


def provider_problems(gathering: Gathering) -> Any:
    """The providers of every environment beside the registry."""
    project = gathering.project
    if project is None:
        return NO_MANIFEST
    looks = (gathering.ports.problems_of, gathering.ports.unkept_limits_of)
    return ProviderProblems(
        tuple(found for name in project.environments for look in looks for found in look(project, name))
    )


def secret_states(gathering: Gathering) -> Any:
    """The secrets of the target, and whether what serves there has their values."""
    project = gathering.project
    if project is None:
        return NO_MANIFEST
    from dodai.operations.run.secret_status import report_of  # heavy, and most checks do without

    report = asyncio.run(report_of(gathering.ports.open(project, gathering.target)))
    env = report.env
    rows = tuple(SecretState(o.secret.name, o.state, o.in_words(env), o.next_command(env)) for o in report.secrets)
    return SecretStates(env, rows, report.served, report.unknown)


def served_values(gathering: Gathering) -> Any:
    """Which of the services that serve there have the values of now."""
    states = gathering.fact(SecretStates)
    if not isinstance(states, SecretStates):
        return states
    if states.unknown:
        return Unknown(f"what runs in `{states.env}` is not known: {states.unknown}")
    if not states.served:
        return Unknown(
            f"nothing serves in `{states.env}`", f"`{proposal.DEPLOY(env=states.env)}`, or leave `--target` out"
        )
    return ServedValues(states.env, states.served)


def proofs(gathering: Gathering) -> Any:
    """What a limitation may be resolved by."""
    project = gathering.project
    named = [row.resolved_by for row in project.policy.limitations if row.resolved_by] if project else []
    if project is None or not named:
        return NotApplicable("no `[[limitation]]` is called resolved")
    known = gathering.ports.proofs(project)
    return Proofs(frozenset(known | {name for name in named if _is_test(project.root, name)}))


def _is_test(root: Path, name: str) -> bool:
    """Whether `path::name` is a test function (or one in a class) of a file below `root`."""
    path, _, test = name.partition("::")
    file = root / path
    if not test or not file.is_file():
        return False
    function = re.escape(test.rpartition("::")[2].partition("[")[0])
    return re.search(rf"(?m)^\s*(async )?def {function}\(", file.read_text("utf-8", "replace")) is not None


def _migrations_policy(gathering: Gathering) -> MigrationsPolicy:
    manifest = gathering.project.manifest if gathering.project else None
    return MigrationsPolicy.from_manifest((manifest and manifest.section("migrations")) or {})


def _reader(gathering: Gathering) -> Tool | None:
    if gathering.project is None:
        return None
    return gathering.ports.tool_of(gathering.project, _migrations_policy(gathering), gathering.root)


GATHERERS: dict[type, Callable[[Gathering], Any]] = {
    Manifest: manifest,
    migrations.Base: base,
    migrations.MigrationHistory: history,
    migrations.BaseHistory: base_history,
    migrations.ShadowRun: shadow_run,
    migrations.Attempts: attempts,
    migrations.QueriesTried: queries_tried,
    migrations.LiveSchema: live_schema,
    RouteTable: route_table,
    TierFlaws: tier_flaws,
    FormTable: form_table,
    IncidentFiles: incident_files,
    LineSample: line_sample,
    PythonSources: python_sources,
    ProviderProblems: provider_problems,
    Proofs: proofs,
    TrackedState: tracked_state,
    ReadyPaths: ready_paths,
    SecretStates: secret_states,
    ServedValues: served_values,
    NamedPaths: named_paths,
    Variables: variables,
    OriginsSeen: origins_seen,
    DirectRequests: direct_requests,
    ClosedPorts: closed_ports,
    ComputeAccount: compute_account,
    DatabaseAccount: database_account,
    EdgeAccount: edge_account,
    SignInAccount: sign_in_account,
}
