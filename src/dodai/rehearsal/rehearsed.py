"""What the documents say of the last rehearsal: when, at which commit, with what result, and what each drill saw.

`dodai rehearse --document` keeps it in a file beside the documents, which are rendered from it like from the manifest.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.page import Text
from dodai.rehearsal.drills.restore import ID as RESTORE_DRILL
from dodai.rehearsal.report import RehearsalReport

FILE = "Phase2/rehearsed.json"
"""Below the folder of documents."""
SCHEMA = "dodai.rehearsed/1"
_SHORT = 12


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
