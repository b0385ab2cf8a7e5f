"""The report of a rehearsal as one page that needs nothing else: a timeline with a lane for each area, every drill."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from dodai.core.errors import AREAS
from dodai.rehearsal.report import DrillRow, RehearsalReport, StepRow

LEAST_PERCENT = 0.4
"""How wide a bar is at least, so that what took no time can be seen."""
_STYLE = """
:root { color-scheme: light dark; --ok: #1a7f37; --bad: #cf222e; --line: #8884; --soft: #8881; }
@media (prefers-color-scheme: dark) { :root { --ok: #3fb950; --bad: #f85149; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.ok { color: var(--ok); } .failed { color: var(--bad); } code { font-size: .9em; }
.lane { display: grid; grid-template-columns: 8rem 1fr; align-items: center; border-top: 1px solid var(--line); }
.track { position: relative; height: 1.75rem; }
.bar { position: absolute; top: .3rem; height: 1.15rem; border-radius: 2px; background: var(--ok); min-width: 2px;
  border-right: 1px solid Canvas; }
.bar.failed { background: var(--bad); } .bar:hover, .bar:focus { outline: 2px solid; }
.scale { display: flex; justify-content: space-between; margin-left: 8rem; font-size: .8rem; }
article { border-top: 1px solid var(--line); padding: .6rem 0; }
article h3 { font-size: 1rem; margin: 0; } article p { margin: .15rem 0; }
dl { display: grid; grid-template-columns: 9rem 1fr; gap: .1rem .75rem; margin: .3rem 0; } dd { margin: 0; }
dt { opacity: .75; } pre { background: var(--soft); overflow-x: auto; padding: .5rem; white-space: pre-wrap; }
table { border-collapse: collapse; width: 100%; }
td, th { border-top: 1px solid var(--line); padding: .3rem .5rem .3rem 0; text-align: left; vertical-align: top; }
@media (max-width: 40rem) {
  .lane { grid-template-columns: 1fr; } .lane > span { font-size: .8rem; } .scale { margin-left: 0; }
  dl { grid-template-columns: 1fr; } dt { margin-top: .2rem; }
  table, tbody, tr, td { display: block; } thead { display: none; } td { border: 0; padding: 0; }
  tr { border-top: 1px solid var(--line); display: block; padding: .4rem 0; } td:first-child { font-weight: 600; }
}
@media print { @page { size: A4; } article { break-inside: avoid; } .bar { print-color-adjust: exact; } }
"""


def as_html(report: RehearsalReport) -> str:
    """The whole page. Everything in it is escaped, nothing is loaded from anywhere."""
    parts = [_head(report), _timeline(report), _drills(report), _story(report), _stage(report)]
    title = f"Rehearsal of {report.project}: {report.outcome}"
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n<main>\n{''.join(parts)}</main>\n</html>\n"
    )


def _head(report: RehearsalReport) -> str:
    failed = sum(drill.outcome != "ok" for drill in report.drills)
    words = f"{len(report.drills)} drills, {failed} failed, {report.seconds:.1f} s, began {report.started_at}"
    tree = f"commit <code>{escape(report.commit)}</code>, tree <code>{escape(report.tree or 'none')}</code>"
    tier = f", web tier <code>{escape(report.web_tier)}</code>" if report.web_tier else ""
    problem = f"<pre>{escape(report.problem)}</pre>\n" if report.problem else ""
    said = f'<h1>Rehearsal of {escape(report.project)}: <span class="{report.outcome}">{report.outcome}</span></h1>\n'
    return f"{said}<p>{escape(words)}<br>{tree}{tier}</p>\n{problem}"


def _timeline(report: RehearsalReport) -> str:
    """One lane for the deployment and one for each area with drills."""
    lanes = {"deploy": [_bar(report, step, step.id, f"#{_anchor('step', step.id)}") for step in report.steps]}
    for area in AREAS:
        drills = [drill for drill in report.drills if drill.area == area]
        if drills:
            lanes[area] = [_bar(report, drill, drill.id, f"#{_anchor('drill', drill.id)}") for drill in drills]
    rows = "".join(
        f'<div class="lane"><span>{escape(name)}</span><div class="track">{"".join(bars)}</div></div>\n'
        for name, bars in lanes.items()
    )
    scale = "".join(f"<span>{report.seconds * quarter / 4:.0f} s</span>" for quarter in range(5))
    return f'<section aria-label="timeline">\n<h2>Timeline</h2>\n{rows}<div class="scale">{scale}</div>\n</section>\n'


def _bar(report: RehearsalReport, row: StepRow | DrillRow, name: str, target: str) -> str:
    whole = max(report.seconds, row.began_s + row.seconds, 0.001)
    left = min(100.0 - LEAST_PERCENT, 100 * row.began_s / whole)
    width = max(LEAST_PERCENT, min(100 * row.seconds / whole, 100.0 - left))
    said = escape(f"{name}: {row.outcome}, {row.seconds:.1f} s")
    kind = "" if row.outcome in ("ok", "done", "already") else " failed"
    return (
        f'<a class="bar{kind}" href="{target}" title="{said}" aria-label="{said}" '
        f'style="left:{left:.2f}%;width:{width:.2f}%"></a>'
    )


def _drills(report: RehearsalReport) -> str:
    """Those that failed first."""
    ordered = sorted(report.drills, key=lambda drill: drill.outcome == "ok")
    return f"<h2>Drills</h2>\n{''.join(map(_drill, ordered))}" if ordered else ""


def _drill(drill: DrillRow) -> str:
    rows = [("expected", escape(drill.expected)), ("observed", escape(drill.observed))]
    if drill.request_ids:
        rows.append(("requests", ", ".join(f"<code>{escape(one)}</code>" for one in drill.request_ids[:3])))
    if drill.outcome != "ok":
        rows += [(escape(str(name)), escape(_short(value))) for name, value in drill.details.items()]
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    return (
        f'<article id="{_anchor("drill", drill.id)}"><h3><span class="{drill.outcome}">{drill.outcome}</span> '
        f"{escape(drill.title.en)}</h3>\n"
        f"<p><code>{escape(drill.id)}</code>, {escape(drill.area)}, {drill.seconds:.1f} s</p>\n"
        f"<dl>{listed}</dl></article>\n"
    )


def _story(report: RehearsalReport) -> str:
    rows = (
        f'<tr id="{_anchor("step", step.id)}"><td><code>{escape(step.id)}</code></td><td>{escape(step.title)}</td>'
        f"<td>{escape(step.outcome)}</td><td>{step.seconds:.2f} s</td></tr>\n"
        for step in report.steps
    )
    return f"<h2>The deployment</h2>\n{_table(('step', 'what', 'outcome', 'time'), rows)}"


def _stage(report: RehearsalReport) -> str:
    rows = (
        f"<tr><td>{escape(row.part)}</td><td>production: {escape(row.production)}</td>"
        f"<td>here: {escape(row.here)}</td></tr>\n"
        for row in report.equivalence
    )
    note = "What this ran on, beside what it stands for. It proves nothing about production's column."
    head = ("part", "production", "here")
    return f"<h2>The stage beside production</h2>\n<p>{note}</p>\n{_table(head, rows)}" if report.equivalence else ""


def _table(head: tuple[str, ...], rows: Iterator[str]) -> str:
    cells = "".join(f"<th>{one}</th>" for one in head)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>\n{''.join(rows)}</tbody></table>\n"


def _anchor(kind: str, name: str) -> str:
    return escape(f"{kind}-{name}")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 600 else f"{text[:600]}…"
