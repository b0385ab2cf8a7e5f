"""What `dodai watch` and `dodai trace` act through: notifiers, exports, engines that keep lines, the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dodai.observability.ports import Channel, DeadMansSwitch, KeptCounters, KeptLines, Standings, Turn
    from dodai.observability.run import Watched
    from dodai.observability.run.collect import Collection
    from dodai.observability.run.export import Export
    from dodai.operations.environment import Environment
    from dodai.operations.project import Project


ENVIRONMENT = "env:"
"""How `dodai trace --env` writes the platform of an environment among addresses."""


def lines_at(address: str) -> KeptLines:
    """Who keeps lines there: an engine at its address, a platform by the name of the environment (`env:production`)."""
    if address.startswith(ENVIRONMENT):
        return lines_of(address.removeprefix(ENVIRONMENT))
    from dodai.providers.telemetry import VictoriaLogs

    return VictoriaLogs(address)


def lines_of(name: str) -> KeptLines:
    """The platform of the environment `name` of the manifest here; `ValueError` where none keeps its lines."""
    from dodai.core.errors import DodaiError
    from dodai.wiring.find_project import find_project

    try:
        kept = _opened(find_project(), name)().lines
    except DodaiError as error:
        raise ValueError(error.message) from error
    if kept is None:
        raise ValueError(f"lines of `{name}` are written on the machine that it runs on: look there, with --state")
    return kept


def counters_at(address: str) -> KeptCounters:
    """Who keeps counters there."""
    from dodai.providers.telemetry.prometheus_api import Prometheus

    return Prometheus(address)


def counters_of(project: Project, env: str) -> KeptCounters | None:
    """The platform of the environment, where it scrapes the counters of its services."""
    return _opened(project, env)().counters


def channels(watched_: Watched) -> Mapping[str, Channel]:
    """How each notifier of the manifest is reached."""
    from dodai.providers.notify import channel  # an HTTP client and more, which nobody needs but who sends

    told = {name: one for name, one in watched_.policy.notifiers.items() if one.kind != "deadman"}
    return {name: channel(section, os.environ) for name, section in told.items()}


def exports(watched_: Watched) -> list[Export]:
    """Where lines, spans and metrics leave to."""
    if not watched_.policy.exports:
        return []
    from dodai.observability.run.export import Export
    from dodai.providers.otlp import Otlp  # an HTTP client, which nobody needs but who sends

    return [Export(watched_, section, Otlp(section)) for section in watched_.policy.exports.values()]


def collection(project: Project, watched_: Watched) -> Collection | None:
    """What copies the lines of an environment whose platform keeps them; None where they are written here, and where
    somebody said where to look.
    """
    if watched_.state != project.state / "env" / watched_.env:
        return None
    kept = _opened(project, watched_.env)().lines
    if kept is None:
        return None
    from dodai.observability.run.collect import Collection

    return Collection(watched_, kept)


def switches(watched_: Watched) -> Mapping[str, DeadMansSwitch]:
    """How each dead man's switch of the manifest is asked for."""
    from dodai.providers.notify import DeadMan

    asked = {name: one for name, one in watched_.policy.notifiers.items() if one.kind == "deadman"}
    return {name: DeadMan(section.url, section.variable, os.environ) for name, section in asked.items()}


def standings(project: Project, env: str) -> Standings:
    """Who can be asked how `env` stands."""
    from dodai.operations.run.network_probe import days_left  # TLS, which nobody needs but who looks
    from dodai.operations.run.watched_environment import EnvironmentStandings

    return EnvironmentStandings(project, env, _opened(project, env), days_left)


def turn(project: Project, env: str) -> Turn | None:
    """Whose turn it is to tell people, by the control database of `env`; None for an environment without one."""
    if not project.environment(env).control_url:
        return None
    from dodai.operations.run.watched_environment import LeasedTurn

    return LeasedTurn(_opened(project, env))


def _opened(project: Project, env: str) -> Callable[[], Environment]:
    def open_it() -> Environment:
        from dodai.wiring import environments  # what a provider acts through is heavy

        return environments.open(project, env)

    return open_it
