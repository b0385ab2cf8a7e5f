"""What a Host comes back with after a crash or a reboot: what served when the last release was recorded.

Kept in one file that only its user can read, for it holds what services were started with. `down` forgets it: what was
stopped on purpose does not come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dodai.core.dataclass import dataclass
from dodai.engine.private_file import write_private
from dodai.operations.installed import PACKAGES, refuse_changed
from dodai.operations.ports import EdgeSpec, ProcessSpec, ServiceSpec
from dodai.providers.local.host import wire
from dodai.providers.local.release_tree import ReleaseTrees

NAME = "serving.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRelease:
    """A release of a service as it was started."""

    spec: ServiceSpec
    release: str
    settings: str = ""
    tree: str
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Everything of an environment that serves, in the order it has to come back."""

    processes: tuple[ProcessSpec, ...] = ()
    edge: EdgeSpec | None = None
    services: tuple[KeptRelease, ...] = ()


def keep(folder: Path, serving: Serving) -> None:
    """Durable on return; a reader sees the old or the new."""
    write_private(folder / NAME, wire.line(wire.plain(serving)))


def follow(folder: Path, spec: ProcessSpec) -> None:
    """What is to come back has `spec` for the process of its name: it may be started anew long before `keep`."""
    serving = None
    with contextlib.suppress(ValueError):  # said by whoever comes back with it
        serving = kept(folder)
    if serving and any(one.name == spec.name and one != spec for one in serving.processes):
        processes = tuple(spec if one.name == spec.name else one for one in serving.processes)
        keep(folder, replace(serving, processes=processes))


def kept(folder: Path) -> Serving | None:
    """What is to come back; None for nothing. Raises `ValueError` for a file that cannot be read as one."""
    try:
        data = json.loads((folder / NAME).read_bytes())
    except FileNotFoundError:
        return None
    try:
        found: Serving = wire.read(Serving, data)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"`{folder / NAME}` is not what a host keeps: {error}") from error
    return found


def is_kept(folder: Path) -> bool:
    return (folder / NAME).exists()


def forget(folder: Path) -> None:
    (folder / NAME).unlink(missing_ok=True)


async def proven(folder: Path, tree: str, spec: ServiceSpec) -> None:
    """DOD366 or DOD317 (exit 1) when somebody changed either since; a tree that nobody published is not looked at.

    `folder` is that of the environment. As it was approved when it came into service, whatever happened since.
    """
    files, installed = Path(tree), folder / PACKAGES
    if files.name == "tree" and files.parents[1].name == "releases":
        await asyncio.to_thread(ReleaseTrees(files.parents[1]).proven, files.parent.name)
    paths = [Path(word) for word in spec.command if word.startswith(f"{installed}/")]
    for home in {installed / path.relative_to(installed).parts[0] for path in paths}:
        await asyncio.to_thread(refuse_changed, home)
