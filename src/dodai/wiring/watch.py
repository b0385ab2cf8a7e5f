"""What `dodai watch` watches: an environment of the manifest, its lines, and the notifiers it tells."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dodai.observability.policy import ObservabilityPolicy
from dodai.observability.ports import Channel, DeadMansSwitch
from dodai.observability.run import Watched
from dodai.operations.project import Project

_PROBES = ("/healthz", "/readyz")


def watched(project: Project, env: str, *, fast: bool = False, state: Path | None = None) -> Watched:
    """The environment `env`, its lines below `state` (by default where dodai keeps them); DOD051 for another name."""
    config, policy = project.environment(env), project.policy
    public = policy.public_service
    steps = {
        journey.title or journey.name: tuple(f"{step.method} {step.path}" for step in journey.steps)
        for journey in policy.journeys
    }
    return Watched(
        project=project.manifest.name,
        env=config.name,
        state=state or project.state / "env" / config.name,
        policy=ObservabilityPolicy.from_manifest(project.manifest.section("observability") or {}),
        probes=frozenset({*_PROBES, *(service.health.path for service in policy.services.values())}),
        journeys=steps,
        public=public.name if public else "",
        fast=fast,
        runbook=f"{project.manifest.data['project']['docs']}/Phase2/observability.md",
    )


def channels(watched_: Watched) -> Mapping[str, Channel]:
    """How each notifier of the manifest is reached."""
    from dodai.providers.notify import channel  # an HTTP client and more, which nobody needs but who sends

    told = {name: one for name, one in watched_.policy.notifiers.items() if one.kind != "deadman"}
    return {name: channel(section, os.environ) for name, section in told.items()}


def switches(watched_: Watched) -> Mapping[str, DeadMansSwitch]:
    """How each dead man's switch of the manifest is asked for."""
    from dodai.providers.notify import DeadMan

    asked = {name: one for name, one in watched_.policy.notifiers.items() if one.kind == "deadman"}
    return {name: DeadMan(section.url, section.variable, os.environ) for name, section in asked.items()}
