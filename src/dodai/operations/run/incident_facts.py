"""What is known of an incident, gathered while it is: lines, rollups, the history of alerts and of changes."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Self, cast

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.text import Lang, Text
from dodai.observability import codes
from dodai.observability.alert import Firing, History
from dodai.observability.incident import (
    AlertJudgement,
    Incident,
    IncidentSpan,
    Moment,
    file_name,
    fired_names,
    judgements,
    of_alerts,
    of_lines,
    of_responses,
    span_of,
    written,
)
from dodai.observability.policy import ObservabilityPolicy
from dodai.observability.rollup import Store
from dodai.observability.run import Watched
from dodai.observability.trace import Tree, find
from dodai.observability.trace.find import Line, line_folders
from dodai.observability.trace.show import render
from dodai.operations.environment import Environment
from dodai.operations.project import Project
from dodai.operations.run.watched_environment import watched

_REMEMBERED_S = 30 * 86400.0
_PLANS = 200


def folder_of(project: Project) -> str:
    """The folder of the incident files, relative to the project."""
    return ObservabilityPolicy.from_manifest(project.manifest.section("observability") or {}).incidents


def gather(project: Project, environment: Environment, id_: str, *, fast: bool = False) -> Incident:
    """The incident of a request id or of the last firing of an alert; DOD483 (exit 1) when neither was seen."""
    there = watched(project, environment.name, fast=fast)
    now = time.time()
    with _Past(there) as past:
        firing = past.last(id_)
        lines = _lines(there, firing.samples[0] if firing and firing.samples else id_ if not firing else "")
        if firing is None and not lines:
            message = f"no line below `{there.state}` has the id `{id_}`, and no alert of that name fired"
            raise DodaiError(codes.INCIDENT_NOT_SEEN, message, codes.INCIDENT_NOT_SEEN.fix.en, exit_code=1)
        tree = Tree(lines)
        starts = [node.start_s for node in tree.nodes if node.start_s > 0]
        began = min([*starts, *([firing.since_s] if firing else [])])
        span = span_of(began, past.firings, now)
        plans, gap = _plans(environment, span)
        moments = [*of_lines(lines), *past.moments(span), *plans]
        judged = past.judged(span)
    sample = str(lines[0].get("requestId", id_)) if lines else ""
    trace = render(sample, tree, 0, colour=False) if lines else ""
    moments.sort(key=lambda one: one.at_s)
    fired = fired_names(moments)
    return Incident(id_, there.env, span, tuple(moments), trace, tuple(judged), fired, tuple(_unseen(past, gap, lines)))


def keep(project: Project, incident: Incident) -> tuple[str, bool]:
    """The path of its file, and whether it was written now; one that is there is never touched."""
    folder = project.root / folder_of(project)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(incident.id, incident.span.began_s)
    shown = path.relative_to(project.root).as_posix()
    lang = cast(Lang, project.manifest.data["project"]["langs"][0])
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(written(incident, lang))
    except FileExistsError:
        return shown, False
    return shown, True


@dataclass(slots=True)
class _Past:
    """The rollups of an environment; without any, everything is empty and `problem` says why."""

    watched: Watched
    store: Store | None = None
    firings: tuple[Firing, ...] = ()
    problem: str = ""

    def __enter__(self) -> Self:
        try:
            self.store = Store(self.watched.path, cell_s=self.watched.cell_s, writable=False)
            history = History(self.store)
            found = [*history.open(), *history.recent(time.time() - _REMEMBERED_S)]
            self.firings = tuple(one for one in found if one.fired_s)
        except sqlite3.Error as error:
            self.problem = str(error)
        return self

    def __exit__(self, *_: object) -> None:
        if self.store is not None:
            self.store.close()

    def last(self, name: str) -> Firing | None:
        return max((one for one in self.firings if one.name == name), key=lambda one: one.fired_s, default=None)

    def moments(self, span: IncidentSpan) -> Iterator[Moment]:
        if self.store is None:
            return
        yield from of_alerts(self.firings, {alert.name: alert for alert in self.watched.alerts}, span)
        yield from of_responses(History(self.store).silences_between(span.since_s, span.until_s))
        first: dict[tuple[str, str], float] = {}
        for (service, _), one in self.store.instances().items():
            first[service, one.version] = min(one.first_s, first.get((service, one.version), one.first_s))
        for (service, version), at_s in first.items():
            if version and span.since_s <= at_s <= span.until_s:
                en, ja = "is heard for the first time", "を初めて確認"
                yield Moment(at_s, "release", Text(f"`{service}` of `{version}` {en}", f"`{service}` `{version}` {ja}"))

    def judged(self, span: IncidentSpan) -> list[AlertJudgement]:
        """Nothing where the oldest rollups are younger than the incident."""
        oldest = self.store.oldest_s() if self.store else None
        if self.store is None or oldest is None or oldest > span.began_s + self.store.cell_s:
            return []
        return judgements(self.watched.alerts, self.store, span)


def _lines(there: Watched, request_id: str) -> list[Line]:
    if not request_id:
        return []
    longest_s = there.policy.longest_request_s
    return find(request_id, line_folders([str(there.state)]), longest_request_s=longest_s).lines


def _plans(environment: Environment, span: IncidentSpan) -> tuple[list[Moment], str]:
    """What was changed in the environment in that time, and why that cannot be read; an incident waits for nobody."""
    try:
        changes = asyncio.run(_changes(environment))
    except DodaiError as error:
        return [], str(error)
    found = [Moment(datetime.fromisoformat(at).timestamp(), "plan", text) for text, at in changes]
    return [one for one in found if span.since_s <= one.at_s <= span.until_s], ""


async def _changes(environment: Environment) -> list[tuple[Text, str]]:
    if not environment.control.exists:
        return []
    found = []
    with environment.journal() as journal:
        for entry in await journal.history(environment.name, _PLANS):
            request = entry.request
            what = f"{request.kind} {request.release}".strip()
            who = f"{request.actor} ({entry.plan_id})"
            found.append((Text(f"{what} begins, by {who}", f"{what} 開始: {who}"), entry.begun_at))
            ended = [event.at for event in await journal.events(entry.plan_id) if event.kind in ("halted", "closed")]
            if ended and entry.state:
                found.append((Text(f"{what} ends: {entry.state}", f"{what} 終了: {entry.state}"), ended[-1]))
    return found


def _unseen(past: _Past, gap: str, lines: list[Line]) -> Iterator[Text]:
    if past.problem:
        why = f"the rollups cannot be read: {past.problem}"
        yield Text(f"alerts are not on it, {why}", f"アラートは含まれません({why})")
    if gap:
        yield Text(f"changes are not on it: {gap}", f"変更は含まれません({gap})")
    if not lines:
        yield Text("no request is on it: the alert names none, or its lines are gone", "リクエストは含まれません")
