"""The journeys of the quiz in Chromium on its web tiers in node, with their scripts and without any."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect
from tests.end_to_end.test_quiz_browser import Reader, chromium, context_of  # noqa: F401 - a fixture
from tests.quiz.stack import Stack, running_quiz
from tests.remix import tiers

pytestmark = pytest.mark.optional_part("chromium")


@pytest.fixture(scope="module", params=[tiers.ROUTER, tiers.REMIX2], ids=["react-router", "remix2"])
def served(request, postgres, migrated, tmp_path_factory) -> Iterator[Stack]:
    """The quiz with one of the two in front."""
    folder = tiers.built(request.param)
    with (
        postgres.fresh_database("quiz", template=migrated) as dsn,
        running_quiz(dsn, tmp_path_factory.mktemp("browser"), "backend", "identity") as stack,
    ):
        tiers.serve(stack, folder)
        yield stack


@pytest.fixture(params=[True, False], ids=["scripts", "no-scripts"])
def reader(request, chromium: Browser, served: Stack) -> Iterator[Reader]:  # noqa: F811
    context = context_of(chromium, "desktop", "en", java_script_enabled=request.param)
    found = Reader(context.new_page(), served.url, "node")
    found.listen()
    yield found
    context.close()


@pytest.mark.share(4)
def test_a_person_answers_signs_in_writes_changes_deletes_and_signs_out(reader: Reader):
    """Every form of the pages, with the token of the page at hand; the browser complains about nothing."""
    page = reader.page
    reader.go("/")
    page.locator(".hero .button").click()
    page.wait_for_url(re.compile(r"/questions/\d+$"))
    reader.choose(1)
    expect(page.locator("#verdict")).to_be_visible()
    expect(page.locator(".choice.right")).to_have_count(1)
    reader.go("/")
    reader.sign_in("hanako")
    reader.go("/me")
    page.locator("#name").fill("はなこ")
    page.locator("button[value=name]").click()
    expect(page.locator("h1")).to_have_text(re.compile("はなこ"))
    question = reader.write_question("Which of these is a river, seen from node?")
    page.locator(".marks a[href$='/edit']").click()
    page.locator("textarea#prompt").fill("Which of these is a river, seen from node again?")
    page.locator("button[value=save]").click()
    page.wait_for_url(f"**{question}")
    expect(page.locator("h1")).to_have_text(re.compile("again"))
    reader.go(f"{question}/edit")
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator("button[value=delete]").click()
    page.wait_for_url("**/me")
    page.locator("header form[action='/sign-out'] button").click()
    page.wait_for_url(f"{reader.url}/")
    reader.go("/me")
    expect(page.locator("h1")).to_be_visible()
    assert reader.complaints == []


@pytest.mark.share(4)
def test_a_page_in_another_tab_still_posts(reader: Reader):
    """Two first tabs at once, then the one that was opened first sends its form."""
    other = reader.page.context.new_page()
    reader.go("/questions/1")
    other.goto(f"{reader.url}/questions/2")
    reader.choose(0)
    expect(reader.page.locator("#verdict")).to_be_visible()
    other.locator("label.choice").first.click()
    other.locator("form#question button").click()
    expect(other.locator("#verdict")).to_be_visible()
