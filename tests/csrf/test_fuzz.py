"""A short run of the fuzzer, so that it keeps working; `make fuzz` runs the million."""

from __future__ import annotations

from tests.csrf.fuzz import fuzz


async def test_short_run_finds_no_violation():
    """Every kind of input is tried, and each promise holds."""
    run = await fuzz(4000, seed=7)
    assert not run.violation
    assert {"layer 200", "layer 403", "layer 400", "token valid", "cookie good", "cookie duplicated"} <= set(run.counts)
