"""A journey is walked like a browser walks it: forms from the page, cookies kept, the first surprise ends it."""

from __future__ import annotations

import http.client
import urllib.request

import pytest

from dodai.operations.journey import Answer, read_forms, walk
from dodai.operations.policy import Journey, JourneyStep
from dodai.providers.local.browser import cookies

PAGE = """<form action="/q/7/answer" method="post"><input type="hidden" name="csrf_token" value="t0k">
<input type="radio" name="choice" value="1"><input name="note" value="as is"><input type="submit" name="go"></form>"""


def step(name, method, path, **extra):
    values = {"effect": "read", "form": {}, "status": 200, "contains": "", "location": "", "save": {}, **extra}
    return JourneyStep(name=name, method=method, path=path, **values)


class Scripted:
    def __init__(self, *answers):
        self.answers = list(answers)
        self.sent = []

    async def request(self, method, path, *, form=None):
        self.sent.append((method, path, form))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def answer(status=200, text="", **headers):
    return Answer(status, {"x-request-id": "id1", **headers}, text, 0.01)


async def test_form_of_the_page_is_sent_with_its_hidden_fields():
    """The token comes from the page, the choice from the manifest, buttons stay out."""
    browser = Scripted(answer(text='href="/q/7"'), answer(text=PAGE), answer(text="Correct"))
    journey = Journey(
        "quiz",
        "",
        "anonymous",
        (
            step("list", "GET", "/", save={"q": 'href="/q/([0-9]+)"'}),
            step("take", "GET", "/q/{q}"),
            step("answer", "POST", "/q/{q}/answer", form={"choice": "1"}, contains="Correct"),
        ),
    )
    walked = await walk(journey, browser)
    assert walked.ok, walked.problem
    assert browser.sent[-1] == ("POST", "/q/7/answer", {"csrf_token": "t0k", "note": "as is", "choice": "1"})
    assert walked.request_ids == ("id1", "id1", "id1")


async def test_first_unexpected_answer_ends_the_walk_and_names_the_request_id():
    """Nothing is asked after the surprise; the problem carries what to trace."""
    browser = Scripted(answer(503), answer())
    walked = await walk(Journey("quiz", "", "anonymous", (step("a", "GET", "/"), step("b", "GET", "/b"))), browser)
    assert walked.problem == "quiz/a: GET /: status 503, expected 200 (request id `id1`)"
    assert len(browser.sent) == 1


async def test_missing_form_missing_value_and_wrong_redirect_are_problems():
    """Each says what was looked for."""
    for steps, said in (
        ((step("a", "GET", "/"), step("b", "POST", "/x", form={"c": "1"})), "no form that posts to /x"),
        ((step("a", "GET", "/{id}"),), "no earlier step saved `id`"),
        ((step("a", "GET", "/", save={"id": "q=([0-9])"}),), "nothing to save as `id`"),
        ((step("a", "GET", "/", location="/login"),), "redirects to ``, expected `/login`"),
    ):
        walked = await walk(Journey("j", "", "anonymous", steps), Scripted(answer(), answer()))
        assert said in walked.problem


async def test_value_is_saved_from_the_text_and_else_from_the_location():
    """A redirect has no text that says where it leads; a page that says it wins."""
    browser = Scripted(
        answer(303, location="http://there/q/8?new"),
        answer(text="q/9", location="/q/10"),
        answer(),
        answer(302, "", location="/"),
    )
    steps = (
        step("create", "POST", "/q", status=303, save={"new": "/q/([0-9]+)"}),
        step("look", "GET", "/q/{new}", save={"other": "q/([0-9]+)"}),
        step("again", "GET", "/q/{other}"),
        step("lost", "GET", "/gone", status=302, save={"id": "/q/([0-9]+)"}),
    )
    walked = await walk(Journey("j", "", "anonymous", steps), browser)
    assert [path for _, path, _ in browser.sent] == ["/q", "/q/8", "/q/9", "/gone"]
    assert "nothing to save as `id`: no match for `/q/([0-9]+)` in the answer or its location `/`" in walked.problem


async def test_connection_failure_is_a_problem_not_an_exception():
    """A refused connection is told like any other answer."""
    walked = await walk(
        Journey("j", "", "anonymous", (step("a", "GET", "/"),)), Scripted(ConnectionRefusedError("refused"))
    )
    assert "no answer: refused" in walked.problem


def test_forms_are_read_as_a_browser_would_send_them():
    """Unticked boxes, buttons and files are left out; ticked boxes are sent."""
    html = "<form method=post action=/a><input type=checkbox name=x value=1><input type=checkbox name=y value=2 checked></form>"
    (form,) = read_forms(html)
    assert (form.action, form.method, form.fields) == ("/a", "POST", {"y": "2"})


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://localhost:8080", True),
        ("http://shop.localhost", True),
        ("https://shop.example.com", True),
        ("http://shop.example.com", False),
        ("http://127.0.0.1.example.com", False),
    ],
)
def test_secure_cookies_go_where_browsers_send_them(url, sent):
    """Loopback counts as secure, plain http anywhere else does not."""
    jar = cookies(url)
    request, answer_to = urllib.request.Request(url), http.client.HTTPMessage()
    answer_to["Set-Cookie"] = "session=1; Path=/; Secure; HttpOnly"
    jar.extract_cookies(Said(answer_to), request)
    jar.add_cookie_header(again := urllib.request.Request(url))
    assert (again.get_header("Cookie") == "session=1") is sent


class Said:
    """The answer as a jar wants to see it."""

    def __init__(self, headers):
        self.headers = headers

    def info(self):
        return self.headers
