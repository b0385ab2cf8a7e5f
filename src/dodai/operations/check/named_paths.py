"""The rule about files that the manifest names: each is there, and each pattern matches one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from dodai.core.dataclass import dataclass
from dodai.core.fact import Cost
from dodai.core.finding import Finding, Place
from dodai.core.manifest import Manifest
from dodai.core.manifest.scan import find
from dodai.core.rule import declared, rule
from dodai.operations import codes
from dodai.operations.check.secrets import place_of

PATTERNS = (("migrations", "queries"), ("csrf", "templates"))
"""Lists of patterns. What makes nothing of a pattern that matches nothing would judge less, and say nothing of it."""
FOLDERS = (("service", "cwd"), ("client", "folder"))
FILES = (("env", "allowed_signers"), ("env", "evidence_signers"))


@dataclass(frozen=True, slots=True)
class NamedPath:
    """A path or pattern of the manifest that leads to nothing, and the keys under which it stands there."""

    keys: tuple[str, ...]
    written: str


@dataclass(frozen=True, slots=True)
class NamedPaths:
    """What the manifest names and the working tree does not have."""

    cost: ClassVar[Cost] = "static"
    missing: tuple[NamedPath, ...]


def gather_named_paths(root: Path, manifest: Manifest) -> NamedPaths:
    """Every path that is written in the manifest beside the files below `root`; defaults are nobody's mistake."""
    text = manifest.text.decode("utf-8-sig")
    return NamedPaths(tuple(one for one in _missing(root, manifest) if find(text, one.keys)))


def _missing(root: Path, manifest: Manifest) -> Iterator[NamedPath]:
    for section, key in PATTERNS:
        for pattern in (manifest.section(section) or {}).get(key, ()):
            if not any(root.glob(pattern)):
                yield NamedPath((section, key), pattern)
    for kinds, is_there in ((FOLDERS, Path.is_dir), (FILES, Path.is_file)):
        for section, key in kinds:
            for name, table in manifest.named(section).items():
                if (written := table.get(key)) and not is_there(root / written):
                    yield NamedPath((section, name, key), written)


@rule(codes.NAMED_PATH_MISSING, needs=(Manifest, NamedPaths))
def everything_that_is_named_is_there(manifest: Manifest, paths: NamedPaths) -> Iterator[Finding]:
    for one in paths.missing:
        *table, key = one.keys
        what = "matches no file" if "*" in one.written else "is not there"
        said = f"`{one.written}`, the `{key}` of `[{'.'.join(table)}]`, {what}"
        place = place_of(manifest, *one.keys)
        yield Finding(codes.NAMED_PATH_MISSING, said, place if place.line else Place(manifest.path))


RULES = declared(globals())
