"""The rules of observability: what loses a request id, what grows without bound, what must not be in a line."""

from __future__ import annotations

from dodai.observability.check import alerts, incidents, rules
from dodai.observability.check.incidents import IncidentFiles, gather_incidents
from dodai.observability.check.samples import LineSample, gather_lines
from dodai.observability.check.sources import PythonSources, gather_sources

RULES = (*rules.RULES, *alerts.RULES, *incidents.RULES)

__all__ = [
    "RULES",
    "IncidentFiles",
    "LineSample",
    "PythonSources",
    "gather_incidents",
    "gather_lines",
    "gather_sources",
]
