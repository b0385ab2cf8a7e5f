"""Everything the areas declare, collected: codes, rules, fragments of the reference."""

from __future__ import annotations

import importlib
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from dodai.core.errors import CodeRegistry
from dodai.core.manifest import ManifestReference

if TYPE_CHECKING:
    from dodai.core.rule import Rule

AREAS = ("csrf", "migrations", "operations", "observability")
_PACKAGE = Path(__file__).parents[1]


@cache
def codes() -> CodeRegistry:
    """Every code there is, of each folder `codes`; raises `ValueError` when two of them declare the same one."""
    files = [*_PACKAGE.glob("*/codes/__init__.py"), *_PACKAGE.glob("providers/*/codes/__init__.py")]
    names = sorted(".".join(("dodai", *file.parent.relative_to(_PACKAGE).parts)) for file in files)
    return CodeRegistry(code for name in names for code in importlib.import_module(name).CODES)


def rules(areas: tuple[str, ...] = AREAS) -> tuple[Rule, ...]:
    """The rules of the areas, in the order of their codes."""
    found = [rule for area in areas for rule in importlib.import_module(f"dodai.{area}.check").RULES]
    return tuple(sorted(found, key=lambda rule: rule.code.id))


def reference_in_japanese() -> str:
    """The text of the reference with Japanese sentences."""
    files = (_PACKAGE / area / "manifest.ja.toml" for area in ("core", *AREAS))
    parts = [tomllib.loads(file.read_text("utf-8")) for file in files]
    return reference().text_with({path: sentence for part in parts for path, sentence in part.items()})


@cache
def reference() -> ManifestReference:
    """The annotated reference of the manifest."""
    from dodai.runtime.manifest_location import reference as assembled

    return assembled()
