"""The sentences people read, and the language they are in."""

from __future__ import annotations

import re
import tomllib

import pytest
from starlette.requests import Request
from tests.quiz.stack import QUIZ

from web.backend import HTTP_STATUS
from web.errors import TOLD
from web.language import own_path
from web.words import lang_of

TABLE = tomllib.loads((QUIZ / "web" / "words.toml").read_text("utf-8"))
TEMPLATES = "\n".join(path.read_text("utf-8") for path in (QUIZ / "web" / "templates").glob("*.html"))


def request(language: str = "", cookie: str = "") -> Request:
    headers = [(b"accept-language", language.encode()), (b"cookie", cookie.encode())]
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize("key", TABLE)
def test_every_sentence_is_there_in_both_languages_with_the_same_places_to_fill(key):
    """A translation that forgets `{name}` would lose what the page wants to say."""
    entry = TABLE[key]
    assert set(entry) == {"en", "ja"}
    assert all(entry.values())
    assert set(re.findall(r"{(\w+)}", entry["en"])) == set(re.findall(r"{(\w+)}", entry["ja"]))


def test_templates_and_sentences_fit_together():
    """Every key a template names exists, and every key is used; keys put together from parts count by their start."""
    named = set(re.findall(r'"([a-z]+(?:-[a-z0-9]+)*)"(?! [+~])', TEMPLATES)) & set(TABLE)
    assert set(re.findall(r'say\("([a-z0-9-]+)"[),]', TEMPLATES)) <= set(TABLE)
    prefixes = set(re.findall(r'"([a-z]+(?:-[a-z]+)*-)" [+~]', TEMPLATES))
    unused = {key for key in TABLE if key not in named and not key.startswith(tuple(prefixes))}
    assert unused == set()


@pytest.mark.parametrize("status", TOLD)
def test_every_status_that_is_told_has_a_title_and_something_to_do(status):
    """An error page that says nothing helps nobody."""
    assert {f"error-title-{status}", f"error-do-{status}"} <= set(TABLE)


def test_every_status_of_the_backend_has_sentences_of_its_own_or_the_general_ones():
    """The table of gRPC statuses leads to no page without words."""
    assert {status for status in HTTP_STATUS.values() if status not in TOLD} == {501}


@pytest.mark.parametrize(
    ("language", "cookie", "expected"),
    [
        ("", "", "en"),
        ("ja", "", "ja"),
        ("ja-JP,ja;q=0.9,en;q=0.8", "", "ja"),
        ("en;q=0.2,ja;q=0.7", "", "ja"),
        ("fr,de;q=0.9", "", "en"),
        ("ja;q=nonsense,en", "", "en"),
        ("ja", "lang=en", "en"),
        ("en", "lang=xx", "en"),
    ],
)
def test_language_is_what_the_reader_chose_then_what_the_browser_prefers(language, cookie, expected):
    """A choice beats the header; a language we do not have is passed over."""
    assert lang_of(request(language, cookie)) == expected


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "https://evil.example", "", "/a\r\nb", "evil"])
def test_a_path_that_leads_away_becomes_the_start_page(path):
    """`back` comes from a form field, so anybody could have written it."""
    assert own_path(path) == "/"


def test_a_path_of_our_own_is_kept():
    """The switch of the language stays where the reader was."""
    assert own_path("/questions/7") == "/questions/7"
