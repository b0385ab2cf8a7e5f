"""A new file of an incident as text, in the language of the project."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from dodai.core.dataclass import dataclass
from dodai.core.page import Block, CodeBlock, Page, PageTable, Section, bullets, paragraphs
from dodai.core.text import Lang, Text
from dodai.observability.incident.header import FENCE
from dodai.observability.incident.timeline import AlertJudgement, IncidentSpan, Moment


@dataclass(frozen=True, slots=True)
class Incident:
    """All that was seen of it. `judged` is empty where no rollups of that time are kept; `unseen` are sentences."""

    id: str
    env: str
    span: IncidentSpan
    moments: tuple[Moment, ...]
    trace: str
    judged: tuple[AlertJudgement, ...]
    fired: tuple[str, ...]
    unseen: tuple[Text, ...]


_WORDS = {
    "request": Text("request", "リクエスト"),
    "alert": Text("alert", "アラート"),
    "plan": Text("change", "変更"),
    "release": Text("release", "リリース"),
    "answer": Text("response", "対応"),
}


def written(incident: Incident, lang: Lang) -> str:
    """The whole file."""
    began = datetime.fromtimestamp(incident.span.began_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    header = [
        FENCE,
        f'id = "{incident.id}"',
        f'env = "{incident.env}"',
        f"began = {began}",
        *_ANSWERS[lang],
        FENCE,
        "",
    ]
    page = Page(
        "incident",
        Text(f"Incident {began[:10]}: {incident.id}", f"インシデント {began[:10]}: {incident.id}"),
        paragraphs(Text("What users saw, in one sentence: …", "利用者への影響(1 文): …")),
        (_timeline(incident), _trace(incident), _question(incident), _next()),
    )
    return "\n".join(header) + "\n" + page.render(lang)


_ANSWERS: dict[Lang, tuple[str, str]] = {
    "en": (
        'detected_by = ""   # the alert that detected it, a name of `dodai alerts list`',
        'metric_added = ""  # otherwise: the alert or metric that was added and detects the next one',
    ),
    "ja": (
        'detected_by = ""   # 検知したアラート。`dodai alerts list` の名前',
        'metric_added = ""  # なければ、次に検知するために追加したアラートまたはメトリクス',
    ),
}


def _timeline(incident: Incident) -> Section:
    rows = tuple(
        (_clock(one.at_s), _offset(one.at_s - incident.span.began_s), _WORDS[one.source], one.text)
        for one in sorted(incident.moments, key=lambda one: one.at_s)
    )
    head = (Text("UTC", "UTC"), Text("From the beginning", "発生から"), Text("Seen in", "情報源"), Text("What", "内容"))
    blocks: tuple[Block, ...] = (PageTable(head, rows),)
    if incident.unseen:
        blocks += (bullets(incident.unseen),)
    return Section(Text("Timeline", "タイムライン"), blocks, anchor="timeline")


def _trace(incident: Incident) -> Section:
    title = Text("Trace", "トレース")
    if not incident.trace:
        said = Text("No line of a request is kept of it.", "該当リクエストの行は残っていません。")
        return Section(title, paragraphs(said), anchor="trace")
    return Section(title, (CodeBlock(incident.trace, "text"),), anchor="trace")


def _question(incident: Incident) -> Section:
    fired = ", ".join(f"`{name}`" for name in incident.fired)
    said = (
        Text(
            f"These fired: {fired}. Put the one that told you first into `detected_by`.",
            f"発火したアラート: {fired}。最初に気付かせたものを `detected_by` に書いてください。",
        )
        if fired
        else Text(
            "No alert fired. Which one would have, with which threshold, or which metric is missing? "
            "Change it, and put its name into `metric_added`.",
            "発火したアラートはありません。どのアラートのどの閾値なら検知できたか、または何のメトリクスが足りないかを"
            "決めて変更し、その名前を `metric_added` に書いてください。",
        )
    )
    blocks: tuple[Block, ...] = paragraphs(said)
    if incident.judged:
        head = (
            Text("Alert", "アラート"), Text("Fires", "発火条件"), Text("Measured at the most", "最大の測定値"),
            Text("Failed", "失敗"), Text("Condition held", "条件成立"),
        )  # fmt: skip
        blocks += (PageTable(head, tuple(_judged(one) for one in incident.judged)),)
    else:
        none = Text(
            "No rollups of that time are kept, so no alert can be judged afterwards.",
            "当時の集計が残っていないため、アラートを後から判定できません。",
        )
        blocks += paragraphs(none)
    return Section(Text("What would have detected this?", "何があれば検知できたか"), blocks, anchor="detection")


def _judged(one: AlertJudgement) -> tuple[Text | str, ...]:
    held = Text("yes", "はい") if one.breached else Text("no", "いいえ")
    if one.reading is None:
        return (one.alert.name, one.alert.condition, Text("nothing counted", "集計なし"), "–", held)
    about = f"{one.alert.shown(one.reading.value)} ({one.reading.about})"
    failed = f"{one.reading.bad} / {one.reading.count}" if one.reading.count else "–"
    return (one.alert.name, one.alert.condition, about, failed, held)


def _next() -> Section:
    items = (
        Text("why it happened", "原因"),
        Text("why it was not prevented", "防げなかった理由"),
        Text("what changes, who, until when", "対策・担当・期限"),
    )
    return Section(Text("Afterwards", "振り返り"), (bullets(items),), anchor="afterwards")


def _clock(at_s: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(at_s))


def _offset(seconds: float) -> str:
    size = abs(seconds)
    shown = f"{size / 60:.0f} min" if size >= 120 else f"{size:.1f} s"
    return f"{'-' if seconds < 0 else '+'}{shown}"


def fired_names(moments: Sequence[Moment]) -> tuple[str, ...]:
    """The alerts among `moments` that began to fire, the first one first."""
    return tuple(dict.fromkeys(one.fired for one in moments if one.fired))
