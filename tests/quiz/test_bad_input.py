"""Whatever is sent: an answer that says whose fault it is, and never an accident of ours."""

from __future__ import annotations

import pytest
from tests.quiz.browser import HTML

FORM = "application/x-www-form-urlencoded"
BODIES = {
    "empty": (FORM, b""),
    "not utf-8": (FORM, b"intent=save&prompt=\xff\xfe&choice1=%ED%A0%80&name=%ff&reason=%ff&lang=%ff"),
    "nul": (FORM, b"intent=name&name=%00&prompt=%00&choice=1&attempt=%00&reason=wrong%00&lang=%00"),
    "long": (FORM, b"intent=save&prompt=" + b"a" * 50_000),
    "many fields": (FORM, b"a=1&" * 3000),
    "header injection": (FORM, b"lang=ja&back=/%0d%0aset-cookie:x"),
    "unknown charset": (f"{FORM}; charset=nope", b"intent=name&name=x"),
    "no type": ("", b"intent=name&name=x"),
    "every byte": ("text/plain", bytes(range(256))),
    "torn multipart": ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form"),
    "multipart without boundary": ("multipart/form-data", b"--x"),
    "file for a text": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="prompt"; filename="a"\r\n\r\nz\r\n--x--\r\n',
    ),
    "json": ("application/json", b'{"starred": NaN}'),
}
ROUTES = [
    ("POST", "/questions/1/answer"),
    ("POST", "/questions"),
    ("POST", "/questions/1"),
    ("POST", "/questions/preview"),
    ("POST", "/questions/1/report"),
    ("PUT", "/api/questions/1/star"),
    ("POST", "/me"),
    ("POST", "/language"),
    ("POST", "/webhooks/review"),
    ("DELETE", "/questions/1"),
]


@pytest.mark.parametrize("name", BODIES)
def test_malformed_body_is_the_callers_fault(quiz, visit, name):
    """Every route that changes something, with a valid token, as somebody who is signed in."""
    content_type, body = BODIES[name]
    somebody = visit(quiz)
    somebody.sign_in("hanako")
    somebody.go("/me")
    headers = {**HTML, **somebody.token(), **({"content-type": content_type} if content_type else {})}
    for method, path in ROUTES:
        answer = somebody.client.request(method, path, content=body, headers=headers)
        assert answer.status_code < 500, f"{method} {path}: {answer.text}"
        assert answer.headers["x-request-id"]
        assert "\n" not in answer.headers.get("location", "")
        assert answer.status_code != 200 or path == "/questions/preview"


@pytest.mark.parametrize(
    "path",
    [
        "/questions/-1",
        "/questions/１",
        "/questions/%00",
        "/?topic=%00",
        "/static/%2e%2e/app.py",
        "/sign-in/done?code=%00",
    ],
)
def test_malformed_path_leads_nowhere(quiz, visit, path):
    """Not found, or not understood."""
    assert visit(quiz).go(path).status_code in (400, 404)


@pytest.mark.parametrize("after", ["", "%ff", "９", "-5", "99999999999999999999"])
def test_next_question_is_found_whatever_came_before(quiz, visit, after):
    """A number that is none counts as none."""
    assert visit(quiz).go(f"/next?after={after}").headers["location"].startswith("/questions/")


@pytest.mark.parametrize("header", ["*", ";q=", "ja;q=1;q=2", ",,,;q=nan,ja;q=inf", "\xff"])
def test_malformed_language_header_is_read_past(quiz, visit, header):
    """Some language comes, always."""
    answer = visit(quiz).client.get("/", headers={"accept-language": header.encode("latin-1")})
    assert answer.headers["content-language"] in ("en", "ja")
