"""Prometheus, VictoriaMetrics and their like, as real processes beside a test."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest


def real(name: str) -> str:
    """The program; without it the test is skipped, in CI that is an error."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (apt install prometheus prometheus-alertmanager victoria-metrics)")
    return found


@contextmanager
def running(folder: Path, name: str, *words: str) -> Iterator[None]:
    """It writes what it says to `NAME.log` in `folder`, and ends with the block."""
    with (folder / f"{Path(name).name}.log").open("wb") as log:
        process = subprocess.Popen([real(name), *words], cwd=folder, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def ask(url: str, path: str, **query: str) -> Any:
    """What it answers to a question of Prometheus' API; None while it does not."""
    try:
        return httpx2.get(f"{url}/api/v1/{path}", params=query, timeout=5).json()
    except (httpx2.HTTPError, ValueError):
        return None
