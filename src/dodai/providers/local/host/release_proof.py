"""Whether what is to be started again is what came into service: the files of its release, and its packages."""

from __future__ import annotations

import asyncio
from pathlib import Path

from dodai.operations.installed import PACKAGES, refuse_changed
from dodai.operations.ports import ServiceSpec
from dodai.providers.local.release_tree import ReleaseTrees


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
