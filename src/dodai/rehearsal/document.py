"""What the documents say of the last rehearsal: a line for each page, and every failure with what was seen of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dodai.core import codes
from dodai.core.errors import AREAS, DodaiError
from dodai.core.page import Bullets, Paragraph, Section, Text, bullets
from dodai.operations.project import Project
from dodai.rehearsal.drill import Drill
from dodai.rehearsal.rehearsed import FILE, Rehearsed

_AREAS = {
    "csrf": Text("CSRF", "CSRF"),
    "migrations": Text("Migrations", "マイグレーション"),
    "operations": Text(
        "Operations: releases, connections, secrets, restore", "運用: リリース、接続、シークレット、復元"
    ),
    "observability": Text("Observability", "可観測性"),
}


def said_of(record: Rehearsed | None) -> Paragraph:
    """The line of every page."""
    never = Text(
        "No rehearsal is on record here: `dodai rehearse --all --document`.",
        "リハーサルの記録はありません（`dodai rehearse --all --document`）。",
    )
    return Paragraph(record.said if record else never)


def rehearsed_failures(drills: Iterable[Drill], record: Rehearsed | None) -> Section:
    """Every fault that a rehearsal injects: what has to be seen then, and what was seen last."""
    known = tuple(drill for drill in drills if not drill.apart)
    words = Text(
        "Each of these happens in `dodai rehearse --all`, on this machine, to the processes of a stage. "
        "One alone: `dodai rehearse --only ID`.",
        "どの障害も、`dodai rehearse --all` がこのマシン上のステージのプロセスに対して実際に起こします。"
        "1 件だけ行うには `dodai rehearse --only ID` を使います。",
    )
    parts = tuple(
        Section(title, (_listed([drill for drill in known if drill.area == area], record),))
        for area, title in sorted(_AREAS.items(), key=lambda one: AREAS.index(one[0]))
        if any(drill.area == area for drill in known)
    )
    return Section(
        Text("Failures, as rehearsed", "リハーサルした障害"), (Paragraph(words),), parts, "rehearsed-failures"
    )


def _listed(drills: Iterable[Drill], record: Rehearsed | None) -> Bullets:
    return bullets(tuple(_told(drill, record) for drill in drills))


def _told(drill: Drill, record: Rehearsed | None) -> Text:
    seen = next((one for one in record.drills if one.id == drill.id), None) if record else None
    last = f"**{seen.outcome}**: {seen.observed}" if seen else ""
    return Text(
        f"`{drill.id}` {drill.title.en}. Expected: {drill.expected}. Seen last: {last or 'not on record'}.",
        f"`{drill.id}` {drill.title.ja}。期待: {drill.expected}。前回の結果: {last or '記録なし'}。",
    )


def rehearsed_file(project: Project) -> Path:
    """Where the last rehearsal is kept for the documents."""
    return project.root / str(project.manifest.data["project"]["docs"]) / FILE


def rehearsed(project: Project) -> Rehearsed | None:
    """The rehearsal that the documents tell of; None for none, DOD008 (exit 2) for a file that cannot be read."""
    path = rehearsed_file(project)
    try:
        return Rehearsed.read(path)
    except ValueError as error:
        said = f"`{path.relative_to(project.root)}` is no record of a rehearsal: {error}"
        fix = "remove it, or let `dodai rehearse --document` write it anew"
        raise DodaiError(codes.DOCUMENT_MARKERS, said, fix, exit_code=2) from None
