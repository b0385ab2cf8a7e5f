"""The manifest `dodai.toml`: one annotated reference is documentation, `explain manifest` and validation at once."""

from __future__ import annotations

from dodai.core.manifest.reader import CheckSection, Manifest, ManifestProblems, ProjectSection, read
from dodai.core.manifest.reference import ManifestReference, assemble

__all__ = ["CheckSection", "Manifest", "ManifestProblems", "ManifestReference", "ProjectSection", "assemble", "read"]
