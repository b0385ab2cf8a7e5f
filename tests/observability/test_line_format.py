"""Lines are one line, small, and free of what must not be in them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dodai.core.line import MAX_LINE_BYTES
from dodai.observability.line_format import dump, error_name, redact, stack_of

BASE = {"ts": 1.5, "v": 1, "type": "http", "service": "web", "requestId": "abcdefgh", "outcome": "ok"}
ANY = st.one_of(st.text(max_size=6000), st.integers(), st.floats(), st.booleans(), st.none(), st.binary(max_size=50))
SURROGATES = st.text(st.characters(codec=None), max_size=200)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["stack", "path", "route", "error", "bytesOut", "weird"]), ANY | SURROGATES))
def test_any_value_becomes_one_bounded_json_line(values: dict[str, object]):
    """Newlines, NUL, lone surrogates, 10 kB, huge numbers, bytes: one parsable line of at most 4,096 bytes."""
    raw = dump({**BASE, **values})
    assert raw.endswith(b"\n")
    assert raw.count(b"\n") == 1
    assert len(raw) <= MAX_LINE_BYTES
    line = json.loads(raw)
    assert next(iter(line)) == "ts"
    assert line["requestId"] == "abcdefgh"


def test_oversized_line_loses_the_tail_of_its_stack_first():
    """Everything short survives; the hash in front of the stack does too."""
    line = json.loads(dump({**BASE, "route": "/quiz", "stack": "cafebabe " + "f" * 9000, "error": "ValueError"}))
    assert line["stack"].startswith("cafebabe f")
    assert (line["route"], line["error"]) == ("/quiz", "ValueError")


def test_japanese_text_is_cut_between_characters():
    """Trimming counts bytes and never splits a character."""
    raw = dump({**BASE, "path": "花" * 5000})
    assert len(raw) <= MAX_LINE_BYTES
    assert json.loads(raw)["path"].rstrip("…").strip("花") == ""


@pytest.mark.parametrize(
    ("text", "leak"),
    [
        ("/verify/taro@example.co.jp", "taro"),
        ("postgresql://app:s3cret@db.internal/quiz refused", "s3cret"),
        ("Authorization: Bearer abcdef.ghijkl", "abcdef"),
        ("/reset/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "9f86d081"),
        ("/card/4111 1111 1111 1111", "4111"),
        ("password=hunter22 in form", "hunter22"),
        ("session_cookie: 'abc def'", "abc def"),
        ("/t/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0aaaa.SflKxwRJSMeKKF2QT4", "eyJ"),
    ],
)
def test_canaries_do_not_survive_redaction(text: str, leak: str):
    """E-mail, DSN, bearer, reset token, card number, password, cookie, JWT."""
    assert leak not in redact(text)


def test_ordinary_paths_survive_redaction():
    """What helps at 3 a.m. stays readable."""
    assert redact("/wp-admin/setup.php") == "/wp-admin/setup.php"
    assert redact("/quiz/12/answers") == "/quiz/12/answers"


def test_stack_names_files_and_functions_but_no_words():
    """A hash over types and functions, innermost frame first, causes, never a message."""

    def inner() -> None:
        raise ValueError("taro@example.com")

    def outer() -> None:
        try:
            inner()
        except ValueError as error:
            raise KeyError("hunter22") from error

    stacks = []
    for _ in range(2):
        try:
            outer()
        except KeyError as error:
            stacks.append(stack_of(error))
            assert error_name(error) == "KeyError"
    assert stacks[0].split()[0] == stacks[1].split()[0]
    assert "test_line_format.py:" in stacks[0]
    assert stacks[0].endswith("| KeyError < ValueError")
    assert "taro" not in stacks[0]
    assert "hunter22" not in stacks[0]
