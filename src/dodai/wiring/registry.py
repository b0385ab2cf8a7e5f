"""Everything the areas declare, collected: codes, rules, fragments of the reference."""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING

from dodai.core.errors import CodeRegistry
from dodai.core.manifest import Reference

if TYPE_CHECKING:
    from dodai.core.rule import Rule

AREAS = ("csrf", "migrations", "operations", "observability")
_CODE_MODULES = (
    "dodai.core.codes",
    "dodai.core.refusal",
    *(f"dodai.{area}.codes" for area in AREAS),
    "dodai.engine.codes",
    "dodai.providers.postgres.codes",
    "dodai.providers.local.codes",
)


@cache
def codes() -> CodeRegistry:
    """Every code there is; raises `ValueError` when two modules declare the same one."""
    return CodeRegistry(code for name in _CODE_MODULES for code in importlib.import_module(name).CODES)


def rules(areas: tuple[str, ...] = AREAS) -> tuple[Rule, ...]:
    """The rules of the areas, in the order of their codes."""
    found = [rule for area in areas for rule in importlib.import_module(f"dodai.{area}.check").RULES]
    return tuple(sorted(found, key=lambda rule: rule.code.id))


@cache
def reference() -> Reference:
    """The annotated reference of the manifest."""
    from dodai.runtime.manifest import reference as assembled

    return assembled()
