"""A page as a browser would read it: its forms, what belongs to each, HTMX elements, scripts and handlers.

The page is text in which dynamic values are marks; every element knows its place and the conditions it depends on.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from html.parser import HTMLParser
from typing import Any

from dodai.core.dataclass import dataclass

Conditions = frozenset[tuple[int, int]]

MARK = re.compile("\ue000(\\d+)\ue001")
_VOID = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
)
_INERT = frozenset(["template", "textarea", "title", "noscript", "iframe", "noembed", "xmp"])
HTMX = ("hx-post", "hx-put", "hx-patch", "hx-delete")


@dataclass(frozen=True, slots=True)
class Mark:
    """`kind`: a `token`, a `value` of the application's, or `markup` that cannot be seen; `source` is how it reads."""

    kind: str
    source: str


@dataclass(frozen=True, slots=True)
class PageText:
    """The text of one page; `starts` are the offsets of its pieces, `places` (file, line, conditions) of each.

    `branches` says how many branches a condition has, 0 when it may come to none of them.
    """

    path: str
    text: str
    marks: tuple[Mark, ...] = ()
    starts: tuple[int, ...] = (0,)
    places: tuple[tuple[str, int, Conditions], ...] = ()
    branches: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, page: Mapping[str, Any]) -> PageText:
        """The page that an agent's answer holds."""
        texts: list[str] = []
        marks: list[Mark] = []
        starts: list[int] = []
        places: list[tuple[str, int, Conditions]] = []
        at = 0
        for text, path, line, mark, conditions in page["pieces"]:
            shown = f"\ue000{len(marks)}\ue001" if mark else re.sub("[\ue000\ue001]", "", text)
            if mark:
                marks.append(Mark(mark, text))
            starts.append(at)
            places.append((path, line, frozenset((number, branch) for number, branch in conditions)))
            texts.append(shown)
            at += len(shown)
        found = cls(str(page["path"]), "".join(texts), tuple(marks), tuple(starts), tuple(places))
        return found._with(dict(page["branches"]))

    def _with(self, branches: Mapping[int, int]) -> PageText:
        return PageText(self.path, self.text, self.marks, self.starts, self.places, branches)

    def place(self, offset: int) -> tuple[str, int, Conditions]:
        if not self.places:
            return self.path, 1 + self.text.count("\n", 0, offset), frozenset()
        at = bisect.bisect_right(self.starts, offset) - 1
        path, line, conditions = self.places[at]
        return path, line + self.text.count("\n", self.starts[at], offset), conditions

    def restored(self, text: str) -> str:
        """`text` as it stands in the template."""
        return MARK.sub(lambda match: self.marks[int(match[1])].source, text)

    def kinds(self, text: str) -> list[str]:
        """The kinds of the marks in `text`."""
        return [self.marks[int(match[1])].kind for match in MARK.finditer(text)]

    def always(self, found: Iterable[Conditions], given: Conditions) -> bool:
        """Whether, wherever `given` holds, one of `found` does: unconditionally, or in every branch of a condition."""
        rest = [conditions - given for conditions in found]
        return self._cover([each for each in rest if not self._excluded(each, given)])

    def _excluded(self, conditions: Conditions, given: Conditions) -> bool:
        taken = dict(given)
        return any(taken.get(number, branch) != branch for number, branch in conditions)

    def _cover(self, rest: list[Conditions], depth: int = 8) -> bool:
        if any(not each for each in rest):
            return True
        for number in {number for each in rest for number, _ in each} if depth else ():
            count = self.branches.get(number, 0)
            if count and all(
                self._cover([each - {(number, at)} for each in rest if (number, at) in each], depth - 1)
                for at in range(count)
            ):
                return True
        return False


@dataclass(slots=True)
class Element:
    """A start tag; `form` is the number of the form it stands in, -1 for none."""

    tag: str
    attributes: Mapping[str, str]
    path: str
    line: int
    conditions: Conditions
    quote: str
    form: int = -1
    off: bool = False
    around: tuple[Element, ...] = ()

    def value(self, name: str) -> str:
        return self.attributes.get(name, "")


@dataclass(slots=True)
class ScannedForm:
    """`closed` is false when the page ends inside; `unseen` are marks in it that may bring a token."""

    element: Element
    closed: bool = False
    unseen: list[str] = field(default_factory=list)


class Reader(HTMLParser):
    """Reads one page; what it found stands in its lists."""

    def __init__(self, page: PageText) -> None:
        super().__init__(convert_charrefs=True)
        self.page = page
        self.lines = [0, *(match.end() for match in re.finditer("\n", page.text))]
        self.forms: list[ScannedForm] = []
        self.controls: list[Element] = []
        self.elements: list[Element] = []
        self.scripts: list[tuple[int, str]] = []
        self._stack: list[Element] = []
        self._form = -1
        self._script: list[str] = []
        self._script_at = -1
        self.feed(page.text)
        self.close()
        if self._script_at >= 0:
            self.scripts.append((self._script_at, "".join(self._script)))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        offset = self._offset()
        inert = any(element.tag in _INERT for element in self._stack)
        if inert and tag not in _INERT:
            if tag not in _VOID:
                self._stack.append(Element(tag, {}, "", 0, frozenset(), "", off=True))
            return
        element = self._element(tag, attrs, offset)
        if tag == "form" and self._form < 0:
            self._form = element.form = len(self.forms)
            self.forms.append(ScannedForm(element))
        self.elements.append(element)
        if tag in ("input", "button", "select", "textarea"):
            self.controls.append(element)
        if tag == "script" and element.value("type").lower() in ("", "module", "text/javascript"):
            self._script_at = offset + len(self.get_starttag_text() or "")
        if tag not in _VOID:
            self._stack.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag == "script" and self._script_at >= 0:
            self.scripts.append((self._script_at, "".join(self._script)))
            self._script, self._script_at = [], -1
        if not any(element.tag == tag for element in self._stack):
            return
        if tag == "form" and self._form >= 0 and not any(element.tag in _INERT for element in self._stack):
            self.forms[self._form].closed = True
            self._form = -1
        while self._stack and self._stack.pop().tag != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._script_at >= 0:
            self._script.append(data)
        elif self._form >= 0:
            marks = (self.page.marks[int(match[1])] for match in MARK.finditer(data))
            self.forms[self._form].unseen += [mark.source for mark in marks if mark.kind == "markup"]

    def handle_comment(self, data: str) -> None:
        del data

    def _element(self, tag: str, attrs: list[tuple[str, str | None]], offset: int) -> Element:
        names = [name.removeprefix("data-") if name.startswith("data-hx-") else name for name, _ in attrs]
        values = dict(zip(names, (value or "" for _, value in attrs), strict=True))
        path, line, conditions = self.page.place(offset)
        quote = self.page.restored(self.get_starttag_text() or "").strip().partition("\n")[0][:160]
        off = "disabled" in values or any(
            outer.tag == "fieldset" and "disabled" in outer.attributes for outer in self._stack
        )
        around = tuple(reversed(self._stack))
        return Element(tag, values, path, line, conditions, quote, self._form, off, around)

    def _offset(self) -> int:
        line, column = self.getpos()
        return self.lines[line - 1] + column
