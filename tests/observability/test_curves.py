"""The page's curves: what is remembered between two looks never changes what is shown."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.observability.traffic import T0, request, rpc

from dodai.observability.line_format import dump
from dodai.observability.policy import ObservabilityPolicy
from dodai.observability.rollup.clock_step import move
from dodai.observability.run import Watched, Watcher, overview
from dodai.observability.run.curves import SeenCells

_LINE = st.tuples(
    st.integers(0, 1000),  # seconds before now: of the open cell, of one long closed, of one out of the window
    st.sampled_from(["/a", "/b", "/c"]),
    st.sampled_from(["ok", "server_error"]),
    st.floats(0.5, 5000.0),
)
_STEP = st.tuples(st.lists(_LINE, max_size=12), st.integers(0, 400), st.sampled_from([0, 0, 0, -95, 40]))


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(_STEP, min_size=2, max_size=5))
@example(steps=[([(0, "/a", "ok", 1.0)], 96, -95), ([(0, "/a", "ok", 1.0)], 0, 0)])
def test_page_that_renews_itself_shows_what_a_first_look_shows(steps: list[tuple[list[tuple], int, int]]):
    """Late lines, passing time and a clock that is set included."""
    with TemporaryDirectory() as folder:
        watched = Watched(
            "quiz", "test", Path(folder), ObservabilityPolicy(), journeys={"A": ("GET /a",)}, public="web"
        )
        now = T0
        watcher = Watcher(watched, {}, clock=lambda: T0)
        seen = SeenCells()
        for lines, later_s, set_s in steps:
            for ago, route, outcome, latency_ms in lines:
                fields = {"outcome": outcome, "latencyMs": latency_ms}
                watcher.tally.add(dump(request(now - ago, route=route, **fields)), now, live=False)
                watcher.tally.add(dump(rpc(now - ago, **fields)), now, live=False)
            watcher.store.keep(watcher.tally.take(), {}, now)
            renewed = overview(watched, watcher.store, now, seen=seen)
            assert renewed.as_json() == overview(watched, watcher.store, now).as_json()
            now += later_s + set_s
            if set_s:
                move(watcher.store, set_s, now)
        watcher.store.close()


def test_what_is_remembered_is_no_more_than_the_window_holds(tmp_path: Path):
    """Hours of renewed pages."""
    watched = Watched("quiz", "test", tmp_path, ObservabilityPolicy())
    watcher, seen = Watcher(watched, {}, clock=lambda: T0), SeenCells()
    for number in range(60):
        now = T0 + 300.0 * number
        for second in range(0, 300, 10):
            watcher.tally.add(dump(request(now - second, latencyMs=1.0 + number * 7 + second)), now, live=False)
        watcher.store.keep(watcher.tally.take(), {}, now)
        overview(watched, watcher.store, now, seen=seen)
    assert len(seen.cells["http"]) <= 91
    assert len(seen.parts) <= 31
    watcher.store.close()
