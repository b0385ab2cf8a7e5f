"""Shapes of traffic, seeded: what its lines and what its counters are, for the evaluator and for engines of others."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.observability.traffic import Simulation, request, rpc

from dodai.observability.alert import Alert, defaults, readings
from dodai.observability.buckets import INFINITE_US, bounds_us
from dodai.observability.line_format import dump

BASE = float(1_795_000_000 // 3600 * 3600)
STEP_S, STEPS = 30, 60
DIFFERENTIAL = [alert for alert in defaults() if alert.measure in ("error-ratio", "p95-ms", "refusal-ratio")]


class Shape:
    """Half an hour of traffic: quiet, busy, ever worse, in bursts. Counters are told each `STEP_S` from `base` on."""

    def __init__(self, seed: int, folder: Path, base: float = BASE) -> None:
        rng = random.Random(seed)
        self.base = base
        self.world = Simulation(folder, now=base)
        self.bounds = bounds_us((500.0, 1000.0))
        self.counters: dict[tuple[str, str, str, str], list[int]] = {}
        self.service = f"s{seed}"
        volume, share, slow = (
            rng.choice((1, 3, 10)),
            rng.choice((0.0, 0.02, 0.06, 0.3)),
            rng.choice((50, 400, 900, 1500)),
        )
        for step in range(1, STEPS + 1):
            burst = rng.random() < 0.1
            for _ in range(rng.randrange(2 * volume + 1)):
                bad = rng.random() < (0.8 if burst else share)
                self.line(rng, step, bad=bad, slow=slow)
        self.world.watcher.store.keep(self.world.watcher.tally.take(), {}, self.now)

    @property
    def now(self) -> float:
        return self.base + STEP_S * STEPS

    def line(self, rng: random.Random, step: int, *, bad: bool, slow: float) -> None:
        at = self.base + STEP_S * (step - 1) + rng.uniform(0.1, STEP_S - 0.1)
        latency = rng.lognormvariate(0.0, 0.6) * slow
        fields: dict[str, Any] = {
            "latencyMs": latency,
            "service": self.service,
            "outcome": "server_error" if bad else "ok",
        }
        refused = not bad and rng.random() < 0.03
        if refused:
            fields["code"] = "DOD150"
        if rng.random() < 0.5:
            kind, name, line = "rpc", "quiz.Quiz/Get", rpc(at, **fields)
        else:
            name, kind = rng.choice(("GET /", "GET /next")), "http"
            line = request(at, route=name[4:], **fields)
        self.world.watcher.tally.add(dump(line), at, live=False)
        self.count("dodai_requests_total", kind, name, step)
        if bad:
            self.count("dodai_request_errors_total", kind, name, step)
        if refused:
            self.count("dodai_requests_refused_total", kind, name, step)
        for bound in self.bounds:
            if round(latency, 3) * 1000 <= bound:
                le = "+Inf" if bound == INFINITE_US else f"{bound / 1e6:.9g}"
                self.count("dodai_request_duration_seconds_bucket", kind, name, step, le)

    def count(self, metric: str, kind: str, name: str, step: int, le: str = "") -> None:
        self.counters.setdefault((metric, kind, name, le), [0] * (STEPS + 1))[step] += 1

    def totals(self) -> Iterator[tuple[str, list[int]]]:
        """Each series with its labels, and what its counter was at each step."""
        for (metric, kind, name, le), added in self.counters.items():
            labels = f'kind="{kind}",service="{self.service}",name="{name}"' + (f',le="{le}"' if le else "")
            seen, values = 0, list[int]()
            for more in added:
                seen += more
                values.append(seen)
            yield f"{metric}{{{labels}}}", values

    def breached(self, alert: Alert) -> list[tuple[str, str]]:
        """(service, name) of everything that the embedded evaluator says of `alert` at the end."""
        found = readings(alert, self.world.watcher.store, self.now)
        return [(one.service, one.name) for one in found if one.breached]
