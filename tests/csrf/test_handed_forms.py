"""Templates that were judged wrongly before they were expanded: each with the verdict that it has to have."""

from __future__ import annotations

import pytest
from tests.csrf.templates import scan

FIELD = '<input type="hidden" name="csrf_token" value="{{ csrf_token() }}">'
BASE = {
    "macros.html": "{% macro tok() %}{{ csrf_field() }}{% endmacro %}"
    '{% macro postform(a) %}<form method="post" action="{{ a }}">{{ csrf_field() }}{{ caller() }}</form>{% endmacro %}',
    "tok.html": "{{ csrf_field() }}",
    "base.html": "<html><head>{{ csrf_meta() }}</head><body>{% block b %}{% endblock %}</body></html>",
}
OPEN = {
    "beacon": '<script>navigator.sendBeacon("/a","x")</script>',
    "disabled input": f'<form method="post">{FIELD.replace("<input", "<input disabled")}</form>',
    "the word csrf elsewhere": '<script>const csrf = 1; fetch("/a", {method: "POST"})</script>',
    "fetch of window": '<script>window.fetch("/a", {method: "POST"})</script>',
    "formmethod of a button outside": '<form id="f"></form><button form="f" formmethod="post">x</button>',
    "other headers of HTMX": '<body><b hx-post=/a hx-headers=\'{"x-other": "csrf"}\'></b></body>',
    "if false": '<form method="post">{% if false %}{{ csrf_field() }}{% endif %}</form>',
    "comment": '<form method="post">{# {{ csrf_field() }} #}</form>',
    "jQuery": '<script>$.post("/a", {})</script>',
    "inline handler": """<button onclick="fetch('/a',{method:'POST'})">x</button>""",
    "form written by script": "<script>d.innerHTML = '<form method=post></form>'</script>",
    "token as text": '<form method="post">{{ csrf_token() }}</form>',
    "XHR": '<script>var x = new XMLHttpRequest(); x.open("POST", "/a"); x.send()</script>',
}
COVERED = {
    "macro around a block": '{% import "macros.html" as m %}{% call m.postform("/a") %}<b>x</b>{% endcall %}',
    "field": '<form method="post">{{ csrf_field() }}</form>',
    "form attribute": f'<form id="f" method="post"></form>{FIELD.replace("<input", "<input form=f")}',
    "macro": '{% from "macros.html" import tok %}<form method="post">{{ tok() }}</form>',
    "include": '<form method="post">{% include "tok.html" %}</form>',
    "meta and HTMX": '{% extends "base.html" %}{% block b %}<b hx-delete="/a"></b>{% endblock %}',
    "WTForms": '<form method="post">{{ form.hidden_tag() }}</form>',
}


@pytest.mark.parametrize("text", OPEN.values(), ids=OPEN.keys())
def test_template_without_a_token_is_unprotected(text):
    """None of these passes."""
    rows = [row for row in scan({**BASE, "page.html": text}).rows if row.path == "page.html"]
    assert [row.verdict for row in rows] == ["unprotected"]


@pytest.mark.parametrize("text", COVERED.values(), ids=COVERED.keys())
def test_template_with_a_token_is_protected(text):
    """None of these is a false alarm."""
    table = scan({**BASE, "page.html": text})
    assert table.rows
    assert {row.verdict for row in table.rows} == {"protected"}
