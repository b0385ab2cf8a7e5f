"""The web tier over HTTP: pages, forms, errors, and what happens when something behind it is gone."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import grpc
import psycopg
import pytest
from tests.quiz.browser import HTML
from tests.quiz.stack import running_quiz
from tests.support.wait import until

from web.backend import HTTP_STATUS
from web.webhooks import TOLERANCE_S, is_signed

FORM = {
    "prompt": "Which of these is a river?",
    "choice1": "The Kamo",
    "choice2": "Mount Fuji",
    "choice3": "Kyoto",
    "choice4": "Biwa",
    "correct": "1",
    "explanation": "It runs.",
    "topic": "places",
    "lang": "en",
}


@pytest.fixture
def hanako(quiz, visit):
    found = visit(quiz)
    found.sign_in("hanako")
    return found


@pytest.fixture
def anybody(quiz, visit):
    return visit(quiz)


def write_question(author, **changes) -> str:
    """The path of a new question."""
    answer = author.send("/questions", on="/questions/new", **{**FORM, **changes})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def test_every_grpc_status_has_an_http_status():
    """No refusal of the backend becomes an accident for want of a row."""
    assert set(HTTP_STATUS) == set(grpc.StatusCode) - {grpc.StatusCode.OK}


def test_readyz_says_who_runs_and_what_it_needs(quiz, visit):
    """The Host compares the version with the one it deployed."""
    answer = visit(quiz).client.get("/readyz")
    assert answer.json() == {"ready": True, "version": "r1", "dependencies": {"backend": "ok"}, "lostLines": 0}
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/?topic=art", "/questions/1", "/nothing", "/me", "/questions/new", "/readyz"])
def test_every_answer_has_an_id_and_a_policy(anybody, path):
    """Errors, too; no page may run a script that is not ours."""
    headers = anybody.go(path).headers
    assert re.fullmatch("[0-9a-f]{32}", headers["x-request-id"])
    assert "script-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/questions/999999", 404),
        ("/questions/99999999999999999999999", 404),
        ("/?topic=nonsense", 404),
        ("/nothing", 404),
        ("/me", 401),
        ("/questions/1/edit", 401),
    ],
)
def test_error_page_shows_the_id_of_the_answer_and_what_to_do(anybody, path, status):
    """The number a reader tells us is the one in the header and in every line."""
    answer = anybody.go(path)
    assert answer.status_code == status
    assert answer.headers["x-request-id"] in answer.text
    assert 'href="/"' in answer.text


def test_error_is_json_for_who_asks_for_json(anybody):
    """A program gets no page."""
    answer = anybody.client.get("/nothing", headers={"accept": "application/json"})
    assert answer.json() == {
        "error": {"status": 404, "name": "Not Found"},
        "requestId": answer.headers["x-request-id"],
    }


def test_a_question_is_answered_and_the_same_form_again_gets_the_same_verdict(anybody):
    """Reloading the verdict does not count twice."""
    anybody.go("/questions/1")
    first = anybody.send("/questions/1/answer", choice="1")
    assert first.status_code == 200
    assert 'id="verdict"' in first.text
    assert "answered once" in first.text.lower()
    assert first.headers["cache-control"].startswith("no-store") or "private" in first.headers["cache-control"]


def test_answer_without_a_choice_is_asked_again(anybody):
    """The page comes back with what is missing, under 422."""
    answer = anybody.send("/questions/3/answer", on="/questions/3")
    assert answer.status_code == 422
    assert "Choose one of the four answers first." in answer.text


def test_attempt_that_is_no_uuid_is_refused(anybody):
    """What a form field holds is never trusted."""
    assert anybody.send("/questions/3/answer", on="/questions/3", choice="1", attempt="1").status_code == 422


def test_verdict_is_a_piece_of_a_page_for_the_script(anybody):
    """quiz.js swaps it in; without the script the whole page comes."""
    answer = anybody.send("/questions/3/answer", on="/questions/3", choice="1", headers={"hx-request": "true"})
    assert answer.text.lstrip().startswith("<section")


def test_author_writes_changes_and_deletes_a_question(hanako):
    """From the form to the list and away again."""
    path = write_question(hanako)
    assert FORM["prompt"] in hanako.go(path).text
    changed = hanako.send(path, on=f"{path}/edit", **{**FORM, "prompt": "Which of these flows?", "intent": "save"})
    assert changed.status_code == 303
    assert "Which of these flows?" in hanako.go(path).text
    hanako.go("/me")
    assert hanako.client.delete(path, headers={**HTML, **hanako.token(), "hx-request": "true"}).status_code == 200
    assert hanako.go(path).status_code == 404


def test_intent_decides_what_one_form_does(hanako):
    """Deleting works from the form as well, for who has no script; an intent that is unknown does nothing."""
    path = write_question(hanako)
    assert hanako.send(path, on=f"{path}/edit", **FORM, intent="explode").status_code == 422
    assert hanako.send(path, on=f"{path}/edit", intent="delete").headers["location"] == "/me"
    assert hanako.go(path).status_code == 404


def test_nobody_changes_the_question_of_somebody_else(hanako, quiz, visit):
    """The page says 403, the question stays."""
    path = write_question(hanako)
    taro = visit(quiz)
    taro.sign_in("taro")
    assert taro.go(f"{path}/edit").status_code == 403
    taro.go("/me")
    refused = taro.client.delete(path, headers={**HTML, **taro.token()})
    assert refused.status_code == 403
    assert refused.headers["x-request-id"] in refused.text
    assert hanako.go(path).status_code == 200


def test_draft_with_problems_comes_back_as_it_was_typed(hanako):
    """Nothing that was written is lost, and each field says what is wrong with it."""
    answer = hanako.send("/questions", on="/questions/new", **{**FORM, "prompt": "<b>x", "choice2": "The Kamo"})
    assert answer.status_code == 422
    assert "&lt;b&gt;x" in answer.text
    assert "This is too short." in answer.text
    assert "This answer is there twice." in answer.text
    assert 'value="Mount Fuji"' not in answer.text


def test_preview_stores_nothing(hanako):
    """It shows the question and leaves the list as it was."""
    before = hanako.go("/?topic=art").text
    shown = hanako.send("/questions", on="/questions/new")  # a form that is sent elsewhere by its button
    assert shown.status_code == 422
    sent = {**FORM, "topic": "art", "prompt": "Is this only a preview?"}
    hanako.go("/questions/new")
    shown = hanako.client.post("/questions/preview", data=sent, headers={**HTML, **hanako.token()})
    assert "Is this only a preview?" in shown.text
    assert "Is this only a preview?" not in hanako.go("/?topic=art").text
    assert before.count("<li>") == hanako.page.text.count("<li>")


def test_star_is_set_and_taken_off_by_json(hanako):
    """What is said twice is true once; my page lists it."""
    path = write_question(hanako, prompt="Which one is worth keeping?")
    hanako.go(path)
    headers = {**hanako.token(), "accept": "application/json"}
    for starred in (True, True, False):
        answer = hanako.client.put(f"/api{path}/star", json={"starred": starred}, headers=headers)
        assert answer.json() == {"starred": starred}


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"[" * 20_000, 400), (b"[]", 422), (b'{"starred": 1}', 422), (b"\xff", 400)]
)
def test_star_that_is_no_json_is_the_callers_fault(hanako, body, status):
    """Never a 500."""
    hanako.go("/questions/1")
    answer = hanako.client.put("/api/questions/1/star", content=body, headers={**hanako.token(), **HTML})
    assert answer.status_code == status


def test_language_is_switched_and_stays(anybody):
    """The page comes back in the language chosen, and so does the next one."""
    answer = anybody.send("/language", on="/questions/1", lang="ja")
    assert answer.headers["location"] == "/questions/1"
    assert 'lang="ja"' in anybody.go("/").text


def test_name_is_kept_and_history_cleared_by_one_address(hanako):
    """Two forms, one intent each."""
    answer = hanako.send("/me", on="/me", intent="name", name="花子")
    assert answer.status_code == 303
    assert "花子" in hanako.go("/me").text
    assert hanako.send("/me", on="/me", intent="name", name="  ").status_code == 422
    assert hanako.send("/me", on="/me", intent="clear").status_code == 303


def test_signing_out_ends_the_session(hanako):
    """My page is closed again."""
    assert hanako.go("/me").status_code == 200
    assert hanako.send("/sign-out").status_code == 303
    assert hanako.go("/me").status_code == 401


def test_answer_of_the_identity_provider_that_nobody_asked_for_is_refused(anybody):
    """Without the state of this browser's own start it is somebody else's sign-in."""
    answer = anybody.go("/sign-in/done?code=stolen&state=guessed")
    assert answer.status_code == 400
    assert anybody.go("/me").status_code == 401


def test_token_from_before_signing_in_is_worth_nothing_after(quiz, visit):
    """The nonce is rotated: what a page held before belongs to nobody."""
    somebody = visit(quiz)
    somebody.go("/questions/1")
    old = somebody.token()
    somebody.sign_in("hanako")
    refused = somebody.client.put("/api/questions/1/star", json={"starred": True}, headers={**old, **HTML})
    assert refused.status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/questions/1/answer"),
        ("POST", "/questions"),
        ("POST", "/questions/1"),
        ("DELETE", "/questions/1"),
        ("POST", "/questions/preview"),
        ("POST", "/questions/1/report"),
        ("PUT", "/api/questions/1/star"),
        ("POST", "/me"),
        ("POST", "/language"),
        ("POST", "/sign-in"),
        ("POST", "/sign-out"),
    ],
)
def test_request_without_a_token_is_refused_before_anything_happens(hanako, method, path):
    """Signed in or not, each of the routes that change something."""
    refused = hanako.client.request(method, path, headers=HTML)
    assert refused.status_code == 403
    assert refused.headers["x-request-id"] in refused.text


def signature(quiz, body: bytes, at: int) -> str:
    key = quiz.secrets["REVIEW_WEBHOOK_SECRET"].encode()
    return f"t={at},v1={hmac.new(key, f'{at}.'.encode() + body, hashlib.sha256).hexdigest()}"


def test_review_desk_withdraws_a_question_with_its_signature_alone(hanako, anybody, quiz, visit):
    """No cookie, no token: the signature stands in for both, as the exemption in dodai.toml says."""
    path = write_question(hanako, prompt="Which one will be withdrawn?")
    assert anybody.send(f"{path}/report", on=path, reason="unclear").status_code == 303
    with psycopg.connect(quiz.database) as connection:
        (report,) = connection.execute("SELECT max(id) FROM reports").fetchone()
    body = json.dumps({"report": report, "decision": "withdraw"}).encode()
    for _ in range(2):
        headers = {"x-signature": signature(quiz, body, int(time.time()))}
        answer = visit(quiz).client.post("/webhooks/review", content=body, headers=headers)
        assert answer.status_code == 200
    assert anybody.go(path).status_code == 404


@pytest.mark.parametrize(
    "body", [b"{", b"{}", b'{"report": "1", "decision": "keep"}', b'{"report": 9e99}', b"[" * 9999]
)
def test_signed_nonsense_is_422(quiz, body, visit):
    """Even the review desk may be mistaken."""
    headers = {"x-signature": signature(quiz, body, int(time.time()))}
    assert visit(quiz).client.post("/webhooks/review", content=body, headers=headers).status_code == 422


@pytest.mark.parametrize(
    "given", ["", "t=,v1=", "t=1,v1=00", "v1=zz", "t=²,v1=a", "t=" + "9" * 400 + ",v1=a", "t=1,v1=é"]
)
def test_webhook_without_a_good_signature_is_401(quiz, given, visit):
    """Malformed, old, foreign: all the same, and never a 500."""
    headers = {"x-signature": given.encode()}
    answer = visit(quiz).client.post("/webhooks/review", content=b"{}", headers=headers)
    assert answer.status_code == 401


def test_signature_holds_for_body_time_and_any_key_of_the_ring():
    """A second of tolerance more is one too many; a rotated key still counts."""
    at, body, keys = 1_800_000_000, b"body", ("new", "old")
    made = hmac.new(b"old", f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    good = f"t={at},v1={made}"
    assert is_signed(body, good, keys, at + TOLERANCE_S)
    assert not is_signed(body, good, keys, at + TOLERANCE_S + 1)
    assert not is_signed(body + b"!", good, keys, at)
    assert not is_signed(body, good, ("new",), at)
    assert not is_signed(body, f"t={at + 1},v1={made}", keys, at)


def test_static_files_are_served_and_nothing_beside_them(anybody):
    """No path leads out of the folder."""
    assert anybody.go("/static/quiz.css").status_code == 200
    assert anybody.go("/static/..%2fapp.py").status_code == 404


def test_backend_that_is_gone_is_503_with_an_id_and_found_again(quiz_database, tmp_path, visit):
    """Within the deadline, and without a restart of the web tier."""
    with running_quiz(quiz_database, tmp_path, "backend", "web") as stack:
        somebody = visit(stack)
        assert somebody.go("/").status_code == 200
        stack.end("backend")
        started = time.monotonic()
        answer = somebody.go("/")
        assert answer.status_code in (503, 504)
        assert answer.headers["x-request-id"] in answer.text
        assert answer.headers["retry-after"] == "2"
        assert time.monotonic() - started < 5.5
        assert somebody.go("/healthz").status_code == 200
        assert somebody.client.get("/readyz").status_code == 503
        stack.start("backend")
        deadline = time.monotonic() + 5
        while somebody.go("/").status_code != 200:
            assert time.monotonic() < deadline, "not found again within five seconds"
            time.sleep(0.05)


def test_identity_provider_that_is_gone_closes_sign_in_alone(quiz_database, tmp_path, visit):
    """Everything that needs no sign-in goes on."""
    with running_quiz(quiz_database, tmp_path, "backend", "web") as stack:
        somebody = visit(stack)
        answer = somebody.send("/sign-in", on="/")
        assert answer.status_code == 503
        assert answer.headers["x-request-id"] in answer.text
        assert somebody.go("/questions/1").status_code == 200
        assert somebody.client.get("/readyz").status_code == 200


def test_sigterm_lets_requests_finish_and_leaves_with_0(quiz_database, tmp_path, visit):
    """A form that was on its way gets its answer."""
    with running_quiz(quiz_database, tmp_path, "backend", "web") as stack:
        somebody = visit(stack)
        somebody.go("/questions/1")
        with ThreadPoolExecutor(1) as pool, psycopg.connect(quiz_database) as connection:
            connection.execute("LOCK TABLE answers IN ACCESS EXCLUSIVE MODE")
            sent = pool.submit(somebody.send, "/questions/1/answer", choice="1", attempt=str(uuid4()))
            waits = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            with psycopg.connect(quiz_database, autocommit=True) as watcher:
                until(lambda: watcher.execute(waits).fetchall(), "the form waits for the lock")
            process = stack.processes.pop("web")
            process.child.terminate()
            connection.rollback()
            assert sent.result(10).status_code == 200
        assert process.child.wait(15) == 0, process.log.read_text()[-2000:]
        process.release()
