"""The report as one page: complete, escaped, and on its own."""

from __future__ import annotations

import re

from dodai.core.page import Text
from dodai.rehearsal.ports import Difference
from dodai.rehearsal.report import DrillRow, RehearsalReport, StepRow
from dodai.rehearsal.report_html import as_html

HOSTILE = '<script>alert("x")</script>'


def report(**changes):
    steps = (StepRow("start-web", "start web", "done", 2.0, 1.0), StepRow("smoke", HOSTILE, "already", 0.0, 3.0))
    drills = (
        DrillRow("forged-posts", "csrf", Text("Forged posts", "偽造"), "403", "403", "ok", 30.0, ("abc",), {}, 10.0),
        DrillRow("api-slow", "operations", Text(HOSTILE, "x"), "503", HOSTILE, "failed", 60.0, (), {"why": HOSTILE}, 40.0),
    )  # fmt: skip
    said = {"project": HOSTILE, "commit": "c0ffee+", "tree": "t", "started_at": "2026-11-29", "seconds": 100.0}
    return RehearsalReport(
        **{**said, "steps": steps, "drills": drills, "equivalence": (Difference("edge", "Cloudflare", "loopback"),), **changes}
    )  # fmt: skip


def test_page_has_every_step_and_drill_those_that_failed_first():
    """With what was expected beside what was seen, and the requests to follow."""
    text = as_html(report())
    assert '<span class="failed">failed</span></h1>' in text
    for part in ("start-web", "forged-posts", "api-slow", "<code>abc</code>", "Cloudflare", "<code>c0ffee+</code>"):
        assert part in text
    assert text.index('<article id="drill-api-slow"') < text.index('<article id="drill-forged-posts"')


def test_nothing_in_it_is_loaded_or_carried_out():
    """What applications say is text, and the page needs no other file."""
    text = as_html(report(problem=HOSTILE))
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert re.findall(r'(?:src|href)="(?!#)', text) == []
    assert re.findall(r"url\(|@import|https?://", text) == []


def test_bars_stand_where_and_as_long_as_things_happened():
    """In percent of the whole, inside of the lane whatever the clock said."""
    text = as_html(report())
    places = {
        name: (float(left), float(width))
        for name, left, width in re.findall(r'title="([\w-]+): [^"]*" .*?style="left:([\d.]+)%;width:([\d.]+)%"', text)
    }
    assert places == {
        "start-web": (1.0, 2.0),
        "smoke": (3.0, 0.4),
        "forged-posts": (10.0, 30.0),
        "api-slow": (40.0, 60.0),
    }
    late = as_html(report(seconds=50.0))
    assert all(float(a) + float(b) <= 100.01 for a, b in re.findall(r"left:([\d.]+)%;width:([\d.]+)%", late))


def test_every_link_leads_to_something_on_the_page():
    """Each bar to its drill or step."""
    text = as_html(report())
    assert set(re.findall(r'href="#([\w-]+)"', text)) == set(re.findall(r'id="([\w-]+)"', text))
