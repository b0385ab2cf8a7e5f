"""The page as HTML: everything in it is text of other people, so everything is escaped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from html import escape
from urllib.parse import quote, urlencode

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.text import Lang, say
from dodai.observability.alert import Firing
from dodai.observability.run.curves import POINTS, Row
from dodai.observability.run.overview import Lamp, Overview, alert_of
from dodai.observability.run.watch_page.words import WORDS
from dodai.observability.run.watcher import Watched


@dataclass(frozen=True, slots=True)
class Renderer:
    """Pages of one environment in one language."""

    watched: Watched
    lang: Lang

    def word(self, name: str, **values: object) -> str:
        return escape(say(WORDS[name], self.lang).format(**values))

    def page(self, body: str, title: str = "") -> str:
        """A whole document around `body`."""
        name = escape(f"{self.watched.project}/{self.watched.env}")
        other = "en" if self.lang == "ja" else "ja"
        return (
            f'<!doctype html><html lang="{self.lang}"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(title) or name}</title>"
            '<link rel="icon" href="data:,"><link rel="stylesheet" href="/page.css">'
            f'<script src="/page.js" defer data-gone="{self.word("gone")}"></script></head><body>'
            f'<header><h1><a href="/">{name}</a></h1><nav>'
            f'<a href="/?lang={other}" hreflang="{other}" lang="{other}">{self.word("other_lang")}</a></nav></header>'
            f'<p id="gone" role="alert" hidden></p><main id="live">{body}</main></body></html>'
        )

    def live(self, seen: Overview) -> str:
        """What changes: the whole of the first page's main part."""
        if not seen.counted["lines"]:
            where = str(self.watched.state)
            said = f"<h2>{self.word('empty')}</h2><p>{self.word('empty_fix', where=where)}</p>"
            return f'<section class="empty">{said}</section>{self._problems(seen)}'
        parts = [self._state(seen), self._problems(seen)]
        parts += [self._rows(name, getattr(seen, name), seen) for name in ("journeys", "routes", "rpcs", "tasks")]
        if seen.left_out:
            parts.append(f"<p>{self.word('left_out', n=seen.left_out)}</p>")
        parts += [self._dependencies(seen), self._recent(seen.recent), self._counted(seen)]
        return "".join(parts)

    def _state(self, seen: Overview) -> str:
        fired = "".join(self._firing(rows[0], "firing", rows[1:]) for rows in seen.outages)
        pending = "".join(self._firing(one, "pending") for one in seen.pending)
        if seen.stale:
            age = self._span(seen.at_s - seen.judged_s)
            said = self.word("stale", n=age) if seen.judged_s else self.word("never")
            head = f'<p class="banner warn" role="status">{said}</p>'
        elif seen.firing:
            head = (
                f'<p class="banner bad" role="status">{self.word("fires", n=len(seen.firing), m=len(seen.outages))}</p>'
            )
        else:
            head = f'<p class="banner good" role="status">{self.word("none_fires", n=len(self.watched.alerts))}</p>'
        listed = f"<ul class=alerts>{fired}{pending}</ul>" if fired or pending else ""
        return f"<section><h2>{self.word('alerts')}</h2>{head}{listed}{_list(seen.silenced)}</section>"

    def _firing(self, one: Firing, state: str, others: Sequence[Firing] = ()) -> str:
        alert = alert_of(self.watched, one.name)
        value = escape(alert.shown(one.value)) if alert else ""
        what = escape(say(alert.code.page.what, self.lang)) if alert else ""
        at = _clock(one.fired_s or one.since_s)
        runbook = escape(f"{self.watched.facing.runbook}#{one.name}")
        if runbook.startswith("https://"):
            runbook = f'<a href="{runbook}" rel="noreferrer">{runbook}</a>'
        return (
            f'<li class="{state}"><strong>{escape(one.name)}</strong> <span class="about">{escape(one.about)}</span> '
            f"<b>{value}</b> <span>{self.word(state)} · {self.word('since')} {at}</span><br>{what}<br>"
            f"{self._examples(one.samples)} <span>{self.word('runbook')}: <code>{runbook}</code></span>"
            f"{self._others(others)}</li>"
        )

    def _others(self, others: Sequence[Firing]) -> str:
        """What else fires of the same outage, in one line."""
        if not others:
            return ""
        named = ", ".join(f"{escape(one.name)} {escape(one.about)}" for one in others)
        return f'<br><span class="also">{self.word("also")}: {named}</span>'

    def _examples(self, ids: Sequence[str]) -> str:
        links = " ".join(f'<a class="id" href="/trace/{quote(id_, safe="")}">{escape(id_[-8:])}</a>' for id_ in ids)
        return f"<span>{self.word('examples')}: {links}</span>" if links else ""

    def _problems(self, seen: Overview) -> str:
        if not seen.problems:
            return ""
        listed = _list([say(problem, self.lang) for problem in seen.problems])
        return f'<section class="problems"><h2>{self.word("problems")}</h2>{listed}</section>'

    def _rows(self, kind: str, rows: Sequence[Row], seen: Overview) -> str:
        if not rows and kind == "tasks":
            return ""
        heads = "".join(
            f"<th scope=col>{self.word(name)}</th>" for name in ("name", "count", "errors", "p95", "course", "latency")
        )
        body = (
            "".join(self._row(kind, row, seen) for row in rows) or f"<tr><td colspan=6>{self.word('no_rows')}</td></tr>"
        )
        until = _clock(seen.until_s)
        window = self.word("window_until" if seen.stale else "window", n=f"{seen.window_s / 60:g}", until=until)
        return (
            f"<section><h2>{self.word(kind)} <small>{window}</small></h2>"
            f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></section>"
        )

    def _row(self, kind: str, row: Row, seen: Overview) -> str:
        step = seen.window_s / POINTS

        def link(at: int) -> str:
            since = seen.until_s - seen.window_s + at * step
            query = {
                "kind": kind,
                "service": row.service,
                "name": row.name,
                "from": int(since - step),
                "to": int(since + 2 * step),
            }
            return f"/point?{urlencode(query)}"

        marks = [
            int((at - seen.until_s + seen.window_s) / step)
            for at, service, _ in seen.releases
            if service == row.service
        ]
        rate = f"{row.error_rate:.1%}" if row.count else "–"
        p95 = "–" if row.p95_ms is None else f"{row.p95_ms:,.0f} ms"
        name = f"<span>{escape(row.service)}</span> {escape(row.name)}" if row.service else escape(row.name)
        cells = [
            f'<th scope=row>{name}</th><td data-head="{self.word("count")}">{row.count:,}</td>',
            f'<td class="{"bad" if row.errors else ""}" data-head="{self.word("errors")}">{rate}</td>',
            f'<td data-head="{self.word("p95")}">{p95}</td>',
            f"<td class=chart>{bars(row.counts, row.error_counts, link, f'{row.count} / {row.errors}', marks)}</td>",
            f"<td class=chart>{course(row.p95s_ms, f'p95 {p95}')}{self._examples(row.samples[:3])}</td>",
        ]
        return f"<tr>{''.join(cells)}</tr>"

    def _dependencies(self, seen: Overview) -> str:
        if not seen.dependencies:
            return ""
        heads = self._heads("name", "state", "calls", "failed", "mean")
        body = "".join(self._lamp(lamp) for lamp in seen.dependencies)
        table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
        of = self.word("lamps_until", until=_clock(seen.until_s)) if seen.stale else self.word("lamps")
        return f"<section><h2>{self.word('dependencies')} <small>{of}</small></h2>{table}</section>"

    def _span(self, seconds: float) -> str:
        for name, size in (("hours", 3600), ("minutes", 60)):
            if seconds >= 2 * size:
                return self.word(name, n=int(seconds / size))
        return self.word("seconds", n=int(seconds))

    def _heads(self, *names: str) -> str:
        return "".join(f"<th scope=col>{self.word(name)}</th>" for name in names)

    def _lamp(self, lamp: Lamp) -> str:
        mean = "–" if lamp.mean_ms is None else f"{lamp.mean_ms:,.0f} ms"
        return (
            f"<tr><th scope=row><span>{escape(lamp.service)} →</span> {escape(lamp.name)}</th>"
            f'<td class="lamp {lamp.state}">{self.word(lamp.state)}</td>'
            f'<td data-head="{self.word("calls")}">{lamp.count:,}</td>'
            f'<td data-head="{self.word("failed")}">{lamp.errors:,}</td>'
            f'<td data-head="{self.word("mean")}">{mean}</td></tr>'
        )

    def _recent(self, recent: Sequence[Firing]) -> str:
        if not recent:
            return ""
        rows = "".join(
            f"<li><strong>{escape(one.name)}</strong> {escape(one.about)} "
            f"{_clock(one.fired_s)}–{_clock(one.resolved_s)} "
            f"{self._examples(one.samples[:3])}</li>"
            for one in recent
        )
        return f"<section><h2>{self.word('recent')}</h2><ul>{rows}</ul></section>"

    def _counted(self, seen: Overview) -> str:
        said = [self.word("counted", n=f"{seen.counted['lines']:,}")]
        said += [
            self.word(name, n=f"{seen.counted[name]:,}")
            for name in ("torn", "late", "skewed", "overflowed")
            if seen.counted[name]
        ]
        at = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seen.at_s))
        return f'<footer>{" · ".join(said)} · <time>{at}</time> · <a href="/data.json">data.json</a></footer>'

    def point(self, name: str, since_s: float, until_s: float, rows: Iterable[tuple[str, int, int]]) -> str:
        """The examples of one bar: (request id, requests, failed ones) of its cells."""
        listed = "".join(
            f'<li><a class="id" href="/trace/{quote(id_, safe="")}">{escape(id_)}</a> {count:,} / {errors:,} ✕</li>'
            for id_, count, errors in rows
        )
        between = self.word("between", a=_clock(since_s), b=_clock(until_s))
        back = f'<p><a href="/">{self.word("back")}</a></p>'
        shown = f"<ul>{listed}</ul>" if listed else f"<p>{self.word('no_examples')}</p>"
        return f"<section>{back}<h2>{escape(name)}</h2><p>{between}</p>{shown}</section>"

    def trace(self, request_id: str, text: str) -> str:
        """A trace as `dodai trace` prints it."""
        shown = f"<pre tabindex=0>{escape(text)}</pre>" if text else f"<p>{self.word('not_found')}</p>"
        return (
            f'<section><p><a href="/">{self.word("back")}</a></p><h2>{self.word("trace")} {escape(request_id)}</h2>'
            f"{shown}<p><code>{escape(proposal.TRACE(request=request_id))}</code></p></section>"
        )


def _list(items: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>" if items else ""


def _clock(at_s: float) -> str:
    return time.strftime("%H:%M:%SZ", time.gmtime(at_s))


WIDTH, HEIGHT, GAP = 240, 36, 1


def bars(
    counts: Sequence[int], errors: Sequence[int], link: Callable[[int], str], label: str, marks: Sequence[int] = ()
) -> str:
    """One bar for each part; `marks` are parts in which a release began."""
    top, step = max([*counts, 1]), WIDTH / max(1, len(counts))
    drawn = [f'<line class="mark" x1="{at * step:.1f}" x2="{at * step:.1f}" y1="0" y2="{HEIGHT}"/>' for at in marks]
    for at, (count, failed) in enumerate(zip(counts, errors, strict=True)):
        if not count:
            continue
        high = max(2.0, HEIGHT * count / top)
        bad = max(2.0, high * failed / count) if failed else 0.0
        title = f"{count}" + (f", {failed} ✕" if failed else "")
        shapes = _rect("n", at * step, HEIGHT - high, step - GAP, high - bad) + _rect(
            "e", at * step, HEIGHT - bad, step - GAP, bad
        )
        # who goes by keyboard comes to the bars that say something, and not through thirty of each route
        skipped = "" if failed else ' tabindex="-1"'
        drawn.append(f'<a href="{escape(link(at))}" aria-label="{title}"{skipped}><title>{title}</title>{shapes}</a>')
    return _svg(drawn, label, "group")


def course(values: Sequence[float | None], label: str) -> str:
    """A line; parts without a value are gaps, because nothing is not zero."""
    top = max([value for value in values if value is not None] or [1.0]) or 1.0
    step, parts, pen = WIDTH / max(1, len(values)), [], False
    for at, value in enumerate(values):
        if value is None:
            pen = False
            continue
        x, y = at * step + step / 2, HEIGHT - 2 - (HEIGHT - 4) * value / top
        parts.append(f"{'L' if pen else 'M'}{x:.1f} {y:.1f}" + ("" if pen else "h.1"))
        pen = True
    return _svg([f'<path d="{"".join(parts)}"/>'] if parts else [], label)


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
        if height > 0
        else ""
    )


def _svg(drawn: Sequence[str], label: str, role: str = "img") -> str:
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none"'
    return f'<svg role="{role}" aria-label="{escape(label)}" {box}>{"".join(drawn)}</svg>'
