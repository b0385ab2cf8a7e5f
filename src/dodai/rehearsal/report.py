"""What a rehearsal came to: its steps, its drills, and how its stage differs from production."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from dodai.core.dataclass import dataclass
from dodai.core.page import Block, CodeBlock, Page, PageTable, Paragraph, Section, Text
from dodai.rehearsal.ports import Difference

Verdict = Literal["ok", "failed"]


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step of the story with how it ended: `done`, `already`, `failed`, …; `began_s` after the rehearsal did."""

    id: str
    title: str
    outcome: str
    seconds: float
    began_s: float = 0.0


@dataclass(frozen=True, slots=True)
class DrillRow:
    """One drill: what was expected, what was seen, and the request ids a user would have seen meanwhile.

    `began_s` is how long after the rehearsal it began.
    """

    id: str
    area: str
    title: Text
    expected: str
    observed: str
    outcome: Verdict
    seconds: float
    request_ids: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    began_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RehearsalReport:
    """`commit` is the git commit of the tree, with `+` for uncommitted changes; `tree` the id of what was deployed.

    `web_tier` names the `[client.NAME]` that ran in the place of its service, empty when the service's own program did.
    """

    project: str
    commit: str
    tree: str
    started_at: str
    seconds: float
    steps: tuple[StepRow, ...]
    drills: tuple[DrillRow, ...]
    equivalence: tuple[Difference, ...]
    problem: str = ""
    web_tier: str = ""

    @property
    def outcome(self) -> Verdict:
        story = all(step.outcome in ("done", "already") for step in self.steps) and not self.problem
        return "ok" if story and self.steps and all(drill.outcome == "ok" for drill in self.drills) else "failed"

    def as_json(self) -> dict[str, Any]:
        """The body of `dodai.rehearsal/1`."""
        return {
            "outcome": self.outcome,
            "project": self.project,
            "commit": self.commit,
            "tree": self.tree,
            "level": "source",
            "webTier": self.web_tier or None,
            "startedAt": self.started_at,
            "seconds": round(self.seconds, 2),
            "problem": self.problem or None,
            "steps": [
                {
                    "id": s.id,
                    "title": s.title,
                    "outcome": s.outcome,
                    "seconds": round(s.seconds, 3),
                    "beganSeconds": round(s.began_s, 3),
                }
                for s in self.steps
            ],
            "drills": [
                {
                    "id": d.id,
                    "area": d.area,
                    "webTier": self.web_tier or None,
                    "title": d.title.en,
                    "expected": d.expected,
                    "observed": d.observed,
                    "outcome": d.outcome,
                    "seconds": round(d.seconds, 3),
                    "beganSeconds": round(d.began_s, 3),
                    "requestIds": list(d.request_ids),
                    "details": dict(d.details),
                }
                for d in self.drills
            ],
            "equivalence": [
                {"part": row.part, "production": row.production, "here": row.here} for row in self.equivalence
            ],
        }

    def as_page(self) -> Page:
        """The report as people read it."""
        words = Text(
            f"Outcome: **{self.outcome}**, {self.seconds:.1f} s, commit `{self.commit}`, tree `{self.tree}`.",
            f"結果: **{self.outcome}**、{self.seconds:.1f} 秒、コミット `{self.commit}`、ツリー `{self.tree}`。",
        )
        tier = Text(f"Web tier: `{self.web_tier}`.", f"Web 層: `{self.web_tier}`。")
        problem: tuple[Block, ...] = (CodeBlock(self.problem),) if self.problem else ()
        problem = (Paragraph(tier), *problem) if self.web_tier else problem
        sections = (self._story(), self._drills(), self._stage())
        return Page("report", Text("Rehearsal", "リハーサル"), (Paragraph(words), *problem), sections)

    def _story(self) -> Section:
        head = ("id", Text("Step", "手順"), Text("Outcome", "結果"), Text("Seconds", "秒"))
        rows = tuple((f"`{s.id}`", s.title, s.outcome, f"{s.seconds:.2f}") for s in self.steps)
        return Section(Text("The story", "本筋"), (PageTable(head, rows),))

    def _drills(self) -> Section:
        head = (
            "id",
            Text("Drill", "訓練"),
            Text("Expected", "期待"),
            Text("Observed", "実際"),
            Text("Outcome", "結果"),
            Text("Seconds", "秒"),
            Text("Request ids", "requestId"),
        )
        rows = tuple(
            (f"`{d.id}`", d.title, d.expected, d.observed, d.outcome, f"{d.seconds:.2f}", _ids(d.request_ids))
            for d in self.drills
        )
        return Section(Text("Drills", "訓練"), (PageTable(head, rows),))

    def _stage(self) -> Section:
        head = (Text("Part", "部分"), Text("Production", "本番"), Text("Here", "ここ"))
        rows = tuple((row.part, row.production, row.here) for row in self.equivalence)
        note = Text(
            "What this rehearsal ran on, beside what it stands for. It proves nothing about the middle column.",
            "このリハーサルの構成と、それが代わりを務める本番の構成です。本番側の構成を証明するものではありません。",
        )
        return Section(Text("The stage beside production", "本番との違い"), (Paragraph(note), PageTable(head, rows)))


def _ids(request_ids: tuple[str, ...]) -> str:
    shown = ", ".join(f"`{one}`" for one in request_ids[:3])
    return shown + (f" (+{len(request_ids) - 3})" if len(request_ids) > 3 else "")
