"""Forms, HTMX elements and inline fetch calls in templates: does each that changes state carry a token?

Read as text, never executed: Jinja2 and Django tags are set aside, the rest is parsed as HTML.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, ClassVar, Literal

from dodai.core.fact import Cost, Unknown
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.route_table import Summary, summarise
from dodai.csrf.token import TOKEN

FormVerdict = Literal["protected", "exempt", "unprotected", "unknown"]

_TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_MARK = re.compile("\ue000(\\d+)\ue001")
_HELPER = re.compile(r"\b(csrf_field|csrf_token|csrf_input|csrf_headers)\b|\bhidden_tag\s*\(")
_HEADERS = re.compile(r"csrf_headers|csrf_token|csrf", re.IGNORECASE)
_PARENT = re.compile(r"\{%-?\s*(extends|include)\s+[\"']([^\"']+)[\"']")
_FETCH = re.compile(r"\b(fetch)\s*\(|\b([A-Za-z_$][\w$.]*)\s*\(")
_UNSAFE_INIT = re.compile(r"method\s*:\s*[\"'](post|put|patch|delete)[\"']", re.IGNORECASE)
_VOID = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
)
_HTMX = ("hx-post", "hx-put", "hx-patch", "hx-delete")
_URL_ATTRIBUTES = ("href", "src", "action", "formaction", "hx-get", *_HTMX)
_WINDOW = 600
_UNCOVERED = ("unprotected", "unknown")
_LEFT_OUT = ("//", "/-/", "/static")
_PRIVATE = re.compile(r"private|no-store", re.IGNORECASE)
_LINK = re.compile(r'<a\b[^>]*\shref="(/[^"#]*)')


@dataclass(frozen=True, slots=True)
class FormRow:
    """One form, HTMX element or fetch call; `line` counts from 1, `quote` is the tag as it stands in the file."""

    path: str
    line: int
    kind: Literal["form", "htmx", "fetch"]
    method: str
    action: str
    verdict: FormVerdict
    evidence: str
    quote: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "line": self.line,
            "kind": self.kind,
            "method": self.method,
            "action": self.action,
            "verdict": self.verdict,
            "evidence": self.evidence,
        }


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something else in a template that the rules name: a token in a URL, a referrer policy that hides the origin."""

    path: str
    line: int
    kind: Literal["token-in-url", "no-referrer"]
    quote: str


@dataclass(frozen=True, slots=True)
class FormTable:
    """Every state-changing form of the templates; `templates` counts the files that were read.

    `gaps` are those that could not be, and why.
    """

    cost: ClassVar[Cost] = "static"
    rows: tuple[FormRow, ...]
    flaws: tuple[Flaw, ...] = ()
    templates: int = 0
    gaps: tuple[Unknown, ...] = ()

    @property
    def summary(self) -> Summary:
        return summarise(row.verdict for row in self.rows)


def scan_templates(templates: Mapping[str, str], policy: CsrfPolicy) -> FormTable:
    """The table of `templates`, texts by path; what they include or extend is looked up by the end of its path."""
    rows: list[FormRow] = []
    flaws: list[Flaw] = []

    def find(name: str) -> str:
        return next((text for path, text in templates.items() if path == name or path.endswith("/" + name)), "")

    for path, text in sorted(templates.items()):
        scan = _Scan(path, text, policy, find)
        scan.run()
        rows += scan.rows
        flaws += scan.flaws
    return FormTable(tuple(rows), tuple(flaws), len(templates))


def scan_page(path: str, html: str, policy: CsrfPolicy) -> tuple[FormRow, ...]:
    """The forms of a page as a browser gets it; a field without a token in it does not count as one."""
    empty = re.compile(rf'name="{re.escape(policy.field)}" value="(?!{TOKEN.pattern}")[^"]*"')
    scan = _Scan(path, empty.sub('name=""', html), policy, lambda _: "")
    scan.run()
    return tuple(scan.rows)


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
        bad = [f"{r.kind} {r.method} {r.action} on {path}: {r.evidence}" for r in rows if r.verdict in _UNCOVERED]
        if TOKEN.search(answer.text) and not _PRIVATE.search(answer.headers.get("cache-control", "")):
            bad.append(f"{path} has a token and may be kept by shared caches")
        wrong += bad
        request_ids += [answer.headers.get("x-request-id", "")] if bad else []
        links = [link for link in _LINK.findall(answer.text) if not link.startswith(_LEFT_OUT) and link not in seen]
        seen.update(links)
        waiting += dict.fromkeys(links)
    return Crawl(forms, pages, tuple(wrong), tuple(request_ids))


@dataclass
class _Element:
    tag: str
    attributes: Mapping[str, str]
    line: int
    quote: str
    token: bool = False
    headers: bool = False
    unsafe_button: bool = False
    get_button: bool = False
    foreign_button: bool = False
    htmx: list[tuple[str, str, int, str, bool]] = field(default_factory=list)


class _Scan(HTMLParser):
    """One template. Elements that are open form a stack; a form is judged when it closes."""

    def __init__(self, path: str, text: str, policy: CsrfPolicy, find: Callable[[str], str]) -> None:
        super().__init__(convert_charrefs=True)
        self.path, self.text, self.policy, self.find = path, text, policy, find
        self.tags: list[str] = []
        self.stack: list[_Element] = []
        self.rows: list[FormRow] = []
        self.flaws: list[Flaw] = []
        self.script = False
        self.meta = _has_meta(text, find)

    def run(self) -> None:
        self.feed(_TAG.sub(self._set_aside, self.text))
        self.close()
        for element in self.stack:
            if element.tag == "form":
                self._judge_form(element, closed=False)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name.removeprefix("data-") if name.startswith("data-hx-") else name: v or "" for name, v in attrs}
        line = self.getpos()[0]
        element = _Element(tag, values, line, _first_line(self._restore(self.get_starttag_text() or "")))
        element.headers = bool(_HEADERS.search(self._restore(values.get("hx-headers", ""))))
        self._note_flaws(element)
        self._note_token(" ".join(self._restore(value) for name, value in attrs if name in ("name", "value") and value))
        if "formmethod" in values and (form := self._form()):
            form.unsafe_button |= values["formmethod"].lower() not in ("get", "dialog")
            form.get_button |= values["formmethod"].lower() == "get"
        if "formaction" in values and (form := self._form()):
            form.foreign_button |= _is_elsewhere(self._restore(values["formaction"]))
        for name in _HTMX:
            if name in values:
                self._note_htmx(element, name, values[name])
        self.script = tag == "script"
        if tag not in _VOID:
            self.stack.append(element)

    def handle_endtag(self, tag: str) -> None:
        self.script = False
        if not any(element.tag == tag for element in self.stack):
            return
        while self.stack:
            element = self.stack.pop()
            if element.tag == "form":
                self._judge_form(element, closed=element.tag == tag)
            if element.tag == tag:
                return

    def handle_data(self, data: str) -> None:
        if self.script:
            self._fetches(self._restore(data))
            return
        for mark in _MARK.finditer(data):
            self._note_token(self.tags[int(mark[1])])

    def _set_aside(self, match: re.Match[str]) -> str:
        self.tags.append(match[0])
        return f"\ue000{len(self.tags) - 1}\ue001" + "\n" * match[0].count("\n")

    def _restore(self, text: str) -> str:
        return _MARK.sub(lambda match: self.tags[int(match[1])], text)

    def _form(self) -> _Element | None:
        return next((element for element in reversed(self.stack) if element.tag == "form"), None)

    def _note_token(self, text: str) -> None:
        form = self._form()
        if form is None or not text or text.startswith("{#"):
            return
        if (
            _HELPER.search(text)
            or self.policy.field in text.split()
            or "csrfmiddlewaretoken" in text
            or ((found := _PARENT.search(text)) and _HELPER.search(_text_of(found[2], self.find)))
        ):
            form.token = True

    def _note_htmx(self, element: _Element, name: str, target: str) -> None:
        covered = self.meta or element.headers or any(outer.headers for outer in self.stack)
        method = name.removeprefix("hx-").upper()
        form = element if element.tag == "form" else self._form()
        row = (method, self._restore(target), element.line, element.quote, covered)
        # htmx sends the fields of the form around the element, except with DELETE, where they would be in the URL
        if form is not None and not covered and method != "DELETE":
            form.htmx.append(row)
        else:
            self._add_htmx(row, token=False)

    def _add_htmx(self, row: tuple[str, str, int, str, bool], *, token: bool) -> None:
        method, target, line, quote, covered = row
        if _is_elsewhere(target):
            return
        if covered:
            self._add(line, "htmx", method, target, "protected", "the token is sent as a header", quote)
        elif token:
            self._add(line, "htmx", method, target, "protected", "the form around it carries the token", quote)
        else:
            self._add(line, "htmx", method, target, "unprotected", "neither header nor field carries the token", quote)

    def _judge_form(self, form: _Element, *, closed: bool) -> None:
        for row in form.htmx:
            self._add_htmx(row, token=form.token)
        method = self._restore(form.attributes.get("method", "get")).strip()
        action = self._restore(form.attributes.get("action", ""))
        is_htmx = any(name in form.attributes for name in _HTMX)
        is_safe = method.lower() in ("get", "dialog", "") and not form.unsafe_button
        by_htmx = (is_htmx or bool(form.htmx)) and "method" not in form.attributes
        if form.token and not by_htmx and (form.get_button or (is_safe and method.lower() != "dialog")):
            self.flaws.append(Flaw(self.path, form.line, "token-in-url", form.quote))
        if is_safe or (is_htmx and "method" not in form.attributes):
            return
        foreign = _is_elsewhere(action)
        if foreign and not form.token:
            return
        shown = "POST" if form.unsafe_button and method.lower() == "get" else method.upper()
        if form.token and (foreign or form.foreign_button):
            verdict: FormVerdict = "unprotected"
            evidence = "sends the token to another site"
        elif form.token:
            verdict, evidence = "protected", "carries the token"
        elif self._is_exempt(shown, action):
            verdict, evidence = "exempt", "its target is exempt"
        elif "{" in method or not closed:
            verdict = "unknown"
            evidence = "the form is not closed in this template" if not closed else "its method is decided at run time"
        else:
            verdict, evidence = "unprotected", "carries no token"
        self._add(form.line, "form", shown, action, verdict, evidence, form.quote)

    def _fetches(self, source: str) -> None:
        line = self.getpos()[0]
        for call in _FETCH.finditer(source):
            name = call[1] or call[2]
            declared = name.rpartition(".")[2] in self.policy.fetch_helpers or name in self.policy.fetch_helpers
            if name.rpartition(".")[2] != "fetch" and not declared:
                continue
            window = source[call.start() : call.start() + _WINDOW]
            unsafe = _UNSAFE_INIT.search(window.partition(");")[0])
            if unsafe is None:
                continue
            at = line + source.count("\n", 0, call.start())
            verdict: FormVerdict = "protected" if declared or _HEADERS.search(window) else "unprotected"
            evidence = "the token is sent as a header" if verdict == "protected" else "sends no token header"
            self._add(at, "fetch", unsafe[1].upper(), "", verdict, evidence, _first_line(window))

    def _note_flaws(self, element: _Element) -> None:
        for name in _URL_ATTRIBUTES:
            if "csrf_token" in self._restore(element.attributes.get(name, "")):
                self.flaws.append(Flaw(self.path, element.line, "token-in-url", element.quote))
        values = element.attributes
        hides = values.get("name", "").lower() == "referrer" and values.get("content", "").lower() == "no-referrer"
        if hides or (element.tag == "form" and values.get("referrerpolicy", "").lower() == "no-referrer"):
            self.flaws.append(Flaw(self.path, element.line, "no-referrer", element.quote))

    def _is_exempt(self, method: str, action: str) -> bool:
        exemption = self.policy.exemption(f"{method} {action.partition('?')[0]}")
        return exemption is not None and exemption.when == "always"

    def _add(
        self,
        line: int,
        kind: Literal["form", "htmx", "fetch"],
        method: str,
        action: str,
        verdict: FormVerdict,
        evidence: str,
        quote: str,
    ) -> None:
        self.rows.append(FormRow(self.path, line, kind, method, action, verdict, evidence, quote))


def _has_meta(text: str, find: Callable[[str], str]) -> bool:
    """True when the page, or one that it extends or includes, renders `csrf_meta()`, whose script sends the header."""
    return (
        "csrf_meta" in text
        or 'name="csrf-token"' in text
        or any("csrf_meta" in _text_of(name, find) for name in _related(text))
    )


def _text_of(name: str, find: Callable[[str], str], depth: int = 8) -> str:
    """A template with all that it extends and includes."""
    text = find(name)
    if not text or not depth:
        return text
    return text + "".join(_text_of(other, find, depth - 1) for other in _related(text) if other != name)


def _related(text: str) -> Iterator[str]:
    for match in _PARENT.finditer(text):
        yield match[2]


def _is_elsewhere(target: str) -> bool:
    """True for an absolute address: a token must not be sent there."""
    return re.match(r"\s*(?:[a-z][a-z0-9+.-]*:)?//", target, re.IGNORECASE) is not None


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:160]
