"""Alerts: one form of them, evaluated on the rollups, with a history, and compiled for Prometheus."""

from __future__ import annotations

from dodai.observability.alert.evaluate import REPLAYABLE, OneLook, Reading, Stated, View, readings
from dodai.observability.alert.form import Alert, alerts_of, chosen, defaults, unknown_names
from dodai.observability.alert.history import Change, Firing, History

__all__ = [
    "REPLAYABLE",
    "Alert",
    "Change",
    "Firing",
    "History",
    "OneLook",
    "Reading",
    "Stated",
    "View",
    "alerts_of",
    "chosen",
    "defaults",
    "readings",
    "unknown_names",
]
