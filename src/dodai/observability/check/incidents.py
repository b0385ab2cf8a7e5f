"""The rules about files of incidents: each says what detected it, or what was added so that the next one is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import ClassVar

from dodai.core.dataclass import dataclass
from dodai.core.fact import Cost, NotApplicable
from dodai.core.finding import Finding, Place
from dodai.core.rule import declared, rule
from dodai.core.suggestion import did_you_mean
from dodai.observability import codes
from dodai.observability.alert import defaults
from dodai.observability.incident import Header, Unreadable, parse

DAYS_TO_ANSWER = 14
_NOT_INCIDENTS = frozenset({"readme.md", "index.md"})


@dataclass(frozen=True, slots=True)
class IncidentFiles:
    """The header of each file by its path relative to the repository; `today` is what their age is counted to."""

    cost: ClassVar[Cost] = "static"
    today: date
    files: tuple[tuple[str, Header | Unreadable], ...]


def gather_incidents(root: Path, folder: str, today: date) -> IncidentFiles | NotApplicable:
    """The incidents in `folder`, every `*.md` but a README. Not applicable while there are none."""
    paths = [path for path in sorted((root / folder).glob("*.md")) if path.name.lower() not in _NOT_INCIDENTS]
    if not paths:
        return NotApplicable(f"there are no incidents in `{folder}`")
    return IncidentFiles(today, tuple((path.relative_to(root).as_posix(), _read(path)) for path in paths))


def _read(path: Path) -> Header | Unreadable:
    try:
        return parse(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        return Unreadable(f"it cannot be read: {error}")


@rule(codes.INCIDENT_UNANSWERED, needs=(IncidentFiles,))
def incidents_are_answered(incidents: IncidentFiles) -> Iterator[Finding]:
    oldest = incidents.today - timedelta(days=DAYS_TO_ANSWER)
    for path, header in incidents.files:
        if isinstance(header, Header) and not header.answered and header.began.date() < oldest:
            days = (incidents.today - header.began.date()).days
            message = f"`{path}` began {days} days ago and has neither `detected_by` nor `metric_added`"
            yield Finding(codes.INCIDENT_UNANSWERED, message, Place(path))


@rule(codes.INCIDENT_UNREADABLE, needs=(IncidentFiles,))
def incidents_can_be_read(incidents: IncidentFiles) -> Iterator[Finding]:
    known = [alert.name for alert in defaults()]
    for path, header in incidents.files:
        if isinstance(header, Unreadable):
            yield Finding(codes.INCIDENT_UNREADABLE, f"`{path}`: {header.problem}", Place(path, header.line))
        elif header.detected_by and header.detected_by not in known:
            message = f"`{path}`: `detected_by` names `{header.detected_by}`, which is not an alert"
            fix = did_you_mean(header.detected_by, known)
            yield Finding(codes.INCIDENT_UNREADABLE, message, Place(path), fix=fix)


RULES = declared(globals())
