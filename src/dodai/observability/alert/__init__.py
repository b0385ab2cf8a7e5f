"""Alerts: one form of them, evaluated on the rollups, with a history, and compiled for Prometheus."""

from __future__ import annotations

from dodai.observability.alert.evaluate import REPLAYABLE, Reading, Stated, View, readings
from dodai.observability.alert.form import Alert, chosen, defaults, unknown_names
from dodai.observability.alert.history import Change, Firing, History

__all__ = [
    "REPLAYABLE",
    "Alert",
    "Change",
    "Firing",
    "History",
    "Reading",
    "Stated",
    "View",
    "chosen",
    "defaults",
    "readings",
    "unknown_names",
]
