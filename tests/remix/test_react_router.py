"""React Router 8 in front of the quiz: the same pages, backend and journeys, on the stock server."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import subprocess
import time
from collections.abc import Iterator

import httpx2
import pytest
from tests import node_parts
from tests.quiz.browser import HTML, Visitor
from tests.quiz.stack import Stack, running_quiz
from tests.remix import tiers

from dodai.observability.trace import main as trace
from dodai.wiring.watch import lines_at

ROUTES = tiers.ROUTER / "app" / "routes"
ACTIONS = sorted(path.name for path in ROUTES.iterdir() if "function action" in path.read_text("utf-8"))
CHECKED = [name for name in ACTIONS if name != "review.ts"]
QUESTION = {
    "prompt": "Which of these did a rehearsal write?",
    **{f"choice{n}": f"answer {n}" for n in (1, 2, 3, 4)},
    "correct": "1",
    "explanation": "It is gone soon.",
    "topic": "words",
    "lang": "en",
}


@pytest.fixture(scope="module")
def served(postgres, migrated, tmp_path_factory) -> Iterator[Stack]:
    """The quiz with React Router in front."""
    folder = tiers.built(tiers.ROUTER)
    with (
        postgres.fresh_database("quiz", template=migrated) as dsn,
        running_quiz(dsn, tmp_path_factory.mktemp("router"), "backend", "identity") as stack,
    ):
        tiers.serve(stack, folder)
        yield stack


@pytest.fixture(scope="module")
def careless(postgres, migrated, tmp_path_factory) -> Iterator[Stack]:
    """The same, with actions that never ask: every call of `verify` is taken out before the build."""
    folder = tiers.copy_of(tiers.ROUTER, tmp_path_factory.mktemp("careless") / "quiz")
    tiers.without_verification(folder, CHECKED)
    node_parts.npm(folder, "run", "build")
    with (
        postgres.fresh_database("quiz", template=migrated) as dsn,
        running_quiz(dsn, tmp_path_factory.mktemp("careless-state"), "backend", "identity") as stack,
    ):
        tiers.serve(stack, folder)
        yield stack


def test_its_own_suite_is_green():
    """`npm test`: types, and for each action the right token, none, and an altered one, with the real CSRF service."""
    said = node_parts.npm(tiers.ready(tiers.ROUTER), "test")
    assert re.search(rf"Tests\s+{6 * len(CHECKED) + 2} passed", said), said


@pytest.mark.parametrize("name", CHECKED)
def test_an_action_without_verification_turns_its_suite_red_for_that_route_alone(tmp_path, name: str):
    """The CSRF service is not mocked, so nothing else stops the request."""
    folder = tiers.copy_of(tiers.ROUTER, tmp_path / "quiz")
    tiers.without_verification(folder, [name])
    red = tiers.red_cases(folder)
    assert {file for file, _ in red} == {name}
    assert any(case.startswith("without a token") for _, case in red)
    assert any(case.startswith("an altered token") for _, case in red)


def _send(stack: Stack, method: str, path: str, **headers: str) -> httpx2.Response:
    own = {"origin": stack.url, "sec-fetch-site": "same-origin", "accept": "application/json"}
    return httpx2.request(method, stack.url + path, data={"lang": "ja", "choice": "1"}, headers={**own, **headers})


@pytest.mark.parametrize("tier", ["served", "careless"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/questions"),
        ("POST", "/questions/1"),
        ("DELETE", "/questions/1"),
        ("POST", "/questions/1/answer"),
        ("POST", "/questions/1/answer.data"),
        ("POST", "/questions/1/report"),
        ("PUT", "/api/questions/1/star"),
        ("POST", "/me"),
        ("POST", "/me.data"),
        ("POST", "/language"),
        ("POST", "/sign-in"),
        ("POST", "/sign-out"),
    ],
)
def test_a_request_without_token_is_refused_with_the_id_in_header_and_body(request, tier: str, method: str, path: str):
    """Documents, data requests and resource routes alike, and also where the action itself does not ask."""
    answer = _send(request.getfixturevalue(tier), method, path)
    assert answer.status_code == 403, answer.text
    assert answer.json()["error"]["code"] == "DOD151"
    assert answer.json()["requestId"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/questions/1/answer", "/questions/1/answer.data", "/language"])
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"origin": "https://evil.example", "sec-fetch-site": "cross-site"}, "DOD150"),
        ({"origin": "null", "sec-fetch-site": "cross-site"}, "DOD150"),
        ({"content-type": "text/plain"}, "DOD151"),
    ],
)
def test_a_hostile_request_is_refused_with_a_line(careless: Stack, path: str, headers: dict[str, str], code: str):
    """The framework's own check answers 400 without an id, and resource routes not at all; it is switched off."""
    answer = _send(careless, "POST", path, **headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, code)
    line = tiers.line_of(careless, answer.json()["requestId"])
    assert f'"code":"{code}"' in line
    assert f'"route":"{path.removesuffix(".data").replace("/1/", "/:question/")}"' in line


def test_a_form_works_behind_a_tls_proxy(served: Stack, visit):
    """`Host` and scheme are those of the hop behind the proxy; what counts is the declared public origin."""
    visitor: Visitor = visit(served)
    visitor.go("/")
    proxied = {"host": "127.0.0.1:1", "x-forwarded-host": "quiz.example.com", "x-forwarded-proto": "https"}
    assert visitor.send("/language", lang="ja", headers=proxied).status_code == 303


def test_every_journey_of_the_manifest_is_walked(served: Stack):
    """The same definitions that the Python tier is smoke-tested, rehearsed and loaded by."""
    assert tiers.walked(served) == []


def test_what_is_wrong_with_a_question_stands_beside_its_field(served: Stack, visit):
    """422 with the form as it was filled in; a preview stores nothing."""
    visitor: Visitor = visit(served)
    visitor.sign_in("hanako")
    answer = visitor.send("/questions", on="/questions/new", **{**QUESTION, "prompt": "short", "choice2": "answer 1"})
    assert answer.status_code == 422
    assert 'id="prompt-problem"' in answer.text
    own = {**HTML, **visitor.token()}
    shown = visitor.client.post("/questions/preview", data=QUESTION, headers=own)
    assert (shown.status_code, 'id="preview-title"' in shown.text) == (200, True)


def test_a_star_is_kept_and_somebody_elses_question_is_not_changed(served: Stack, visit):
    """JSON by PUT with the token in the header; 403 for who is not the author, 401 for nobody."""
    hanako: Visitor = visit(served)
    hanako.sign_in("hanako")
    question = hanako.send("/questions", on="/questions/new", **QUESTION).headers["location"]
    hanako.go(question)
    star = hanako.client.put(f"/api{question}/star", json={"starred": True}, headers=hanako.token())
    assert (star.status_code, star.json()) == (200, {"starred": True})
    assert 'aria-pressed="true"' in hanako.go(question).text
    taro: Visitor = visit(served)
    taro.sign_in("taro")
    taro.go("/")
    refused = taro.client.delete(question, headers={**HTML, **taro.token()})
    assert refused.status_code == 403
    assert taro.go(f"{question}/edit").status_code == 403
    assert visit(served).go(f"{question}/edit").status_code == 401
    assert hanako.client.delete(question, headers={**HTML, **hanako.token()}).status_code == 303
    assert hanako.go(question).status_code == 404


def test_the_webhook_is_believed_for_its_signature(served: Stack):
    """The one exemption of the manifest holds for its route in this tier, too."""
    body = json.dumps({"report": 1, "decision": "keep"}).encode()
    key, at = served.secrets["REVIEW_WEBHOOK_SECRET"].encode(), str(int(time.time()))
    signature = hmac.new(key, at.encode() + b"." + body, hashlib.sha256).hexdigest()
    url = f"{served.url}/webhooks/review"
    signed = httpx2.post(url, content=body, headers={"x-signature": f"t={at},v1={signature}"})
    assert signed.status_code in (200, 404), signed.text
    assert httpx2.post(url, content=body, headers={"x-signature": f"t={at},v1={'0' * 64}"}).status_code == 401


def test_a_page_from_before_signing_in_is_refused_after_it(served: Stack, visit):
    """`login()` renews the visitor's cookie, so tokens from before are those of another session."""
    visitor: Visitor = visit(served)
    visitor.go("/")
    before = visitor.page
    visitor.sign_in("taro")
    visitor.page = before
    answer = visitor.send("/language", lang="ja", headers={"accept": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "DOD154")


def test_the_page_runs_no_script_but_its_own(served: Stack, visit):
    """Every script of the page carries the number that the policy names, and the next page has another one."""
    visitor: Visitor = visit(served)
    numbers = set()
    for _ in range(2):
        page = visitor.go("/")
        (number,) = re.findall(r"'nonce-([^']+)'", page.headers["content-security-policy"])
        scripts = re.findall(r"<script\b[^>]*>", page.text)
        assert scripts
        assert all(f'nonce="{number}"' in script for script in scripts), scripts
        numbers.add(number)
    assert len(numbers) == 2


def test_one_id_leads_from_the_browser_through_node_and_the_backend_to_its_sql(served: Stack, visit, capsys):
    """The tier of each hop is named, and the signed-in user is proved to the backend."""
    visitor: Visitor = visit(served)
    visitor.sign_in("hanako")
    request_id = visitor.go("/me").headers["x-request-id"]
    tiers.line_of(served, request_id)
    assert trace([request_id, "--state", str(served.folder)], lines_at) == 0
    said = capsys.readouterr().out
    assert "web" in said
    assert "quiz.v1.Quiz/GetMyPage" in said
    assert re.search(r"\d+ × ", said), said
    hops = tiers.hops_of(served, request_id)
    assert len({re.search(r'"userId":"(\w+)"', line)[1] for line in hops}) == 1
    assert any('"calls":"backend ' in line for line in hops)


def test_every_line_is_sound(served: Stack, visit):
    """Those of node beside those of Python, by the checker of the specification."""
    visitor: Visitor = visit(served)
    tiers.line_of(served, visitor.go("/").headers["x-request-id"])
    files = [str(path) for path in (served.folder / "lines").glob("*.jsonl")]
    checker = node_parts.ROOT / "spec" / "check_line.py"
    done = subprocess.run(["python3", str(checker), *files], capture_output=True, text=True, check=False)
    assert any(name.endswith(".node.jsonl") for name in files)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_goes_wrong_is_told_on_a_page_with_the_id(served: Stack, visit):
    """Also where an address has no page of its own: the identity provider cannot be reached when somebody signs in."""
    served.end("identity")
    try:
        visitor: Visitor = visit(served)
        answer = visitor.send("/sign-in", on="/")
        assert answer.status_code == 503
        assert answer.headers["x-request-id"] in answer.text
        assert '"dependency":"identity"' in tiers.line_of(served, answer.headers["x-request-id"])
    finally:
        served.start("identity")
