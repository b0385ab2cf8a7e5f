"""Where the manifest is and what it may say; a module of its own, because a command needs nothing else of a runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dodai.core.manifest import Reference

_AREAS = ("operations", "csrf", "migrations", "observability")


def reference() -> Reference:
    """The annotated reference of `dodai.toml`, assembled from the fragments of the areas."""
    from dodai.core.manifest import assemble

    package = Path(__file__).parents[1]
    fragments = {"core": package / "core" / "manifest.toml"}
    fragments |= {area: package / area / "manifest.toml" for area in _AREAS}
    return assemble({area: file.read_text("utf-8") for area, file in fragments.items() if file.exists()})


def nearest_manifest(folder: Path) -> Path | None:
    """The `dodai.toml` of `folder`, or of the nearest folder above it in the same git repository.

    Outside a repository only `folder` itself is looked at: a file that somebody left in a shared folder above
    (`/tmp/dodai.toml`) must never decide how an application is protected.
    """
    folders = [folder, *folder.parents]
    root = next((n for n, parent in enumerate(folders) if (parent / ".git").exists()), 0)
    candidates = (parent / "dodai.toml" for parent in folders[: root + 1])
    return next((file for file in candidates if file.is_file()), None)
