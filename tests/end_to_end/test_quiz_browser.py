"""The quiz in Chromium: every journey, wide and narrow, in both languages, with the keyboard and without a script."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright
from tests.end_to_end.npm_package import installed
from tests.optional_parts import find
from tests.quiz.stack import Stack

pytestmark = pytest.mark.optional_part("chromium")

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / ".dodai" / "reports" / "screenshots"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZES = {"desktop": (1280, 860), "phone": (360, 740)}
LOCALES = {"en": "en-GB", "ja": "ja-JP"}
# What Chromium says about every answer that is not 2xx; the pages that are meant to be so are asserted by themselves.
EXPECTED = re.compile(r"Failed to load resource: the server responded with a status of 4\d\d")


@dataclass(slots=True)
class Reader:
    """Somebody with a browser. Each page `seen` is checked for what would be wrong on any page."""

    page: Page
    url: str
    name: str
    complaints: list[str] = field(default_factory=list)
    seen_pages: int = 0

    def listen(self) -> None:
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda line: self.complain(line.type, line.text))

    def complain(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not EXPECTED.match(text) and self.url in self.page.url:
            self.complaints.append(text)

    def go(self, path: str) -> None:
        self.page.goto(self.url + path)

    def seen(self, what: str) -> None:
        """Nothing sticks out to the side, nothing was complained about; a picture for people to look at."""
        wider = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider == 0, f"{what} is {wider} px wider than the window"
        assert self.complaints == [], what
        self.seen_pages += 1
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.evaluate("Promise.all(document.getAnimations().map((each) => each.finished))")
        self.page.screenshot(path=SCREENSHOTS / f"{self.name}-{self.seen_pages:02}-{what}.png", full_page=True)

    def sign_in(self, user: str) -> None:
        self.page.locator("header form[action='/sign-in'] button").click()
        self.page.locator(f"button[value={user}]").click()
        self.page.wait_for_url(f"{self.url}/**")

    def choose(self, number: int) -> None:
        self.page.locator("label.choice").nth(number).click()
        self.page.locator("form#question button").click()

    def write_question(self, prompt: str) -> str:
        """The path of a new question."""
        self.go("/questions/new")
        self.fill_in(prompt)
        self.page.locator("button[value=save]").click()
        self.page.wait_for_url(re.compile(r"/questions/\d+$"))
        return self.page.url.removeprefix(self.url)

    def fill_in(self, prompt: str) -> None:
        self.page.locator("textarea#prompt").fill(prompt)
        for number, text in enumerate(("鴨川", "Mount Fuji", "a very long name " * 5, "びわ湖"), 1):
            self.page.locator(f"[name=choice{number}]").fill(text)
        self.page.locator("[name=correct]").first.check()
        self.page.locator("#explanation").fill("It runs from north to south.")
        self.page.locator("#topic").select_option("places")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find("chromium"), args=ARGUMENTS)
        yield browser
        browser.close()


def context_of(chromium: Browser, size: str, lang: str, **more: object) -> BrowserContext:
    width, height = SIZES[size]
    context = chromium.new_context(viewport={"width": width, "height": height}, locale=LOCALES[lang], **more)
    context.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)  # ends a page that hangs; a busy machine has the time it needs
    return context


@pytest.fixture(params=[(size, lang) for size in SIZES for lang in LOCALES], ids="-".join)
def reader(request: pytest.FixtureRequest, chromium: Browser, quiz: Stack) -> Iterator[Reader]:
    size, lang = request.param
    scheme = "dark" if (size, lang) in (("phone", "en"), ("desktop", "ja")) else "light"
    context = context_of(chromium, size, lang, color_scheme=scheme)
    name = f"{request.node.originalname.removeprefix('test_')[:40]}-{size}-{lang}"
    found = Reader(context.new_page(), quiz.url, name)
    found.listen()
    yield found
    context.close()


@pytest.fixture
def wide(chromium: Browser, quiz: Stack) -> Iterator[Reader]:
    context = context_of(chromium, "desktop", "en")
    found = Reader(context.new_page(), quiz.url, "wide")
    found.listen()
    yield found
    context.close()


@pytest.mark.share(4)
def test_visitor_takes_a_question_and_sees_the_verdict_in_place(reader):
    """Without signing in, without leaving the page; the verdict has the focus, so that it is read aloud."""
    reader.go("/")
    reader.seen("list")
    reader.page.locator(".hero .button").click()
    reader.seen("question")
    address = reader.page.url
    reader.choose(1)
    verdict = reader.page.locator("#verdict")
    expect(verdict).to_be_focused()
    assert reader.page.url == address
    expect(reader.page.locator(".choice.right")).to_have_count(1)
    reader.seen("verdict")
    reader.page.locator(".question .actions .button").click()
    reader.page.wait_for_url(re.compile(r"/questions/\d+$"))
    assert reader.page.url != address


@pytest.mark.share(4)
def test_visitor_reports_a_question(reader):
    """The form gives way to a word of thanks."""
    reader.go("/questions/1")
    reader.page.locator("summary").click()
    reader.seen("form")
    reader.page.locator("[name=reason]").nth(1).check()
    reader.page.locator("details button").click()
    expect(reader.page.locator(".thanks")).to_be_focused()
    reader.seen("thanks")


@pytest.mark.share(4)
def test_author_writes_previews_keeps_changes_and_deletes_a_question(reader):
    """From an empty form to an empty list, as a person with a mouse does it."""
    page = reader.page
    reader.go("/questions/new")
    reader.seen("closed")
    page.locator("main form button").click()
    page.locator("button[value=taro]").click()
    page.wait_for_url("**/questions/new")
    prompt = f"Which of these is a river? ({reader.name[-10:]})"
    reader.fill_in(prompt)
    page.locator("[hx-post='/questions/preview']").click()
    expect(page.locator(".preview .choice.right")).to_have_text(re.compile("鴨川"))
    reader.seen("preview")
    page.locator("button[value=save]").click()
    page.wait_for_url(re.compile(r"/questions/\d+$"))
    star = page.locator(".star")
    star.click()
    expect(star).to_have_attribute("aria-pressed", "true")
    reader.seen("kept")
    page.locator(".marks a[href$='/edit']").click()
    page.locator("textarea#prompt").fill("short")
    page.locator("form.editor").evaluate("(form) => { form.noValidate = true; }")
    page.locator("button[value=save]").click()
    expect(page.locator("#prompt-problem")).to_be_visible()
    reader.seen("problem")
    page.locator("textarea#prompt").fill(prompt)
    page.locator("button[value=save]").click()
    page.wait_for_url(re.compile(r"/questions/\d+$"))
    reader.go("/me")
    row = page.locator(".rows li", has=page.locator("[hx-delete]"), has_text=prompt)
    expect(row).to_have_count(1)
    page.once("dialog", lambda dialog: dialog.dismiss())
    row.locator("[hx-delete]").click()
    expect(row).to_have_count(1)
    page.once("dialog", lambda dialog: dialog.accept())
    row.locator("[hx-delete]").click()
    expect(row).to_have_count(0)
    reader.seen("deleted")


@pytest.mark.share(4)
def test_reader_finds_history_and_chart_on_my_page_and_signs_out(reader):
    """What was answered is listed and drawn; after signing out the page is closed."""
    page = reader.page
    reader.go("/")
    reader.sign_in("hanako")
    reader.go("/next")
    reader.choose(0)
    expect(page.locator("#verdict")).to_be_visible()
    reader.go("/me")
    assert page.locator(".plot rect.all").count() >= 1
    assert page.locator(".rows time").count() >= 1
    reader.seen("my-page")
    page.locator("#name").fill("はなこ")
    page.locator("button[value=name]").click()
    expect(page.locator("h1")).to_have_text(re.compile("はなこ"))
    page.locator("header form[action='/sign-out'] button").click()
    page.wait_for_url(f"{reader.url}/")
    reader.go("/me")
    reader.seen("closed")
    expect(page.locator("main form[action='/sign-in']")).to_be_visible()


@pytest.mark.share(4)
def test_error_page_shows_the_number_of_the_request(reader):
    """The same one that is in the header."""
    answer = reader.page.goto(f"{reader.url}/nothing-here")
    shown = reader.page.locator(".id code").inner_text()
    assert answer.header_value("x-request-id") == shown
    reader.seen("not-found")


def test_language_is_switched_where_the_reader_is(wide):
    """One press, the same page, the other language, and it stays."""
    wide.go("/questions/new")
    wide.page.locator("header [name=lang]").click()
    wide.page.wait_for_url("**/questions/new")
    assert wide.page.locator("html").get_attribute("lang") == "ja"
    wide.go("/")
    assert wide.page.locator("html").get_attribute("lang") == "ja"


def test_question_is_answered_with_the_keyboard_alone(wide):
    """Skip link, arrow keys, Enter; the focus can be seen at every stop."""
    page = wide.page
    wide.go("/questions/3")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert_focus_is_visible(page.locator("label.choice").first)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator("[name=choice]").nth(2)).to_be_checked()
    page.keyboard.press("Tab")
    assert_focus_is_visible(page.locator("form#question button"))
    page.keyboard.press("Enter")
    expect(page.locator("#verdict")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator(".question .actions .button")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/questions/(?!3$)\d+$"))


def assert_focus_is_visible(element: Locator) -> None:
    assert element.evaluate("(e) => parseFloat(getComputedStyle(e).outlineWidth)") >= 2


def test_everything_works_without_a_script(chromium, quiz):
    """Every hx- attribute stands on a form or a link that does the same by itself."""
    context = context_of(chromium, "phone", "en", java_script_enabled=False)
    reader = Reader(context.new_page(), quiz.url, "without-script")
    reader.go("/questions/5")
    reader.choose(2)
    expect(reader.page.locator("#verdict")).to_be_visible()
    reader.sign_in("taro")
    path = reader.write_question("Which of these needs no script?")
    reader.go(f"{path}/edit")
    reader.page.locator("[formaction='/questions/preview']").click()
    expect(reader.page.locator(".preview")).to_be_visible()
    reader.go(f"{path}/edit")
    reader.page.locator("button[value=delete]").click()
    reader.page.wait_for_url("**/me")
    assert reader.page.goto(quiz.url + path).status == 404
    context.close()


def test_refusal_is_shown_in_the_page_and_keeps_what_was_chosen(wide):
    """Somebody signed in elsewhere, so the token of this page is old: the reader is told and loses nothing."""
    page = wide.page
    wide.go("/questions/3")
    page.locator("form#question [name=csrf_token]").evaluate("(field) => { field.value = 'd1.old'; }")
    page.evaluate("document.querySelector('meta[name=csrf-token]').content = 'd1.old'")
    wide.choose(2)
    expect(page.locator("#notice")).to_be_visible()
    expect(page.locator("#notice h1")).to_be_visible()
    expect(page.locator("#notice")).to_have_text(re.compile("[0-9a-f]{32}"))
    expect(page.locator("[name=choice]").nth(2)).to_be_checked()
    wide.seen("refused")


def test_failure_behind_the_page_is_told_above_it(wide):
    """The star of a question that somebody has deleted meanwhile: what happened, what to do, the number."""
    page = wide.page
    wide.go("/")
    wide.sign_in("taro")
    path = wide.write_question("Which of these will be gone in a moment?")
    other = page.context.new_page()
    other.goto(f"{wide.url}{path}/edit")
    other.once("dialog", lambda dialog: dialog.accept())
    other.locator("button[value=delete]").click()
    other.wait_for_url("**/me")
    other.close()
    page.locator(".star").click()
    expect(page.locator("#notice")).to_have_text(re.compile("There is nothing here.*[0-9a-f]{32}", re.DOTALL))
    expect(page.locator(".star")).to_have_attribute("aria-pressed", "false")
    wide.seen("told")


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    return (installed("axe-core", "4.14.1") / "axe.min.js").read_text("utf-8")


@pytest.mark.share(2)
@pytest.mark.optional_part("npm")
@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_axe_finds_no_serious_violation_on_any_page(chromium, quiz, axe, size, scheme):
    """Contrast, names, roles, order: WCAG 2.2 AA as far as a machine can judge, by day and by night."""
    context = context_of(chromium, size, "ja" if scheme == "dark" else "en", color_scheme=scheme)
    context.add_init_script(
        "addEventListener('DOMContentLoaded', () => document.getAnimations().forEach((a) => a.finish()))"
    )
    reader = Reader(context.new_page(), quiz.url, "axe")
    reader.go("/")
    reader.sign_in("taro")
    path = reader.write_question(f"Which of these is judged by a machine ({size}, {scheme})?")
    found: list[str] = []
    for place in ("/", "/questions/1", path, f"{path}/edit", "/questions/new", "/me", "/nothing"):
        reader.go(place)
        found += violations(reader.page, axe, place)
    reader.go("/questions/new")
    reader.page.locator("form.editor").evaluate("(form) => { form.noValidate = true; }")
    reader.page.locator("button[value=save]").click()
    reader.page.locator("#prompt-problem").wait_for()
    reader.page.locator("[hx-post='/questions/preview']").click()
    reader.page.locator(".preview").wait_for()
    found += violations(reader.page, axe, "problems and preview")
    reader.go("/questions/1")
    reader.page.locator("summary").click()
    found += violations(reader.page, axe, "report")
    reader.choose(3)
    reader.page.locator("#verdict").wait_for()
    reader.page.evaluate("Promise.all(document.getAnimations().map((each) => each.finished))")
    found += violations(reader.page, axe, "verdict")
    reader.page.locator("header form[action='/sign-out'] button").click()
    reader.go("/me")
    found += violations(reader.page, axe, "closed")
    assert found == []
    context.close()


def violations(page: Page, axe: str, place: str) -> list[str]:
    page.evaluate(axe)
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{place}: {rule['id']}: {node['target']} {node['failureSummary']}"
        for rule in result["violations"]
        if rule["impact"] in ("serious", "critical", "moderate")
        for node in rule["nodes"]
    ]
