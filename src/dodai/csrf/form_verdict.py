"""The verdict on everything in one page that changes state: does the token go with it, always?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from typing import Any, Literal

from dodai.core.dataclass import dataclass
from dodai.csrf.form_page import HTMX, Element, Mark, PageText, Reader, ScannedForm
from dodai.csrf.form_script import Script, Sending
from dodai.csrf.policy import REFRESH_PATH, CsrfPolicy
from dodai.csrf.token import TOKEN

FormVerdict = Literal["protected", "exempt", "unprotected", "unknown"]
FormKind = Literal["form", "htmx", "turbo", "fetch", "xhr", "axios", "jquery", "beacon", "script"]
Said = tuple[FormVerdict, str]

URL_ATTRIBUTES = ("href", "src", "action", "formaction", "hx-get", *HTMX)
_METHODS = frozenset({"get", "post", "dialog", ""})
_NO_SUBMIT = frozenset({"button", "image", "reset", "submit", "file", "checkbox", "radio"})
_WORST: tuple[FormVerdict, ...] = ("unprotected", "unknown", "exempt", "protected")
_WTFORMS = re.compile(r"\.(?:hidden_tag|csrf_token)\b")
_TURBO = frozenset({"post", "put", "patch", "delete"})


@dataclass(frozen=True, slots=True)
class FormRow:
    """One form, element or call; `line` counts from 1, `quote` is the tag as it stands in the file."""

    path: str
    line: int
    kind: FormKind
    method: str
    action: str
    verdict: FormVerdict
    evidence: str
    quote: str = ""

    @property
    def sends(self) -> str:
        """`POST /answer` for people; without an address it is sent to that of its page, or to one known at run time."""
        return f"`{self.method} {self.action}`" if self.action else f"`{self.method}`"

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
class TokenCheck:
    """One check that refuses requests without its token: who it is, and the field and header that it reads."""

    by: str
    field: str
    header: str


@dataclass(frozen=True, slots=True)
class FormSurroundings:
    """What one page cannot say: names that the framework's own protection reads, and scripts in files of their own.

    `checks` are those that were seen to refuse requests, each of which wants its own token; empty when nobody looked.
    """

    headers: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()
    scripts: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[TokenCheck, ...] = ()


class FormVerdicts:
    """Judges one page."""

    def __init__(self, page: PageText, policy: CsrfPolicy, around: FormSurroundings) -> None:
        self.page, self.policy, self.around = page, policy, around
        known = frozenset({policy.field}) | around.fields
        self.fields = frozenset(check.field for check in around.checks) or known
        self.others = known - self.fields
        self.read = Reader(page)
        self.scripts = [(at, Script(text)) for at, text in self.read.scripts]
        self.metas = [e.conditions for e in self.read.elements if e.tag == "meta" and self._is_meta(e)]
        sources = [e.value("src") for e in self.read.elements if e.tag == "script" and e.value("src")]
        self.has_own_script = any(REFRESH_PATH in source for source in sources)
        headers = frozenset(check.header for check in around.checks) or frozenset({policy.header}) | around.headers
        plain = Sending(headers, self.fields, frozenset(policy.fetch_helpers))
        loaded = [Script(around.scripts[name]) for name in map(_basename, sources) if name in around.scripts]
        found = [script.covers(plain) for script in (*loaded, *(script for _, script in self.scripts))]
        self.everywhere = frozenset().union(*found) | ({"dodai"} if self.metas and self.has_own_script else frozenset())
        self.sending = Sending(headers, self.fields, frozenset(policy.fetch_helpers), self.everywhere)

    @property
    def is_whole(self) -> bool:
        """Whether it is a page and not a fragment that is put into one."""
        return any(element.tag in ("html", "head", "body") for element in self.read.elements)

    @property
    def sends_with_htmx(self) -> bool:
        return "htmx" in self.everywhere or ("dodai" in self.everywhere and self.page.always(self.metas, frozenset()))

    def rows(self, *, fragments_covered: bool = False) -> Iterator[FormRow]:
        """A row for each thing that changes state here."""
        for form in self.read.forms:
            yield from self._form(form)
        for element in self.read.elements:
            for name in HTMX:
                if name in element.attributes:
                    yield from self._htmx(element, name, fragments_covered=fragments_covered and not self.is_whole)
            yield from self._turbo(element)
            for name, value in element.attributes.items():
                if name.startswith("on") and value:
                    yield from self._senders(Script(value), element)
        for at, script in self.scripts:
            yield from self._senders(script, at)

    def flaws(self) -> Iterator[Flaw]:
        """What else is wrong."""
        for element in self.read.elements:
            if any("token" in self.page.kinds(element.value(name)) for name in URL_ATTRIBUTES) or any(
                "csrf_token" in element.value(name) for name in URL_ATTRIBUTES
            ):
                yield Flaw(element.path, element.line, "token-in-url", element.quote)
            hides = element.value("name").lower() == "referrer" and element.value("content").lower() == "no-referrer"
            if hides or (element.tag == "form" and element.value("referrerpolicy").lower() == "no-referrer"):
                yield Flaw(element.path, element.line, "no-referrer", element.quote)
        for form in self.read.forms:
            if self._leaks(form):
                yield Flaw(form.element.path, form.element.line, "token-in-url", form.element.quote)

    def _owned(self, form: ScannedForm) -> list[Element]:
        number = self.read.forms.index(form)
        name = self.page.restored(form.element.value("id"))
        found = []
        for control in self.read.controls:
            named = self.page.restored(control.value("form")) if "form" in control.attributes else None
            if (named is None and control.form == number) or (named and named == name):
                found.append(control)
        return found

    def _token(self, form: ScannedForm) -> Said | None:
        """Whether the form carries the token of every check: always, sometimes, never; None without such a field."""
        found = [self._token_of(form, check) for check in self.around.checks] or [self._token_of(form, None)]
        return min(found, key=lambda said: -1 if said is None else _WORST.index(said[0]))

    def _token_of(self, form: ScannedForm, check: TokenCheck | None) -> Said | None:
        fields = frozenset({check.field}) if check is not None else self.fields
        named = [control for control in self._owned(form) if control.value("name") in fields]
        usable = [control for control in named if not self._unusable(control)]
        if usable and self.page.always([control.conditions for control in usable], form.element.conditions):
            encoding = form.element.value("enctype").lower()
            if encoding == "text/plain":
                return "unprotected", "its `enctype` is text/plain, in which no field is found"
            return "protected", "carries the token"
        if usable:
            return "unknown", "carries the token under a condition only"
        return ("unprotected", self._unusable(named[0])) if named else None

    def _unusable(self, control: Element) -> str:
        """Why a field of that name brings no token; empty when it does."""
        name, value = control.value("name"), control.value("value")
        if control.tag not in ("input", "textarea") or control.value("type").lower() in _NO_SUBMIT:
            return f"its `{name}` is not a field that is always sent"
        if control.off:
            return f"its `{name}` is disabled, so browsers leave it out"
        if control.tag == "input" and not value:
            return f"its `{name}` is empty"
        if control.tag == "input" and not self.page.kinds(value) and not TOKEN.search(value):
            return f"its `{name}` has a fixed value"
        bys = {check.by for check in self.around.checks}
        if bys and "flask-wtf" not in bys and _WTFORMS.search(self.page.restored(value)):
            return f"its `{name}` has a token of WTForms, which the check in front ({', '.join(sorted(bys))}) refuses"
        return ""

    def _mistaken(self, form: ScannedForm) -> str:
        """The field of another check in the form, in words: its own submission is refused; empty without one."""
        for control in self._owned(form):
            if control.value("name") in self.others and not self._unusable(control):
                wanted = " and ".join(f"`{check.field}` ({check.by})" for check in self.around.checks)
                return f"carries `{control.value('name')}`, but what checks it reads {wanted}: it is refused when sent"
        return ""

    def _form(self, form: ScannedForm) -> Iterator[FormRow]:
        element = form.element
        method = self.page.restored(element.value("method")).strip()
        action = self.page.restored(element.value("action"))
        buttons = [control for control in self._owned(form) if _submits(control)]
        unsafe = any(b.value("formmethod").lower() not in ("", "get", "dialog") for b in buttons)
        foreign = is_elsewhere(action)
        by_htmx = any(name in element.attributes for name in HTMX)
        hidden = "method" not in element.attributes and any("\ue000" in name for name in element.attributes)
        if (method.lower() in ("get", "dialog", "") and not unsafe and not hidden) or (
            by_htmx and "method" not in element.attributes
        ):
            return
        token = self._token(form)
        if foreign and token is None:
            return
        shown = "POST" if unsafe and method.lower() in ("get", "") else method.upper()
        verdict, evidence = token or ("unprotected", self._mistaken(form) or "carries no token")
        elsewhere = foreign or any(is_elsewhere(self.page.restored(b.value("formaction"))) for b in buttons)
        if token and token[0] != "unprotected" and elsewhere:
            verdict, evidence = "unprotected", "sends the token to another site"
        elif verdict != "protected" and self._is_exempt(shown, action):
            verdict, evidence = "exempt", "its target is exempt"
        elif verdict == "unprotected":
            verdict, evidence = self._doubt(form, method, evidence, hidden=hidden)
        yield FormRow(element.path, element.line, "form", shown, action, verdict, evidence, element.quote)

    def _doubt(self, form: ScannedForm, method: str, evidence: str, *, hidden: bool) -> Said:
        """What keeps an answer from being certain, for a form in which no token was seen."""
        if hidden or method.lower() not in _METHODS:
            return "unknown", "its method is decided at run time"
        if not form.closed:
            return "unknown", "the form is not closed in this template"
        if form.unseen:
            said = f"`{form.unseen[0]}` cannot be seen from here: `[csrf] template_helpers` names what brings the token"
            return "unknown", said
        return "unprotected", evidence

    def _leaks(self, form: ScannedForm) -> bool:
        """Whether a form sends the token in the address."""
        method = form.element.value("method").lower()
        buttons = [control for control in self._owned(form) if _submits(control)]
        to_get = any(button.value("formmethod").lower() == "get" for button in buttons)
        unsafe = any(button.value("formmethod").lower() not in ("", "get", "dialog") for button in buttons)
        owned = self._owned(form)
        number = self.read.forms.index(form)
        inside = [e for e in self.read.elements if e.form == number]
        by_htmx = "method" not in form.element.attributes and any(n in e.attributes for e in inside for n in HTMX)
        carries = any(c.value("name") in self.fields and not self._unusable(c) for c in owned)
        return carries and not by_htmx and (to_get or (method in ("get", "") and not unsafe))

    def _htmx(self, element: Element, name: str, *, fragments_covered: bool) -> Iterator[FormRow]:
        target = self.page.restored(element.value(name))
        if is_elsewhere(target):
            return
        method = name.removeprefix("hx-").upper()
        verdict, evidence = self._htmx_header(element)
        if verdict != "protected" and method != "DELETE" and (field := self._htmx_field(element)):
            verdict, evidence = field
        if verdict != "protected" and fragments_covered:
            verdict, evidence = "protected", "every page it can be put into sends the token as a header"
        if verdict != "protected" and self._is_exempt(method, target):
            verdict, evidence = "exempt", "its target is exempt"
        yield FormRow(element.path, element.line, "htmx", method, target, verdict, evidence, element.quote)

    def _htmx_header(self, element: Element) -> Said:
        if "htmx" in self.everywhere:
            return "protected", "a script of the page adds the header to every HTMX request"
        if "dodai" in self.everywhere and self.page.always(self.metas, element.conditions):
            return "protected", "the token is sent as a header"
        hidden = False
        for each in (element, *element.around):
            if text := each.value("hx-headers"):
                named = self._header_in(text)
                if named and self.page.always([each.conditions], element.conditions):
                    return "protected", "the token is sent as a header"
                hidden |= named is None
        if hidden:
            return "unknown", "its `hx-headers` are decided at run time"
        return "unprotected", "neither header nor field carries the token"

    def _header_in(self, text: str) -> bool | None:
        """Whether a JSON object of headers holds the token; None when that cannot be read."""
        if text.startswith(("js:", "javascript:")):
            return self.sending.has_header(text) or None
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            return None if self.page.kinds(text) else False
        wanted = {str(name).lower(): str(value) for name, value in found.items()}
        return any(wanted.get(name, "").strip() for name in self.sending.headers)

    def _htmx_field(self, element: Element) -> Said | None:
        params = element.value("hx-params")
        names = {word.strip() for word in params.removeprefix("not ").split(",")}
        left_out = params == "none" or (params.startswith("not ") and bool(names & self.fields))
        if left_out or (params not in ("", "*") and not params.startswith("not ") and not names & self.fields):
            return None
        for each in (element, *element.around):
            values = each.value("hx-vals")
            if values and self.sending.has_field(values):
                return "protected", "`hx-vals` carries the token"
        include = element.value("hx-include")
        if any(name in include for name in self.fields):
            fields = [c for c in self.read.controls if c.value("name") in self.fields and not self._unusable(c)]
            if fields:
                return "protected", "`hx-include` takes the token field along"
        if element.form >= 0:
            token = self._token(self.read.forms[element.form])
            if token and token[0] == "protected":
                return "protected", "the form around it carries the token"
            return token
        return None

    def _turbo(self, element: Element) -> Iterator[FormRow]:
        method = element.value("data-turbo-method").lower() or element.value("data-method").lower()
        if element.tag not in ("a", "button") or method not in _TURBO:
            return
        target = self.page.restored(element.value("href"))
        sends = self.page.always(self.metas, element.conditions)
        verdict: FormVerdict = "protected" if sends else "unprotected"
        evidence = "the token of `meta csrf-token` is sent" if sends else "the page has no `meta csrf-token`"
        if not sends and self._is_exempt(method.upper(), target):
            verdict, evidence = "exempt", "its target is exempt"
        yield FormRow(element.path, element.line, "turbo", method.upper(), target, verdict, evidence, element.quote)

    def _senders(self, script: Script, place: Element | int) -> Iterator[FormRow]:
        for sender in script.senders(self.sending):
            target = self.page.restored(sender.target)
            if is_elsewhere(target):
                continue
            path, line, _ = self._where(place, sender.at)
            verdict: FormVerdict = sender.verdict
            evidence = sender.evidence
            if verdict != "protected" and self._is_exempt(sender.method, target):
                verdict, evidence = "exempt", "its target is exempt"
            quote = self.page.restored(sender.quote)
            yield FormRow(path, line, sender.kind, sender.method, target, verdict, evidence, quote)
        for at, text in script.strings():
            if re.search(r"<form\b", text, re.IGNORECASE):
                yield from self._written(text, self._where(place, at))

    def _written(self, text: str, where: tuple[str, int, Any]) -> Iterator[FormRow]:
        """The forms in the markup that a script writes."""
        path, line, _ = where
        marks = (*self.page.marks, Mark("value", "${…}"))
        shown = re.sub(r"\$\{[^}]*\}", f"\ue000{len(marks) - 1}\ue001", text)
        inner = FormVerdicts(PageText(path, shown, marks), self.policy, self.around)
        for form in inner.read.forms:
            for row in inner._form(form):
                yield replace(row, path=path, line=line, evidence=f"written by a script: {row.evidence}")

    def _where(self, place: Element | int, at: int) -> tuple[str, int, Any]:
        if isinstance(place, Element):
            return place.path, place.line, place.conditions
        return self.page.place(place + at)

    def _is_meta(self, element: Element) -> bool:
        content = element.value("content")
        return element.value("name").lower() == "csrf-token" and bool(self.page.kinds(content) or TOKEN.search(content))

    def _is_exempt(self, method: str, action: str) -> bool:
        exemption = self.policy.exemption(f"{method} {action.partition('?')[0]}")
        return exemption is not None and exemption.when == "always"


def is_elsewhere(target: str) -> bool:
    """True for an absolute address: a token must not be sent there."""
    return re.match(r"\s*(?:[a-z][a-z0-9+.-]*:)?//", target, re.IGNORECASE) is not None


def _submits(control: Element) -> bool:
    kind = control.value("type").lower()
    return (control.tag == "button" and kind in ("", "submit")) or (
        control.tag == "input" and kind in ("submit", "image")
    )


def _basename(source: str) -> str:
    return source.partition("?")[0].rstrip("'\" )}").rpartition("/")[2]
