"""Fly's health checks: what machines are asked, and how long so many answers in a row take."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.providers.fly.machines_api import Machine

INTERVAL, TIMEOUT = "15s", "2s"
"""Of a check that does not say them: https://fly.io/docs/reference/configuration/#http_service-checks."""
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Judged:
    """How a service becomes healthy: `consecutive` good answers in a row, within `timeout_s`."""

    consecutive: int = 1
    timeout_s: float = 30.0


def has_checks(machine: Machine) -> bool:
    """Whether Fly asks it anything."""
    return any(True for _ in checks_of([machine]))


def checks_of(machines: Iterable[Machine]) -> Iterator[Mapping[str, Any]]:
    """What Fly is told to ask them: of each machine, and of its services."""
    for one in machines:
        yield from (one.config.get("checks") or {}).values()
        for service in one.config.get("services") or []:
            yield from service.get("checks") or []


def steady_s(checks: Iterable[Mapping[str, Any]], consecutive: int) -> float:
    """How long `checks` pass without a break once the slowest was answered `consecutive` times in a row.

    Fly does not tell single answers: `updated_at` of a check is when its state changed last, not when it was asked
    (https://fly.io/docs/reference/health-checks). So what counts is that it stayed well for as long as so many take.
    """
    each = [(_seconds(one.get("interval"), INTERVAL), _seconds(one.get("timeout"), TIMEOUT)) for one in checks]
    return max(((consecutive - 1) * interval + timeout for interval, timeout in each), default=0.0) * (consecutive > 1)


def too_slow(checks: Iterable[Mapping[str, Any]], service: str, judged: Judged) -> tuple[str, str] | None:
    """That so many answers cannot be had within the timeout, and what to do; None where they can."""
    needed = steady_s(checks, judged.consecutive)
    if needed < judged.timeout_s:
        return None
    said = (
        f"{judged.consecutive} answers in a row take its checks {needed:g} s, and `timeout` is {judged.timeout_s:g} s"
    )
    enough = math.ceil((needed + 30.0) / 10) * 10
    return said, f'give `[service.{service}.health]` `timeout = "{enough}s"`, or its checks a shorter `interval`'


def _seconds(said: object, default: str) -> float:
    """A duration as Go writes it (`1m30s`), or a number of nanoseconds: superfly/fly-go duration.go reads both, and
    https://fly.io/docs/machines/api/machines-resource/ says nanoseconds. What is none counts as the default.
    """
    if isinstance(said, int | float) and said > 0:
        return said / 1e9
    text = str(said or default)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", text)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != text:
        return _seconds(default, default)
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)
