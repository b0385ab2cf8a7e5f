"""Forms, HTMX elements, links and calls of scripts: does each that changes state carry a token?"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ClassVar

from dodai.core.dataclass import dataclass
from dodai.core.fact import Cost, Unknown
from dodai.csrf.form_page import PageText
from dodai.csrf.form_verdict import Flaw, FormRow, FormSurroundings, FormVerdicts
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.route_table import Summary, summarise
from dodai.csrf.token import TOKEN

_WORST = ("unprotected", "unknown", "exempt", "protected")
_UNCOVERED = ("unprotected", "unknown")
_LEFT_OUT = ("//", "/-/", "/static")
_PRIVATE = re.compile(r"private|no-store", re.IGNORECASE)
_LINK = re.compile(r'<a\b[^>]*\shref="(/[^"#]*)')


@dataclass(frozen=True, slots=True)
class FormTable:
    """Every state-changing form of the templates; `templates` counts the files that were read.

    `gaps` are those that could not be, and why.
    """

    cost: ClassVar[Cost] = "local"
    rows: tuple[FormRow, ...]
    flaws: tuple[Flaw, ...] = ()
    templates: int = 0
    gaps: tuple[Unknown, ...] = ()

    @property
    def summary(self) -> Summary:
        return summarise(row.verdict for row in self.rows)


def build_forms(
    pages: Iterable[PageText],
    policy: CsrfPolicy,
    *,
    around: FormSurroundings | None = None,
    templates: int = 0,
    gaps: tuple[Unknown, ...] = (),
) -> FormTable:
    """The table of expanded pages; a form that stands on several of them counts once, with its worst verdict."""
    judges = [FormVerdicts(page, policy, around or FormSurroundings()) for page in pages]
    whole = [judge for judge in judges if judge.is_whole]
    covered = bool(whole) and all(judge.sends_with_htmx for judge in whole)
    rows: dict[tuple[str, int, str, str], FormRow] = {}
    flaws: dict[Flaw, None] = {}
    for judge in judges:
        for row in judge.rows(fragments_covered=covered):
            key = (row.path, row.line, row.kind, row.quote)
            known = rows.setdefault(key, row)
            if _WORST.index(row.verdict) < _WORST.index(known.verdict):
                rows[key] = row
        flaws |= dict.fromkeys(judge.flaws())
    ordered = sorted(rows.values(), key=lambda row: (row.path, row.line))
    return FormTable(tuple(ordered), tuple(flaws), templates, gaps)


def scan_page(path: str, html: str, policy: CsrfPolicy) -> tuple[FormRow, ...]:
    """The forms of a page as a browser gets it; a field without a token in it does not count as one."""
    return tuple(FormVerdicts(PageText(path, html), policy, FormSurroundings()).rows())


@dataclass(frozen=True, slots=True)
class Crawl:
    """What a walk through running pages saw; `wrong` names the forms without token and the pages that leak one."""

    forms: int
    pages: int
    wrong: tuple[str, ...]
    request_ids: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return self.forms > 0 and not self.wrong


async def crawl(get: Callable[[str], Awaitable[Any]], policy: CsrfPolicy, start: str = "/", limit: int = 40) -> Crawl:
    """Follow links from `start` over at most `limit` pages and judge every form that a browser would get there.

    `get(path)` answers like httpx. Reserved and static paths are left out; only GET is ever sent.
    """
    waiting, seen, pages, forms = [start], {start}, 0, 0
    wrong: list[str] = []
    request_ids: list[str] = []
    while waiting and pages < limit:
        path = waiting.pop(0)
        answer = await get(path)
        pages += 1
        if answer.status_code != 200 or "html" not in answer.headers.get("content-type", ""):
            continue
        rows = scan_page(path, answer.text, policy)
        forms += len(rows)
        bad = [f"{r.kind} {r.sends} on {path}: {r.evidence}" for r in rows if r.verdict in _UNCOVERED]
        if TOKEN.search(answer.text) and not _PRIVATE.search(answer.headers.get("cache-control", "")):
            bad.append(f"{path} has a token and may be kept by shared caches")
        wrong += bad
        request_ids += [answer.headers.get("x-request-id", "")] if bad else []
        links = [link for link in _LINK.findall(answer.text) if not link.startswith(_LEFT_OUT) and link not in seen]
        seen.update(links)
        waiting += dict.fromkeys(links)
    return Crawl(forms, pages, tuple(wrong), tuple(request_ids))
