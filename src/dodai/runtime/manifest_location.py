"""Where the manifest is and what it may say; a module of its own, because a command needs nothing else of a runtime."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dodai.core.manifest import ManifestReference

FRAGMENTS = ("core", "operations", "csrf", "migrations", "observability")
"""The folders that hold a part of the annotated reference, `manifest.toml`."""


def reference() -> ManifestReference:
    """The annotated reference of `dodai.toml`: the fragments of the areas and the sections their policies declare."""
    from dodai.core.manifest import assemble

    return assemble(*parts(), proven=True)


def parts() -> tuple[Mapping[str, str], Mapping[str, type]]:
    """The text of each fragment, and the dataclass of each section."""
    from dodai.core.manifest import CheckSection, ProjectSection
    from dodai.csrf.policy import CsrfPolicy
    from dodai.migrations.policy import MigrationsPolicy
    from dodai.observability.policy import ObservabilityPolicy
    from dodai.operations.policy import OperationsPolicy

    package = Path(__file__).parents[1]
    fragments = {area: (package / area / "manifest.toml").read_text("utf-8") for area in FRAGMENTS}
    sections: dict[str, type] = {
        "project": ProjectSection,
        "check": CheckSection,
        "": OperationsPolicy,
        "csrf": CsrfPolicy,
        "migrations": MigrationsPolicy,
        "observability": ObservabilityPolicy,
    }
    return fragments, sections


def nearest_manifest(folder: Path) -> Path | None:
    """The `dodai.toml` of `folder`, or of the nearest folder above it in the same git repository.

    Outside a repository only `folder` itself is looked at: a file that somebody left in a shared folder above
    (`/tmp/dodai.toml`) must never decide how an application is protected. One that is there and cannot be read, such as
    a link to nothing, is the nearest all the same: whoever reads it says so.
    """
    folders = [folder, *folder.parents]
    root = next((n for n, parent in enumerate(folders) if (parent / ".git").exists()), 0)
    candidates = (parent / "dodai.toml" for parent in folders[: root + 1])
    return next((file for file in candidates if os.path.lexists(file)), None)
