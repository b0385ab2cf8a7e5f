"""Small charts as SVG: bars of requests with the failed ones, and the course of p95. Each bar leads to its examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

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
