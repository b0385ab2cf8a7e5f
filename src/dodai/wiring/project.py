"""A repository with a manifest: where it stands, what it says, where its state is kept."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dodai.core import codes
from dodai.core.errors import DodaiError
from dodai.core.manifest import Manifest, read
from dodai.runtime.manifest import nearest_manifest
from dodai.wiring.registry import reference

if TYPE_CHECKING:
    from dodai.operations.policy import EnvironmentPolicy, OperationsPolicy

# `migrate up` is typed all day and asks for two words of the manifest: the policy is loaded when it is asked for.


@dataclass(frozen=True)
class Project:
    """`root` is the folder of the manifest; `state` is where dodai keeps what it knows (`.dodai`, ignored by git)."""

    root: Path
    manifest: Manifest

    @classmethod
    def find(cls, path: Path | None = None) -> Project:
        """The project of `path`, or of the nearest `dodai.toml` in the repository; DOD050 when there is none."""
        file = path if path is not None else nearest_manifest(Path.cwd())
        if file is None or not file.is_file():
            shown = f"`{path}` is not a file" if path else f"no `dodai.toml` in `{Path.cwd()}` or above it"
            raise DodaiError(codes.MANIFEST_NOT_FOUND, shown, codes.MANIFEST_NOT_FOUND.fix.en, exit_code=2)
        return cls.load(file.read_bytes(), file.resolve().parent, file.name)

    @classmethod
    def load(cls, text: bytes, root: Path, name: str = "dodai.toml") -> Project:
        """The project whose manifest is `text`; used to rebuild a plan from what its journal recorded."""
        return cls(root, read(text, reference(), path=name))

    @cached_property
    def policy(self) -> OperationsPolicy:
        from dodai.operations.policy import OperationsPolicy

        return OperationsPolicy.from_manifest(self.manifest)

    @property
    def database_variable(self) -> str:
        """The environment variable that holds the URL of the database, `[database].variable`."""
        return str(self.manifest.data["database"]["variable"])

    @property
    def state(self) -> Path:
        return self.root / ".dodai"

    @property
    def python(self) -> str:
        """The interpreter of the user's code: `[project].python`, else the one that runs dodai."""
        named = str(self.manifest.data["project"]["python"])
        return str(self.root / named) if named else sys.executable

    @property
    def environments(self) -> dict[str, EnvironmentPolicy]:
        """`local` is always there, whether or not the manifest describes it."""
        from dodai.operations.policy import EnvironmentPolicy

        local = EnvironmentPolicy("local", "local", (), "", 0, protected=False)
        return {"local": local, **self.policy.environments}

    def environment(self, name: str) -> EnvironmentPolicy:
        """The environment of that name; DOD051 names the ones there are."""
        known = self.environments
        if name in known:
            return known[name]
        import difflib

        nearest = difflib.get_close_matches(name, known, n=1)
        fix = f"did you mean `{nearest[0]}`?" if nearest else f"use one of {', '.join(f'`{n}`' for n in known)}"
        raise DodaiError(codes.UNKNOWN_WORD, f"there is no environment `{name}`", fix, exit_code=2)
