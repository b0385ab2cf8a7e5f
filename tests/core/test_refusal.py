"""Refusals in the client's format and language, with the request id, and nothing of what the client sent."""

from __future__ import annotations

import json
from html import escape
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodai.core.codes import CODES, DEPENDENCY_UNAVAILABLE, EDGE_KEY_MISSING
from dodai.core.page import Text
from dodai.core.refusal import (
    Refusal,
    VisitorWords,
    preferred_lang,
    prefers_html,
    render,
)
from dodai.csrf.enforce.visitor_page import VISITOR_WORDS as CSRF_WORDS
from dodai.providers.local.edge.request_checks import VISITOR_WORDS as EDGE_WORDS
from dodai.wiring.registry import codes

REFUSED = {f"DOD{number:03d}" for number in (*range(61, 66), *range(150, 161), *range(550, 557))}
"""Codes that visitors meet: the core's, the CSRF layer's and the edge's."""
REQUEST_ID = "01a20a154cc271afb17c548fca6d98ca"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
@pytest.mark.parametrize("language", ["ja", "en"])
def test_every_refusal_says_what_happened_and_what_to_do(code, language: str):
    """Code, message, fix and request id, as JSON and as a page."""
    refusal = Refusal(503, code)
    body = json.loads(render(refusal, REQUEST_ID, accept_language=language).body)
    assert body["error"] == {
        "code": code.id,
        "name": code.name,
        "message": code.what(language),
        "fix": code.fix(language),
    }
    assert body["requestId"] == REQUEST_ID
    page = render(refusal, REQUEST_ID, accept=BROWSER, accept_language=language).body.decode()
    assert all(escape(word) in page for word in (code.id, code.what(language), code.fix(language), REQUEST_ID))
    assert f'<html lang="{language}">' in page


def test_a_page_speaks_to_the_visitor_and_json_to_whoever_wrote_the_client():
    """What an operator has to type is of no use to somebody who wanted to order something."""
    words = VisitorWords(Text("It is closed", "閉店しました"), Text("Come again", "またお越しください"))
    refusal = Refusal(502, DEPENDENCY_UNAVAILABLE, visitor=words)
    page = render(refusal, REQUEST_ID, accept=BROWSER, accept_language="ja").body.decode()
    assert "閉店しました" in page
    assert DEPENDENCY_UNAVAILABLE.what.ja not in page
    assert json.loads(render(refusal, REQUEST_ID).body)["error"]["fix"] == DEPENDENCY_UNAVAILABLE.fix.en


def test_no_page_of_ours_names_a_command_or_a_key():
    """Neither the words for visitors nor those of a code that has none for them."""
    shown = [words for table in (CSRF_WORDS, EDGE_WORDS) for words in table.values()]
    assert [words.fix.en for words in shown if "`" in words.fix.en + words.message.en] == []
    own = {*CSRF_WORDS, *EDGE_WORDS}
    ours = [code for code in codes().values() if code.id in REFUSED and code.id not in own]
    assert [code.id for code in ours if "`" in code.fix.en + code.what.en] == []


def test_headers_keep_a_refusal_private_and_harmless():
    """Never cached, sniffed or framed; the language and what it varies by are said."""
    headers = dict(render(Refusal(403, EDGE_KEY_MISSING), REQUEST_ID, accept=BROWSER).headers)
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"vary"] == b"accept, accept-language"
    assert headers[b"x-request-id"] == REQUEST_ID.encode()
    assert b"frame-ancestors 'none'" in headers[b"content-security-policy"]
    assert int(headers[b"content-length"]) > 0


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (BROWSER, True),
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/html;q=0.5", False),
        ("text/html;q=0, application/json", False),
        ("application/problem+json, text/html", True),
        ("text/html;q=nonsense", False),
    ],
)
def test_format_follows_accept(accept: str, html: bool):
    """A browser gets a page, a program gets JSON."""
    assert prefers_html(accept) is html


@pytest.mark.parametrize(
    ("header", "lang"),
    [("ja", "ja"), ("ja-JP,en;q=0.5", "ja"), ("en-GB, ja;q=0.9", "en"), ("", "en"), ("de", "en"), ("ja,en", "ja"), ("en,ja", "en"), ("de, ja;q=0.1", "ja")],
)  # fmt: skip
def test_language_follows_accept_language(header: str, lang: str):
    """Japanese when it is asked for with more weight, or first."""
    assert preferred_lang(header) == lang


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_header_renders(accept: str, language: str):
    """Whatever a client sends, a refusal comes out."""
    rendered = render(Refusal(403, EDGE_KEY_MISSING), REQUEST_ID, accept=accept, accept_language=language)
    assert rendered.status == 403


def test_own_words_are_escaped():
    """`message` and `fix` replace the code's words, and cannot bring markup."""
    words = Text("<b>&", "<i>&")
    page = render(Refusal(503, DEPENDENCY_UNAVAILABLE, message=words, fix=words), "<script>", accept=BROWSER).body
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, _: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(page.decode())
    assert not {"b", "i", "script"} & set(tags)
