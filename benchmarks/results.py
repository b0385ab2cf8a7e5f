"""Where benchmarks write: each owns one region of results.md, everything else in it stays."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from dodai.core.page import PageTable
from dodai.core.page_file import merge_region

RESULTS = Path(__file__).parent / "results.md"


def spread(values: Sequence[float], unit: str, digits: int = 1) -> str:
    """`median (min to max) unit`: what to quote on a noisy machine."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f}) {unit}"


def record(name: str, title: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]], notes: str = "") -> None:
    """Print a table and keep it as region `name` of results.md, with the day and the machine it was measured on."""
    table = PageTable(head, tuple(rows)).render("en")
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    stamp = f"{datetime.now(UTC):%Y-%m-%d}, {machine}; ratios decide, single figures inform."
    text = "\n\n".join(part for part in (f"## {title}", stamp, table, notes) if part)
    old = RESULTS.read_text("utf-8") if RESULTS.exists() else "# Benchmarks\n"
    RESULTS.write_text(merge_region(old, name, text), "utf-8")
    print(f"{text}\n")
