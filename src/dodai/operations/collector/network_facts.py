"""The network of the target of a check, tried from here: its origins, the ways around its edge, its closed ports."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from dodai.core import proposal
from dodai.core.fact import NotApplicable, Unknown
from dodai.operations.check import ClosedPorts, DirectRequests, OriginsSeen
from dodai.operations.collector import NO_MANIFEST, Gathering
from dodai.operations.project import Project
from dodai.operations.run.network_probe import (
    look_at_origin,
    look_at_port,
    look_directly,
    look_through,
    own_outer_address,
)


def origins_seen(gathering: Gathering) -> Any:
    """How the origins of the target answer."""
    project = gathering.project
    if project is None:
        return NO_MANIFEST
    origins = [one for one in project.environment(gathering.target).public_origins if one.startswith("https://")]
    if not origins:
        return NotApplicable(f"`[env.{gathering.target}]` names no https origin")
    return OriginsSeen(gathering.target, tuple(look_at_origin(one) for one in origins))


def direct_requests(gathering: Gathering) -> Any:
    """How the public service of the target answers beside its edge."""
    project, target = gathering.project, gathering.target
    if project is None:
        return NO_MANIFEST
    public, named = project.policy.public_service, project.environment(target).ways_around_edge
    asked = public is not None and bool(public.app or public.client)  # else no layer of ours could know the edge's key
    here = _addresses_here(gathering, project)
    if here == {} and asked and not named:
        return _idle(target)
    own = [here[public.name]] if here and public is not None and asked and public.name in here else []
    if not named and not own:
        return NotApplicable(f"`[env.{target}]` names no `direct_origins`")
    through = look_through(_front(gathering, project))
    return DirectRequests(target, tuple(look_directly(one, through_edge=through) for one in (*named, *own)))


def closed_ports(gathering: Gathering) -> Any:
    """The ports of the target that must be closed; of a local environment those of every service, from outside."""
    project, target = gathering.project, gathering.target
    if project is None:
        return NO_MANIFEST
    named, outer, here = (
        project.environment(target).closed_ports,
        own_outer_address(),
        _addresses_here(gathering, project),
    )
    if here == {} and not named:
        return _idle(target)
    own = [f"{outer}:{address.rpartition(':')[2]}" for address in (here or {}).values()] if outer else []
    if not named and not own:
        why = (
            "this machine has no address that others could use" if here else f"`[env.{target}]` names no `closed_ports`"
        )
        return NotApplicable(why)
    reached = look_through(_front(gathering, project)) is not None
    return ClosedPorts(target, tuple(look_at_port(one, reached=reached) for one in (*named, *own)))


def _idle(target: str) -> Unknown:
    return Unknown(f"nothing serves in `{target}`", f"`{proposal.DEPLOY(env=target)}`, or leave `--target` out")


def _addresses_here(gathering: Gathering, project: Project) -> Mapping[str, str] | None:
    """Where the services of a target on this machine listen, nowhere when it does not run; None for one elsewhere."""
    here = gathering.ports.open(project, gathering.target)
    if here.host is None:
        return None
    status = asyncio.run(here.compute.status())
    return {one.name: one.address for one in status.services if status.running and one.address}


def _front(gathering: Gathering, project: Project) -> str:
    """Where people reach the target from here: the edge on this machine, else its first origin; `""` for nowhere."""
    here = gathering.ports.open(project, gathering.target)
    own = asyncio.run(here.edge.observe()).url if here.host is not None else ""
    return own or next(iter(here.config.public_origins), "")
