"""The form table: each kind of form, HTMX element and fetch call, with and without its token."""

from __future__ import annotations

import sys

import pytest
from tests.csrf.templates import scan as scan_templates

from dodai.core.fact import NotApplicable, Unknown
from dodai.csrf.check.gather import gather_forms, glob_to_regex
from dodai.csrf.policy import CsrfPolicy, Exemption

POLICY = CsrfPolicy(fetch_helpers=("postJson",), exemptions=(Exemption("POST /hook", "no cookies"),))


def scan(text: str, **others: str):
    return scan_templates({"page.html": text} | {f"{name}.html": other for name, other in others.items()}, POLICY)


def verdicts(text: str, **others: str) -> list[tuple[str, str, str]]:
    return [(row.kind, row.method, row.verdict) for row in scan(text, **others).rows if row.path == "page.html"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<form method='post' action='/a'>{{ csrf_field() }}</form>", "protected"),
        ('<form method="POST">{{ csrf_field(request) }}</form>', "protected"),
        ("<form method=post>{% csrf_token %}</form>", "protected"),
        ("<form method=post>{{ form.hidden_tag() }}</form>", "protected"),
        ("<form method=post>{{ form.csrf_token }}</form>", "protected"),
        ('<form method=post><input type=hidden name="csrf_token" value="{{ csrf_token() }}"></form>', "protected"),
        ('<form method=post><input name="a" value="{{ b["c"] }}">{{ csrf_field() }}</form>', "protected"),
        ('<form method=post action="{{ url_for("save", id=1) }}">{{ csrf_field() }}</form>', "protected"),
        ("<form method=post><div><p>{{ csrf_field() }}</div></form>", "protected"),
        ("<form method=post action=/hook></form>", "exempt"),
        ("<form method=post action=https://elsewhere.example/pay>{{ csrf_field() }}</form>", "unprotected"),
        ("<form method=post>{{ csrf_field() }}<button formaction=//elsewhere.example></button></form>", "unprotected"),
        ("<form method=post></form>", "unprotected"),
        ("<form method=post></form>{{ csrf_field() }}", "unprotected"),
        ("{{ csrf_field() }}<form method=post></form>", "unprotected"),
        ("<form method=post><!-- {{ csrf_field() }} --></form>", "unprotected"),
        ("<form method=post>{# {{ csrf_field() }} #}</form>", "unprotected"),
        ("<form method=post><input name=csrf_tokens></form>", "unprotected"),
        ("<form><button formmethod=post>go</button></form>", "unprotected"),
        ("<form><button formmethod=post>go</button>{{ csrf_field() }}</form>", "protected"),
        ("<form method='{{ method }}'></form>", "unknown"),
        ("<form method=post>", "unknown"),
        ("<FORM METHOD=POST></FORM>", "unprotected"),
    ],
)
def test_form(text, expected):
    """A form that changes state carries the token inside, outside of comments."""
    assert [row[2] for row in verdicts(text)] == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "<form action=/search></form>",
        "<form method=get></form>",
        "<form method=dialog></form>",
        "<form method=post action=https://elsewhere.example/pay></form>",
        "<form method=post action=//elsewhere.example/pay></form>",
        "<!-- <form method=post></form> -->",
        "{# <form method=post></form> #}",
        "<div hx-get=/x></div>",
    ],
)
def test_what_changes_no_state_here_is_not_listed(text):
    """Searches, dialogs, other sites and comments."""
    assert verdicts(text) == []


def test_token_in_an_included_template_counts():
    """Includes are followed among the templates, also through another include."""
    form = '<form method=post>{% include "inner.html" %}</form>'
    assert verdicts(form, inner="{{ csrf_field() }}")[0][2] == "protected"
    assert verdicts(form, inner='{% include "core.html" %}', core="{{ csrf_field() }}")[0][2] == "protected"
    assert verdicts(form, inner="nothing")[0][2] == "unprotected"
    assert verdicts(form)[0][2] == "unknown"


def test_includes_in_a_circle_end():
    """A template that includes itself is scanned once, not for ever."""
    assert verdicts('<form method=post>{% include "page.html" %}</form>')[0][2] == "unprotected"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<button hx-post=/a></button>", "unprotected"),
        ("<button data-hx-post=/a></button>", "unprotected"),
        ("<button data-hx-post=/a data-hx-headers='{{ csrf_headers() }}'></button>", "protected"),
        ("<button hx-post=/a hx-headers='{{ csrf_headers() }}'></button>", "protected"),
        ("<div hx-headers='{{ csrf_headers() }}'><p><button hx-delete=/a></button></div>", "protected"),
        ("<div hx-headers='{{ csrf_headers() }}'></div><button hx-delete=/a></button>", "unprotected"),
        ("<form hx-post=/a>{{ csrf_field() }}</form>", "protected"),
        ("<form hx-post=/a></form>", "unprotected"),
        ("<form><button hx-put=/a></button>{{ csrf_field() }}</form>", "protected"),
        ("<form><button hx-delete=/a></button>{{ csrf_field() }}</form>", "unprotected"),
        ("{{ csrf_meta() }}<button hx-patch=/a></button>", "protected"),
        ("<button hx-post=https://elsewhere.example/></button>", None),
    ],
)
def test_htmx(text, expected):
    """Header or surrounding form; DELETE sends form fields in the URL, so for it only the header counts."""
    assert [row[2] for row in verdicts(text)] == ([expected] if expected else [])


def test_meta_of_the_layout_counts_for_its_pages():
    """`csrf_meta()` in the base template sends the header everywhere."""
    page = '{% extends "base.html" %}{% block body %}<button hx-post=/a></button>{% endblock %}'
    body = "{% block body %}{% endblock %}"
    assert verdicts(page, base="<head>{{ csrf_meta() }}</head>" + body)[0][2] == "protected"
    assert verdicts(page, base="<head></head>" + body)[0][2] == "unprotected"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ('fetch("/a", {method: "POST", body})', ["unprotected"]),
        ('fetch("/a", {method: "POST", headers: {"X-CSRF-Token": token}})', ["protected"]),
        ('postJson("/a", {method: "post"})', ["protected"]),
        ('api.postJson("/a", {method: "DELETE"})', ["protected"]),
        ('window.fetch("/a", {method: "PUT"})', ["unprotected"]),
        ('fetch("/a")', []),
        ('fetch("/a", {method: "GET"})', []),
        ('other("/a", {method: "POST"})', []),
        ('fetch("/a"); other("/b", {method: "POST"})', []),
    ],
)
def test_fetch_in_a_script(script, expected):
    """Inline calls that change state send the header, or are those of a declared helper."""
    assert [row[2] for row in verdicts(f"<script>{script}</script>")] == expected


def test_rows_say_where_they_are():
    """File, line and the tag as it stands there."""
    row = scan("<p>\n{% if a\n %}\n  <form method=post\n action=/x>\n</form>{% endif %}").rows[0]
    assert (row.path, row.line, row.action, row.quote) == ("page.html", 4, "/x", "<form method=post")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('<a href="/out?t={{ csrf_token() }}">x</a>', "token-in-url"),
        ('<form method=post action="/x?csrf_token={{ csrf_token() }}">{{ csrf_field() }}</form>', "token-in-url"),
        ("<img src='/x?{{ csrf_token() }}'>", "token-in-url"),
        ('<meta name="referrer" content="no-referrer">', "no-referrer"),
        ("<form referrerpolicy=no-referrer></form>", "no-referrer"),
    ],
)
def test_flaws(text, kind):
    """Tokens in URLs and policies that hide the origin are found on the way."""
    assert [flaw.kind for flaw in scan(text).flaws] == [kind]


def test_templates_are_found_by_pattern_and_hidden_folders_are_left_out(tmp_path):
    """`**` is any number of folders; node_modules, environments and hidden folders are nobody's templates."""
    for name in (
        "web/templates/a.html",
        "web/templates/deep/b.html",
        "node_modules/lib/templates/c.html",
        ".venv/templates/d.html",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("<form method=post></form>")
    table = gather_forms({}, python=sys.executable, root=tmp_path)
    assert [row.path for row in table.rows] == ["web/templates/a.html", "web/templates/deep/b.html"]
    assert isinstance(
        gather_forms({"csrf": {"templates": ["none/*.html"]}}, python=sys.executable, root=tmp_path), Unknown
    )
    assert isinstance(
        gather_forms({}, python=sys.executable, root=tmp_path / "node_modules" / "lib" / "templates"), NotApplicable
    )


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("web/templates/*.html", "web/templates/a.html", True),
        ("web/templates/*.html", "web/templates/b/a.html", False),
        ("**/templates/**/*.html", "templates/a.html", True),
        ("**/templates/**/*.html", "a/b/templates/c/d.html", True),
        ("**/templates/**/*.html", "a/mytemplates/c.html", False),
        ("a.html", "axhtml", False),
    ],
)
def test_pattern(pattern, path, fits):
    """Patterns mean what they mean in a shell with globstar."""
    assert (glob_to_regex(pattern).fullmatch(path) is not None) is fits


@pytest.mark.parametrize(
    "text", ["<form method=post", "{% if", "{{ '}}' }}<form method=post></form>", "<" * 1000, "\0", "</form></div>"]
)
def test_broken_templates_are_read_without_failing(text):
    """Half-written templates are rows or nothing, never an exception."""
    scan(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<form>{{ csrf_field() }}</form>", ["token-in-url"]),
        ("<form method=get>{{ csrf_field() }}</form>", ["token-in-url"]),
        ("<form method=post>{{ csrf_field() }}<button formmethod=get></button></form>", ["token-in-url"]),
        ("<form method=post>{{ csrf_field() }}</form>", []),
        ("<form method=dialog>{{ csrf_field() }}</form>", []),
        ("<form hx-post=/a>{{ csrf_field() }}</form>", []),
        ("<form><button hx-put=/a></button>{{ csrf_field() }}</form>", []),
        ("<form method=get></form>", []),
    ],
)
def test_form_that_puts_the_token_into_the_address_is_a_flaw(text, expected):
    """What a GET form sends stands in history, logs and Referer."""
    table = scan_templates({"templates/a.html": text}, CsrfPolicy())
    assert [flaw.kind for flaw in table.flaws] == expected
