"""Two processes' worth of runtimes in one test: their lines are read back and held to `spec/line`."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dodai.observability.policy import ObservabilityPolicy
from dodai.runtime import Runtime, RuntimeConfig
from dodai.runtime.identity import ProofKeyRing

KEYS = ProofKeyRing.parse("k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY")
SPEC = Path(__file__).resolve().parents[2] / "spec"
SCHEMA = json.loads((SPEC / "line" / "schema.json").read_text("utf-8"))
CHECKER = runpy.run_path(str(SPEC / "check_line.py"))
QUIET = ObservabilityPolicy(stdout=False, sample=0.0, heartbeat_s=0.0)


@pytest.fixture(autouse=True)
def _no_current_runtime() -> Iterator[None]:
    before, Runtime._current = Runtime._current, None
    yield
    Runtime._current = before


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., RuntimeConfig]:
    def make(service: str = "web", **changes: Any) -> RuntimeConfig:
        base = RuntimeConfig(
            service=service,
            env="test",
            release="r1",
            state=tmp_path / "state",
            identity_keys=KEYS,
            policy=QUIET,
            csrf_off="these tests are about lines",
        )
        return replace(base, **changes)

    return make


@pytest.fixture
def lines(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    def read(service: str = "", kind: str = "") -> list[dict[str, Any]]:
        found = []
        for path in sorted((tmp_path / "state" / "lines").glob("*.jsonl")):
            for raw in path.read_bytes().splitlines():
                assert CHECKER["check_line"](raw, SCHEMA) == [], raw
                found.append(json.loads(raw))
        return [
            line
            for line in sorted(found, key=lambda line: line["ts"])
            if line["service"] == (service or line["service"]) and line["type"] == (kind or line["type"])
        ]

    return read
