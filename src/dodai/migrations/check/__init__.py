"""The rules of migrations and how their facts are gathered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

from dodai.core.fact import NotApplicable, Unknown
from dodai.migrations.check.base import read_base
from dodai.migrations.check.facts import Base, BaseHistory, History, LiveSchema, ShadowRun
from dodai.migrations.check.live import live_schema
from dodai.migrations.check.queries import queries_at, read_queries
from dodai.migrations.check.rules import RULES
from dodai.migrations.check.shadow import shadow_run
from dodai.migrations.goose_file import read_folder
from dodai.migrations.lock_probe.rows import read_rows
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import Shadow, Tool

__all__ = [
    "RULES", "BaseHistory", "History", "LiveSchema", "Shadow", "ShadowRun",
    "gather_base", "gather_history", "gather_shadow", "live_schema",
]  # fmt: skip


def gather_history(
    root: Path,
    policy: MigrationsPolicy,
    *,
    today: date,
    base: str = "",
    everything: bool = False,
    environment: Mapping[str, str] | None = None,
    reader: Tool | None = None,
) -> History | NotApplicable:
    """The files; judged are those that the fork point with the base does not have, or all of them.

    `reader` is the tool of a history that is not SQL files.
    """
    if not (root / policy.folder).is_dir():
        return NotApplicable(f"there is no folder `{policy.folder}`")
    folder = reader.read() if reader else read_folder(root, policy.folder, environment, policy.format)
    ids = frozenset(m.id for m in folder.migrations)
    found = read_base(root, policy, base, reader)
    old = {m.id: m.token_sha256 for m in found.fork} if isinstance(found, Base) else {}
    fresh = frozenset(m.id for m in folder.migrations if old.get(m.id) != m.token_sha256)
    judged = ids if everything else fresh
    return History(folder.migrations, folder.problems, judged, fresh, today, read_rows(root, policy), folder.heads)


def gather_base(
    root: Path,
    policy: MigrationsPolicy,
    history: History | NotApplicable,
    *,
    base: str = "",
    reader: Tool | None = None,
) -> BaseHistory | Unknown | NotApplicable:
    """The files beside those of the base."""
    if isinstance(history, NotApplicable):
        return history
    found = read_base(root, policy, base, reader)
    return BaseHistory(history.migrations, found) if isinstance(found, Base) else found


def gather_shadow(
    root: Path,
    policy: MigrationsPolicy,
    history: History | NotApplicable,
    shadow: Shadow,
    *,
    base: str = "",
    everything: bool = False,
    reader: Tool | None = None,
) -> ShadowRun | Unknown | NotApplicable:
    """The walk over an empty server. Raises what `shadow` and `reader.rendered` raise."""
    if isinstance(history, NotApplicable):
        return history
    if history.problems:
        first = history.problems[0]
        place = f"{first.path}:{first.line}" if first.line else first.path
        return Unknown(f"the files cannot be run while one cannot be read ({place})", first.fix or first.code.fix.en)
    if not history.migrations:
        return NotApplicable(f"`{policy.folder}` has no migration yet")
    if reader:
        history = replace(history, migrations=reader.rendered(shadow).migrations)
    found = read_base(root, policy, base, reader)
    old = queries_at(root, found.ref, policy.queries) if isinstance(found, Base) and policy.queries else ()
    new = read_queries(root, policy.queries)
    return shadow_run(history, shadow, everything=everything, old_queries=old, new_queries=new)
