"""Walking a journey over HTTP like a browser: cookies kept, forms taken from the page they stand in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import field
from html.parser import HTMLParser
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

from dodai.core.dataclass import dataclass
from dodai.csrf.ports import Response
from dodai.operations.policy import Journey, JourneyStep


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request. `headers` have lower-case names; redirects are not followed."""

    status: int
    headers: Mapping[str, str]
    text: str
    seconds: float

    @property
    def request_id(self) -> str:
        """The id a user would see: the `X-Request-Id` of the answer, empty when it has none."""
        return self.headers.get("x-request-id", "")


class Browser(Protocol):
    """One visitor: keeps cookies between requests, opens a fresh connection for each."""

    async def request(self, method: str, path: str, *, form: Mapping[str, str] | None = None) -> Answer:
        """The answer to one request; connection failures are raised as `OSError`."""


class Visitor(Browser, Protocol):
    """A browser that also shows answers as httpx knows them; `close` it."""

    async def send(self, method: str, path: str, **options: Any) -> Response: ...

    async def close(self) -> None: ...


Visit = Callable[[str], Visitor]
"""A new visitor at a base URL."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step walked. `problem` is empty when the answer was as the manifest says."""

    name: str
    method: str
    path: str
    status: int
    seconds: float
    request_id: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Walk:
    """A journey walked up to its end or its first problem."""

    journey: str
    steps: tuple[StepResult, ...]

    @property
    def ok(self) -> bool:
        return all(not step.problem for step in self.steps)

    @property
    def problem(self) -> str:
        """The first thing that was not as expected, with the id to trace it by."""
        bad = next((step for step in self.steps if step.problem), None)
        if bad is None:
            return ""
        return (
            f"{self.journey}/{bad.name}: {bad.method} {bad.path}: {bad.problem} (request id `{bad.request_id or '-'}`)"
        )

    @property
    def held_back(self) -> bool:
        """Whether a rate limit of the edge answered where the application should have."""
        return bool(self.problem) and self.steps[-1].status == 429

    @property
    def asks_for_an_origin(self) -> bool:
        """Whether the application seems not to answer to the address it was visited at, or not without TLS."""
        bad = self.steps[-1]
        return bad.status == 400 or (300 <= bad.status < 400 and " to `https:" in bad.problem)

    @property
    def request_ids(self) -> tuple[str, ...]:
        return tuple(step.request_id for step in self.steps if step.request_id)


async def walk(journey: Journey, browser: Browser) -> Walk:
    """`journey` walked with `browser`; stops at the first step whose answer is not as the manifest says."""
    saved: dict[str, str] = {}
    page: Answer | None = None
    page_path = "/"
    results: list[StepResult] = []
    for step in journey.steps:
        path, problem = _fill(step.path, saved)
        form, form_problem = _form(step, page, page_path, path)
        problem = problem or form_problem
        if problem:
            results.append(StepResult(step.name, step.method, path, 0, 0.0, "", problem))
            break
        result, answer = await _take(step, path, form, browser, saved)
        results.append(result)
        if result.problem or answer is None:
            break
        if step.method == "GET":
            page, page_path = answer, path
    return Walk(journey.name, tuple(results))


async def _take(
    step: JourneyStep, path: str, form: Mapping[str, str] | None, browser: Browser, saved: dict[str, str]
) -> tuple[StepResult, Answer | None]:
    try:
        answer = await browser.request(step.method, path, form=form)
    except OSError as error:
        return StepResult(step.name, step.method, path, 0, 0.0, "", f"no answer: {error}"), None
    problem = _judge(step, answer) or _save(step, answer, saved)
    result = StepResult(step.name, step.method, path, answer.status, answer.seconds, answer.request_id, problem)
    return result, answer


def _fill(path: str, saved: Mapping[str, str]) -> tuple[str, str]:
    names = re.findall(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", path)
    missing = [name for name in names if name not in saved]
    if missing:
        return path, f"no earlier step saved `{missing[0]}`"
    for name in names:
        path = path.replace("{" + name + "}", saved[name])
    return path, ""


def _form(step: JourneyStep, page: Answer | None, page_path: str, path: str) -> tuple[dict[str, str] | None, str]:
    if step.method == "GET":
        return None, ""
    forms = read_forms(page.text) if page else ()
    for form in forms:
        if urlsplit(urljoin(page_path, form.action)).path == path and form.method == step.method.upper():
            return {**form.fields, **step.form}, ""
    if page is not None and step.form and step.method.upper() == "POST":
        return None, f"the page before has no form that posts to {path}"
    return dict(step.form), ""


def _judge(step: JourneyStep, answer: Answer) -> str:
    location = answer.headers.get("location", "")
    if answer.status != step.status:
        leads = f" to `{location}`" if location else ""
        return f"status {answer.status}{leads}, expected {step.status}"
    if step.contains and step.contains not in answer.text:
        return f"the answer does not contain `{step.contains}`"
    if step.location and not urlsplit(location).path.startswith(step.location):
        return f"redirects to `{location}`, expected `{step.location}`"
    return ""


def _save(step: JourneyStep, answer: Answer, saved: dict[str, str]) -> str:
    location = answer.headers.get("location", "")
    for name, pattern in step.save.items():
        match = re.search(pattern, answer.text) or re.search(pattern, location)
        if match is None:
            where = f"the answer or its location `{location}`" if location else "the answer"
            return f"nothing to save as `{name}`: no match for `{pattern}` in {where}"
        saved[name] = match[1]
    return ""


@dataclass(slots=True)
class JourneyForm:
    """A form as a browser sees it: where it goes, and the fields it would send untouched."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[JourneyForm] = []
        self._open: JourneyForm | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = JourneyForm(found.get("action", ""), found.get("method", "get").upper())
            self.forms.append(self._open)
        elif tag == "input" and self._open is not None and found.get("name"):
            ticked = found.get("type", "text").lower() not in ("checkbox", "radio") or "checked" in found
            if ticked and found.get("type", "").lower() not in ("submit", "button", "image", "file"):
                self._open.fields[found["name"]] = found.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None


def read_forms(html: str) -> tuple[JourneyForm, ...]:
    """The forms of a page, each with its hidden and prefilled fields."""
    parser = _Forms()
    parser.feed(html)
    return tuple(parser.forms)
