"""The rules about the secrets of a running environment: their age, and whether what runs has their values of now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import Code
from dodai.core.fact import Cost
from dodai.core.finding import Finding, Place
from dodai.core.manifest import Manifest
from dodai.core.manifest.scan import find
from dodai.core.rule import declared, rule
from dodai.operations import codes


@dataclass(frozen=True, slots=True)
class SecretState:
    """One secret as `dodai secrets list` shows it: its state, that in a sentence, and what to type about it."""

    name: str
    state: str
    said: str
    next_command: str


@dataclass(frozen=True, slots=True)
class SecretStates:
    """Every secret of the environment `env`; `served` is what `ServedValues` comes from."""

    cost: ClassVar[Cost] = "live"
    env: str
    secrets: tuple[SecretState, ...]
    served: Mapping[str, bool]
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class ServedValues:
    """The services that serve in the environment `env`, and whether each has the values of now."""

    cost: ClassVar[Cost] = "live"
    env: str
    current: Mapping[str, bool]


def place_of(manifest: Manifest, *path: str) -> Place:
    """Where a table or key stands in the manifest, or the nearest one above it; without a line when there is none."""
    line = find(manifest.text.decode("utf-8-sig"), path)
    return Place(manifest.path, line.number) if line else Place(manifest.path)


@rule(codes.SECRET_OVERDUE, needs=(Manifest, SecretStates))
def no_secret_is_older_than_it_may_be(manifest: Manifest, states: SecretStates) -> Iterator[Finding]:
    for one in states.secrets:
        if one.state in ("due", "unknown age"):
            yield _finding(codes.SECRET_OVERDUE, manifest, one)


@rule(codes.SECRET_WITHOUT_VALUE, needs=(Manifest, SecretStates))
def every_secret_has_a_value(manifest: Manifest, states: SecretStates) -> Iterator[Finding]:
    for one in states.secrets:
        if one.state in ("missing", "unusable"):
            yield _finding(codes.SECRET_WITHOUT_VALUE, manifest, one)


@rule(codes.OLD_VALUE_KEPT, needs=(Manifest, SecretStates))
def no_old_value_stays_longer_than_needed(manifest: Manifest, states: SecretStates) -> Iterator[Finding]:
    for one in states.secrets:
        if one.state == "rotating" and one.next_command:
            yield _finding(codes.OLD_VALUE_KEPT, manifest, one)


@rule(codes.OTHER_VALUES_SERVE, needs=(Manifest, ServedValues))
def every_service_has_the_values_of_now(manifest: Manifest, served: ServedValues) -> Iterator[Finding]:
    for service, current in served.current.items():
        if not current:
            said = f"`{service}` of `{served.env}` runs with other values than those in the store"
            place = place_of(manifest, "service", service)
            restart = proposal.RESTART_SERVICE(env=served.env, service=service)
            yield Finding(codes.OTHER_VALUES_SERVE, said, place, fix=f"`{restart}`")


def _finding(code: Code, manifest: Manifest, one: SecretState) -> Finding:
    return Finding(code, one.said, place_of(manifest, "secret", one.name), fix=f"`{one.next_command}`")


RULES = declared(globals())
