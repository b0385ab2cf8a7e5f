"""Incidents: a file for each, with what happened on one timeline, and the question what would have detected it."""

from __future__ import annotations

from dodai.observability.incident.header import Header, Unreadable, file_name, parse
from dodai.observability.incident.timeline import (
    AlertJudgement,
    IncidentSpan,
    Moment,
    judgements,
    of_alerts,
    of_lines,
    of_responses,
    span_of,
)
from dodai.observability.incident.written import Incident, fired_names, written

__all__ = [
    "AlertJudgement",
    "Header",
    "Incident",
    "IncidentSpan",
    "Moment",
    "Unreadable",
    "file_name",
    "fired_names",
    "judgements",
    "of_alerts",
    "of_lines",
    "of_responses",
    "parse",
    "span_of",
    "written",
]
