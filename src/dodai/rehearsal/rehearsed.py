"""What the documents say of the last rehearsal: when, at which commit, with what result, and what each drill saw.

`dodai rehearse --document` keeps it in a file beside the documents, which are rendered from it like from the manifest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.errors import AREAS
from dodai.core.page import Bullets, Paragraph, Section, Text, bullets
from dodai.rehearsal.drill import Drill
from dodai.rehearsal.drills.restore import ID as RESTORE_DRILL
from dodai.rehearsal.report import RehearsalReport

FILE = "Phase2/rehearsed.json"
"""Below the folder of documents."""
SCHEMA = "dodai.rehearsed/1"
_SHORT = 12
_AREAS = {
    "csrf": Text("CSRF", "CSRF"),
    "migrations": Text("Migrations", "マイグレーション"),
    "operations": Text(
        "Operations: releases, connections, secrets, restore", "運用: リリース、接続、シークレット、復元"
    ),
    "observability": Text("Observability", "可観測性"),
}


@dataclass(frozen=True, slots=True)
class SeenDrill:
    """One drill as it was carried out last."""

    id: str
    outcome: str
    observed: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The rehearsal on record; `commit` ends in `+` where the tree had changes that were not committed."""

    at: str
    commit: str
    outcome: str
    seconds: float
    drills: tuple[SeenDrill, ...]

    @classmethod
    def of(cls, report: RehearsalReport) -> Rehearsed:
        seen = tuple(
            SeenDrill(row.id, row.outcome, " ".join(row.observed.split()), round(row.seconds, 1))
            for row in report.drills
        )
        return cls(report.started_at, report.commit, report.outcome, round(report.seconds), seen)

    @classmethod
    def read(cls, path: Path) -> Rehearsed | None:
        """The record, None where there is none; raises `ValueError` for a file that is not one."""
        try:
            data: dict[str, Any] = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        try:
            drills = tuple(SeenDrill(**one) for one in data.pop("drills"))
            if data.pop("schema") != SCHEMA:
                raise ValueError(f"not `{SCHEMA}`")
            return cls(**data, drills=drills)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, ensure_ascii=False)
        path.write_text(f"{text}\n", "utf-8")

    @property
    def said(self) -> Text:
        """When, at which commit, with what result."""
        bad, day = sum(one.outcome != "ok" for one in self.drills), f"{self.at[:16].replace('T', ' ')} UTC"
        commit = f"`{self.commit[:_SHORT]}`" if self.commit else "–"
        changed = self.commit.endswith("+")
        return Text(
            f"Last rehearsed {day} at commit {commit}{' with changes' if changed else ''}: **{self.outcome}**, "
            f"{len(self.drills)} drills, {bad} of them not as expected, {self.seconds:g} s.",
            f"最終リハーサル: {day}、コミット {commit}{'（未コミットの変更あり）' if changed else ''}、"
            f"結果 **{self.outcome}**（訓練 {len(self.drills)} 件、うち期待と異なるもの {bad} 件、"
            f"{self.seconds:g} 秒）。",
        )

    def restore(self) -> Text | None:
        """What the drill of a restore saw; None where it was not among them."""
        seen = next((one for one in self.drills if one.id == RESTORE_DRILL), None)
        if seen is None:
            return None
        at, told = self.at[:10], f"**{seen.outcome}**, {seen.observed}"
        return Text(f"Rehearsed last on {at}: {told}.", f"{at} のリハーサル: {told}。")


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
