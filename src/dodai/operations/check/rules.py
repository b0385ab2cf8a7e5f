"""The rules of operations: what the manifest and the ids of rules, drills and tests decide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from dodai.core import codes as core
from dodai.core.dataclass import dataclass
from dodai.core.errors import Code, DodaiError
from dodai.core.fact import Cost, Unknown
from dodai.core.finding import Finding, Place
from dodai.core.manifest import Manifest
from dodai.core.rule import declared, rule
from dodai.core.suggestion import nearest
from dodai.operations import codes
from dodai.operations.environment_policy import FIT_NAME
from dodai.operations.freeze import window
from dodai.operations.policy import OperationsPolicy
from dodai.operations.service_limits import (
    install_problems,
    limit_problems,
    name_problems,
    referred,
    unknown_reference,
    worker_problems,
)


@dataclass(frozen=True, slots=True)
class Proofs:
    """Everything that can turn red: codes of rules, ids of drills, and those tests that the manifest names."""

    cost: ClassVar[Cost] = "static"
    ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class ProviderProblems:
    """What is wrong with the providers that the manifest names for its environments."""

    cost: ClassVar[Cost] = "static"
    findings: tuple[Finding, ...]

    def of(self, code: Code) -> Iterator[Finding]:
        return (finding for finding in self.findings if finding.code is code)


@dataclass(frozen=True, slots=True)
class ReadyPaths:
    """What applications answer at the path that says whether they are ready, by service; `gaps` could not be asked."""

    cost: ClassVar[Cost] = "local"
    answers: Mapping[str, Mapping[str, Any]]
    gaps: tuple[Unknown, ...] = ()


@dataclass(frozen=True, slots=True)
class TrackedState:
    """What git tracks of the state folder."""

    cost: ClassVar[Cost] = "static"
    paths: tuple[str, ...]


@rule(core.UNKNOWN_PROVIDER, needs=(ProviderProblems,))
def every_provider_is_known(problems: ProviderProblems) -> Iterator[Finding]:
    return problems.of(core.UNKNOWN_PROVIDER)


@rule(core.PROVIDERS_DO_NOT_FIT, needs=(ProviderProblems,))
def providers_work_together(problems: ProviderProblems) -> Iterator[Finding]:
    yield from problems.of(core.PROVIDERS_DO_NOT_FIT)
    yield from problems.of(core.MANIFEST_WRONG_VALUE)  # numbers whose range only a provider knows


@rule(core.KEY_OF_ANOTHER_PROVIDER, needs=(ProviderProblems,))
def every_key_has_its_provider(problems: ProviderProblems) -> Iterator[Finding]:
    return problems.of(core.KEY_OF_ANOTHER_PROVIDER)


@rule(codes.LIMIT_NOT_KEPT, needs=(ProviderProblems,))
def every_rate_limit_is_kept(problems: ProviderProblems) -> Iterator[Finding]:
    return problems.of(codes.LIMIT_NOT_KEPT)


@rule(codes.LOGIN_ROLE_UNFIT, needs=(ProviderProblems,))
def two_roles_take_turns(problems: ProviderProblems) -> Iterator[Finding]:
    return problems.of(codes.LOGIN_ROLE_UNFIT)


@rule(codes.NO_PUBLIC_SERVICE, needs=(Manifest,))
def one_public_service(manifest: Manifest) -> Iterator[Finding]:
    services = OperationsPolicy.from_manifest(manifest).services
    public = [name for name, service in services.items() if service.public]
    if services and len(public) != 1:
        said = f"{len(public)} services are public: {', '.join(f'`{name}`' for name in public) or 'none'}"
        yield Finding(codes.NO_PUBLIC_SERVICE, said, Place(manifest.path))


@rule(codes.UNFIT_NAME, needs=(Manifest,))
def every_environment_has_a_plain_name(manifest: Manifest) -> Iterator[Finding]:
    for name in OperationsPolicy.from_manifest(manifest).environments:
        if not FIT_NAME.fullmatch(name):
            yield Finding(codes.UNFIT_NAME, f"`{name}` cannot be the name of an environment", Place(manifest.path))


@rule(codes.PASSWORD_IN_MANIFEST, needs=(Manifest,))
def no_password_in_the_manifest(manifest: Manifest) -> Iterator[Finding]:
    for name, environment in OperationsPolicy.from_manifest(manifest).environments.items():
        for key in ("control_url", "database_url", "database_pooled_url"):
            if has_password(getattr(environment, key)):
                said = f"`{key}` of `[env.{name}]` carries a password"
                yield Finding(codes.PASSWORD_IN_MANIFEST, said, Place(manifest.path))


@rule(codes.SERVICE_CYCLE, needs=(Manifest,))
def no_service_cycle(manifest: Manifest) -> Iterator[Finding]:
    try:
        OperationsPolicy.from_manifest(manifest).start_order()
    except ValueError as error:
        yield Finding(codes.SERVICE_CYCLE, str(error), Place(manifest.path))


@rule(codes.NO_READY_PATH, needs=(Manifest, ReadyPaths))
def every_service_says_whether_it_is_ready(manifest: Manifest, paths: ReadyPaths) -> Iterator[Finding]:
    for service, answer in paths.answers.items():
        if not answer["reached"] and answer["status"] in (404, 405):
            path = answer["path"]
            said = f"`{service}` has no `{path}`, which is asked before it gets any traffic"
            fix = (
                f"let `{path}` answer 200 once it can serve; or name another `path` in `[service.{service}.health]`, "
                f'or `kind = "tcp"`'
            )
            yield Finding(codes.NO_READY_PATH, said, Place(manifest.path), fix=fix)


@rule(codes.UNKNOWN_REFERENCE, needs=(Manifest,))
def every_reference_has_its_service(manifest: Manifest) -> Iterator[Finding]:
    services = OperationsPolicy.from_manifest(manifest).services
    for service in services.values():
        for variable, name in referred(service):
            if name not in services:
                wrong = unknown_reference(service.name, variable, name, tuple(services))
                yield Finding(codes.UNKNOWN_REFERENCE, wrong.message, Place(manifest.path), fix=wrong.fix)


@rule(codes.IMPOSSIBLE_WORKER, needs=(Manifest,))
def every_worker_can_work(manifest: Manifest) -> Iterator[Finding]:
    for said, fix in worker_problems(OperationsPolicy.from_manifest(manifest)):
        yield Finding(codes.IMPOSSIBLE_WORKER, said, Place(manifest.path), fix=fix)


@rule(codes.IMPOSSIBLE_LIMITS, needs=(Manifest,))
def every_limit_can_be_kept(manifest: Manifest) -> Iterator[Finding]:
    for said, fix in limit_problems(OperationsPolicy.from_manifest(manifest)):
        yield Finding(codes.IMPOSSIBLE_LIMITS, said, Place(manifest.path), fix=fix)


@rule(codes.TOO_MANY_MANUAL_STEPS, needs=(Manifest,))
def manual_steps_are_no_more_than_allowed(manifest: Manifest) -> Iterator[Finding]:
    policy = OperationsPolicy.from_manifest(manifest)
    for name, environment in policy.environments.items():
        by_hand = policy.manual_steps_of(environment)
        if 0 <= environment.manual_steps < len(by_hand):
            listed = ", ".join(f"`{one}`" for one in by_hand)
            said = f"`{name}` may have {environment.manual_steps} manual steps and has {len(by_hand)}: {listed}"
            yield Finding(codes.TOO_MANY_MANUAL_STEPS, said, Place(manifest.path))


@rule(codes.NAME_TAKEN, needs=(Manifest,))
def every_name_is_free(manifest: Manifest) -> Iterator[Finding]:
    for said, fix in name_problems(OperationsPolicy.from_manifest(manifest)):
        yield Finding(codes.NAME_TAKEN, said, Place(manifest.path), fix=fix)


@rule(codes.DEPENDENCIES_UNFIT, needs=(Manifest,))
def what_is_installed_can_be_kept(manifest: Manifest) -> Iterator[Finding]:
    for said, fix in install_problems(manifest.data["project"]["install"]):
        yield Finding(codes.DEPENDENCIES_UNFIT, said, Place(manifest.path), fix=fix)


@rule(codes.STATE_TRACKED, needs=(TrackedState,))
def state_is_not_in_git(state: TrackedState) -> Iterator[Finding]:
    if state.paths:
        more = f" and {len(state.paths) - 1} more" if len(state.paths) > 1 else ""
        yield Finding(codes.STATE_TRACKED, f"git tracks `{state.paths[0]}`{more}", Place(state.paths[0]))


@rule(codes.UNPROVEN_LIMITATION, needs=(Manifest, Proofs))
def every_resolved_limitation_is_proven(manifest: Manifest, proofs: Proofs) -> Iterator[Finding]:
    for limitation in OperationsPolicy.from_manifest(manifest).limitations:
        proof = limitation.resolved_by
        if not proof or proof in proofs.ids:
            continue
        said = f"`{limitation.id}` is resolved by `{proof}`, which is no rule, drill or test"
        near = nearest(proof, sorted(proofs.ids))
        fix = f"did you mean `{near}`?" if near else ""
        yield Finding(codes.UNPROVEN_LIMITATION, said, _place(manifest, proof), fix=fix)


@rule(codes.FREEZE_UNREADABLE, needs=(Manifest,))
def every_freeze_window_is_readable(manifest: Manifest) -> Iterator[Finding]:
    for environment in OperationsPolicy.from_manifest(manifest).environments.values():
        for text in environment.freeze:
            try:
                window(text)
            except DodaiError as error:
                yield Finding(codes.FREEZE_UNREADABLE, error.message, Place(manifest.path))


@rule(codes.PROTECTION_INCOMPLETE, needs=(Manifest,))
def protection_rests_on_something(manifest: Manifest) -> Iterator[Finding]:
    for environment in OperationsPolicy.from_manifest(manifest).environments.values():
        if lacks := environment.lacks:
            said = f"`[env.{environment.name}]` is protected without {lacks}"
            yield Finding(codes.PROTECTION_INCOMPLETE, said, Place(manifest.path))


def _place(manifest: Manifest, proof: str) -> Place:
    lines = manifest.text.decode("utf-8", "replace").split("\n")
    number = next((n for n, line in enumerate(lines, 1) if "resolved_by" in line and proof in line), None)
    return Place(manifest.path, number) if number else Place(manifest.path)


RULES = declared(globals())


def has_password(url: str) -> bool:
    """Whether a PostgreSQL address carries one, as URL or as words (`host=… password=…`)."""
    if "://" not in url:
        return "password" in url
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.password) or "password" in parse_qs(parts.query)
