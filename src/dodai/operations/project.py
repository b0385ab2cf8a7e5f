"""A repository with a manifest: where it is, what it says, where its state is kept."""

from __future__ import annotations

import re
import sys
from dataclasses import field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dodai.core import codes, proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.manifest import Manifest, ManifestReference, read
from dodai.core.suggestion import did_you_mean

if TYPE_CHECKING:
    from dodai.migrations.policy import MigrationsPolicy
    from dodai.operations.environment_policy import EnvironmentPolicy
    from dodai.operations.policy import OperationsPolicy

# `migrate up` is typed all day and asks for two words of the manifest: policies are loaded when they are asked for.


@dataclass(frozen=True)
class Project:
    """`root` is the folder of the manifest; `reference` says what a manifest may hold.

    `elsewhere`: as an environment sees it whose services run on no machine of ours, so without those that are
    `local_only`.
    """

    root: Path
    manifest: Manifest
    reference: ManifestReference = field(repr=False, compare=False)
    elsewhere: bool = False

    def with_manifest(self, text: bytes) -> Project:
        """The same repository with another manifest, as a journal recorded it; DOD001-DOD005 when it is not sound."""
        return replace(self, manifest=read(text, self.reference, path=self.manifest.path))

    def at_root(self, root: Path) -> Project:
        """The same manifest over the files in another folder."""
        return replace(self, root=root)

    def at(self, tree: Path) -> Project:
        """The project as the release in the folder `tree` has it: with its own manifest, when it has one."""
        there = self.at_root(tree)
        file = tree / Path(self.manifest.path).name
        return there.with_manifest(file.read_bytes()) if file.is_file() else there

    @cached_property
    def policy(self) -> OperationsPolicy:
        from dodai.operations.policy import OperationsPolicy

        policy = OperationsPolicy.from_manifest(self.manifest)
        return policy.without_local_only() if self.elsewhere else policy

    @property
    def migrations(self) -> MigrationsPolicy | None:
        """The `[migrations]` of the manifest, defaults included; None when the repository has no such folder."""
        from dodai.migrations.policy import MigrationsPolicy

        policy = MigrationsPolicy.from_manifest(self.manifest.section("migrations") or {})
        return policy if (self.root / policy.folder).is_dir() else None

    @property
    def database_variable(self) -> str:
        """The environment variable that holds the URL of the database, `[database].variable`."""
        return str(self.manifest.data["database"]["variable"])

    @property
    def state(self) -> Path:
        """Where dodai keeps what it knows: `.dodai`, ignored by git."""
        return self.root / ".dodai"

    @property
    def python(self) -> str:
        """The interpreter of the user's code: `[project].python`, else the one that runs dodai."""
        named = str(self.manifest.data["project"]["python"])
        return str(self.root / named) if named else sys.executable

    @property
    def install(self) -> tuple[str, ...]:
        """The lines that install the packages of a release, `[project].install`."""
        return tuple(self.manifest.data["project"]["install"])

    @property
    def environments(self) -> dict[str, EnvironmentPolicy]:
        """`local` is always there, whether or not the manifest describes it."""
        from dodai.operations.environment_policy import EnvironmentPolicy

        local = EnvironmentPolicy("local", "local", (), "", 0, protected=False)
        return {"local": local, **self.policy.environments}

    def environment(self, name: str) -> EnvironmentPolicy:
        """What the manifest says of the environment of that name; DOD051 names the ones there are."""
        known = self.environments
        if name in known:
            return known[name]
        raise DodaiError(
            codes.UNKNOWN_WORD, f"there is no environment `{name}`", did_you_mean(name, known), exit_code=2
        )


def with_client(project: Project, name: str) -> Project:
    """`project` with `client = "NAME"` in the service whose place that one takes; as it is for an empty name.

    Every release that is made of it carries that manifest, so whatever goes back to one, or rehearses it, runs the same
    tier. DOD051 for a name that no `[client.NAME]` has.
    """
    if not name:
        return project
    clients = project.policy.clients
    if name not in clients:
        fix = did_you_mean(name, clients) if clients else f"write a `[client.NAME]`: `{proposal.EXPLAIN_MANIFEST()}`"
        raise DodaiError(codes.UNKNOWN_WORD, f"there is no `[client.{name}]`", fix, exit_code=2)
    service = clients[name].service
    chosen = project.with_manifest(_with_key(project.manifest.text, service, name))
    if chosen.policy.services[service].client != name:
        fix = f'write `client = "{name}"` into it'
        said = f"`[service.{service}]` is not a table of its own in `{project.manifest.path}`"
        raise DodaiError(codes.UNKNOWN_WORD, said, fix, exit_code=2)
    return chosen


def _with_key(text: bytes, service: str, name: str) -> bytes:
    """The text with the key in that table; what is in the way (a `client` of its own) is replaced."""
    header = rf"(?m)^[ \t]*\[service\.{re.escape(service)}\][^\n]*\n"
    lines = text.decode("utf-8-sig")
    match = re.search(header, lines)
    if match is None:
        return text
    rest = lines[match.end() :]
    following = re.search(r"(?m)^[ \t]*\[", rest)
    end = following.start() if following is not None else len(rest)
    own = re.sub(r"(?m)^[ \t]*client[ \t]*=[^\n]*\n", "", rest[:end])
    return f'{lines[: match.end()]}client = "{name}"\n{own}{rest[end:]}'.encode()
