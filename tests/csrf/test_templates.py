"""Templates are expanded before they are judged: what counts is what a browser would send, in every branch."""

from __future__ import annotations

import sys

import pytest
from tests.csrf.templates import scan

from dodai.core.fact import Unknown
from dodai.csrf.check.gather import gather_forms
from dodai.csrf.form_table import FormTable
from dodai.csrf.policy import CsrfPolicy

OK, BAD, MAYBE = "protected", "unprotected", "unknown"
POLICY = CsrfPolicy(fetch_helpers=("postJson", "csrfHeaders"), template_helpers=("secure_fields",))
MACROS = """\
{% macro secure() %}{{ csrf_field() }}{% endmacro %}
{% macro open_form(a, csrf=true) %}<form method="post" action="{{ a }}">
{% if csrf %}{{ csrf_field() }}{% endif %}{{ caller() }}</form>{% endmacro %}
{% macro button() %}<button>go</button>{% endmacro %}
"""
BASE = "<head>{{ csrf_meta() }}</head><body>{% block body %}{% endblock %}</body>"
POST = '<form method="post" action="/a">'

JINJA = {
    "macro imported by name": ('{% from "m.html" import secure %}' + POST + "{{ secure() }}</form>", [OK]),
    "macro imported under another name": (
        '{% from "m.html" import secure as s %}' + POST + "{{ s() }}</form>",
        [OK],
    ),
    "macro of a module": ('{% import "m.html" as m %}' + POST + "{{ m.secure() }}</form>", [OK]),
    "another macro of it": ('{% import "m.html" as m %}' + POST + "{{ m.button() }}</form>", [BAD]),
    "form written by a macro around a block": (
        '{% import "m.html" as m %}{% call m.open_form("/a") %}x{% endcall %}',
        [OK],
    ),
    "the same macro told to leave the token out": (
        '{% import "m.html" as m %}{% call m.open_form("/b", csrf=false) %}x{% endcall %}',
        [BAD],
    ),
    "and the block brings it instead": (
        '{% import "m.html" as m %}{% call m.open_form("/c", false) %}{{ csrf_field() }}{% endcall %}',
        [OK],
    ),
    "macro of the same file": ("{% macro f() %}{{ csrf_field() }}{% endmacro %}" + POST + "{{ f() }}</form>", [OK]),
    "macro that nobody calls": ("{% macro f() %}" + POST + "</form>{% endmacro %}", [BAD]),
    "macro that calls itself": ("{% macro f() %}{{ f() }}{% endmacro %}" + POST + "{{ f() }}</form>", [BAD]),
    "macro from a template that is not here": (
        '{% from "elsewhere/x.html" import fields %}' + POST + "{{ fields(form) }}</form>",
        [MAYBE],
    ),
    "helper that the manifest declares": (POST + "{{ secure_fields(form) }}</form>", [OK]),
    "helper as a method": (POST + "{{ page.secure_fields() }}</form>", [OK]),
    "value set before": ("{% set f = csrf_field() %}" + POST + "{{ f }}</form>", [OK]),
    "block set before": ("{% set f %}{{ csrf_field() }}{% endset %}" + POST + "{{ f }}</form>", [OK]),
    "with": (POST + "{% with f = csrf_field() %}{{ f }}{% endwith %}</form>", [OK]),
    "filter": (POST + "{{ csrf_field()|safe }}</form>", [OK]),
    "filter block": (POST + "{% filter trim %}{{ csrf_field() }}{% endfilter %}</form>", [OK]),
    "in both branches": (POST + "{% if a %}{{ csrf_field() }}{% else %}{{ csrf_field() }}{% endif %}</form>", [OK]),
    "in one branch": (POST + "{% if a %}{{ csrf_field() }}{% endif %}</form>", [MAYBE]),
    "in three of four branches": (
        POST
        + "{% if a %}{% if b %}{{ csrf_field() }}{% else %}{{ csrf_field() }}{% endif %}"
        + "{% elif c %}{{ csrf_field() }}{% else %}x{% endif %}</form>",
        [MAYBE],
    ),
    "form and token under the same condition": ("{% if a %}" + POST + "{{ csrf_field() }}</form>{% endif %}", [OK]),
    "condition that is always false": (POST + "{% if not true %}{{ csrf_field() }}{% endif %}</form>", [BAD]),
    "condition that is always true": (POST + "{% if true or a %}{{ csrf_field() }}{% endif %}</form>", [OK]),
    "variable set to false": ("{% set a = false %}" + POST + "{% if a %}{{ csrf_field() }}{% endif %}</form>", [BAD]),
    "in a loop that may be empty": (POST + "{% for f in form %}{{ csrf_field() }}{% endfor %}</form>", [MAYBE]),
    "in an expression with a condition": (POST + "{{ csrf_field() if a else '' }}</form>", [MAYBE]),
    "raw": (POST + "{% raw %}{{ csrf_field() }}{% endraw %}</form>", [BAD]),
    "called by name only": (POST + "{{ csrf_field }}</form>", [OK]),  # Django is installed here: there it is a value
    "tag of an extension around it": (POST + "{% cache 60 %}{{ csrf_field() }}{% endcache %}</form>", [OK]),
    "layout and block": (
        '{% extends "base.html" %}{% block body %}' + POST + "{{ csrf_field() }}</form>{% endblock %}",
        [OK],
    ),
    "token outside of every block of a child": (
        '{% extends "base.html" %}{{ csrf_field() }}{% block body %}' + POST + "</form>{% endblock %}",
        [BAD],
    ),
    "block that is replaced": (
        '{% extends "mid.html" %}{% block fields %}x{% endblock %}',
        [BAD],
        {"mid.html": POST + "{% block fields %}{{ csrf_field() }}{% endblock %}</form>"},
    ),
    "block with what stood there": (
        '{% extends "mid.html" %}{% block fields %}x{{ super() }}{% endblock %}',
        [OK],
        {"mid.html": POST + "{% block fields %}{{ csrf_field() }}{% endblock %}</form>"},
    ),
    "block filled by the child only": (
        '{% extends "mid.html" %}{% block fields %}{{ csrf_field() }}{% endblock %}',
        [OK],
        {"mid.html": POST + "{% block fields %}{% endblock %}</form>"},
    ),
    "include chosen at run time": (POST + "{% include which %}</form>", [MAYBE]),
    "include of a list": (POST + '{% include ["none.html", "tok.html"] %}</form>', [OK]),
    "header from the layout": ('{% extends "base.html" %}{% block body %}<b hx-delete=/a></b>{% endblock %}', [OK]),
    "token as a field value": (POST + '<input type=hidden name=csrf_token value="{{ csrf_token() }}"></form>', [OK]),
    "fixed value": (POST + '<input type=hidden name=csrf_token value="abc"></form>', [BAD]),
    "empty value": (POST + '<input type=hidden name=csrf_token value=""></form>', [BAD]),
    "button instead of a field": (POST + '<button name=csrf_token value="{{ csrf_token() }}">x</button></form>', [BAD]),
    "disabled fieldset": (POST + "<fieldset disabled>{{ csrf_field() }}</fieldset></form>", [BAD]),
    "template element": (POST + "<template>{{ csrf_field() }}</template></form>", [BAD]),
    "textarea around it": (POST + "<textarea>{{ csrf_field() }}</textarea></form>", [BAD]),
    "noscript": (POST + "<noscript>{{ csrf_field() }}</noscript></form>", [BAD]),
    "text/plain": ('<form method=post enctype="text/plain">{{ csrf_field() }}</form>', [BAD]),
    "field that belongs to another form": (
        POST + '<input form=other name=csrf_token value="{{ csrf_token() }}"></form><form id=other></form>',
        [BAD],
    ),
    "field of a form with a computed id": (
        '<form id="f{{ n }}" method=post></form><input form="f{{ n }}" name=csrf_token value="{{ csrf_token() }}">',
        [OK],
    ),
    "form in a form": (POST + "<form method=post action=/b>{{ csrf_field() }}</form>", [OK]),
    "attributes decided at run time": ("<form {{ attributes }}>x</form>", [MAYBE]),
}
DJANGO = {
    "tag": ("{% load static %}" + POST + "{% csrf_token %}</form>", [OK]),
    "no tag": ("{% load static %}" + POST + "</form>", [BAD]),
    "comment": ("{% load static %}" + POST + "{% comment %}{% csrf_token %}{% endcomment %}</form>", [BAD]),
    "short comment": ("{% load static %}" + POST + "{# {% csrf_token %} #}</form>", [BAD]),
    "verbatim": ("{% load static %}" + POST + "{% verbatim %}{% csrf_token %}{% endverbatim %}</form>", [BAD]),
    "if False": ("{% load static %}" + POST + "{% if False %}{% csrf_token %}{% endif %}</form>", [BAD]),
    "one branch": ("{% load static %}" + POST + "{% if a %}{% csrf_token %}{% endif %}</form>", [MAYBE]),
    "both": ("{% load s %}" + POST + "{% if a %}{% csrf_token %}{% else %}{% csrf_token %}{% endif %}</form>", [OK]),
    "for with empty": (
        "{% load s %}" + POST + "{% for x in y %}{% csrf_token %}{% empty %}{% csrf_token %}{% endfor %}</form>",
        [OK],
    ),
    "text": ("{% load static %}" + POST + "{{ csrf_token }}</form>", [BAD]),
    "value": (
        "{% load s %}" + POST + '<input name="csrfmiddlewaretoken" type="hidden" value="{{ csrf_token }}"></form>',
        [OK],
    ),
    "include": ("{% load s %}" + POST + '{% include "dtok.html" %}</form>', [OK]),
    "include with": (
        "{% load s %}" + '{% include "dform.html" with method="post" %}',
        [BAD],
        {"dform.html": '{% load s %}<form method="{{ method }}"></form>'},
    ),
    "extends": ('{% extends "dmid.html" %}{% load s %}{% block f %}{{ block.super }}{% endblock %}', [OK]),
    "extends and replaced": ('{% extends "dmid.html" %}{% load s %}{% block f %}{% endblock %}', [BAD]),
    "tag of the application's own": ("{% load s %}" + POST + "{% my_fields form %}</form>", [MAYBE]),
    "declared tag": ("{% load s %}" + POST + "{% secure_fields form %}</form>", [OK]),
    "block tag of its own": ("{% load s %}" + POST + "{% panel %}{% csrf_token %}{% endpanel %}</form>", [OK]),
    "helper of dodai": ("{% load s %}" + POST + "{{ csrf_field }}</form>", [OK]),
}
WTFORMS = {
    "hidden_tag": (POST + "{{ form.hidden_tag() }}</form>", [OK]),
    "hidden_tag under a condition": (POST + "{% if form %}{{ form.hidden_tag() }}{% endif %}</form>", [MAYBE]),
    "field": (POST + "{{ form.csrf_token }}</form>", [OK]),
    "field called": (POST + "{{ form.csrf_token(id='x') }}</form>", [OK]),
    "only other fields": (POST + "{{ form.name.label }}{{ form.name(class='x') }}</form>", [BAD]),
    "value of the field": (POST + '<input name=csrf_token value="{{ form.csrf_token.current_token }}"></form>', [OK]),
}
SCRIPTS = {
    "header": ("fetch('/a', {method: 'POST', headers: {'X-CSRF-Token': t}})", [OK]),
    "Django's header": ("fetch('/a', {method: 'POST', headers: {'X-CSRFToken': t}})", [OK]),
    "another header": ("fetch('/a', {method: 'POST', headers: {'X-Not-CSRF-Token': t}})", [BAD]),
    "empty header": ("fetch('/a', {method: 'POST', headers: {'X-CSRF-Token': ''}})", [BAD]),
    "header in a comment": ("fetch('/a', {method: 'POST' /* 'X-CSRF-Token': t */})", [BAD]),
    "call in a comment": ("// fetch('/a', {method: 'POST'})", []),
    "call in a string": ("var s = \"fetch('/a', {method: 'POST'})\"", []),
    "options in a variable": ("const o = {method: 'POST'};\nfetch('/a', o)", [BAD]),
    "headers in a variable": ("const h = {'X-CSRF-Token': t};\nfetch('/a', {method: 'POST', headers: h})", [OK]),
    "header set later": ("const h = new Headers();\nh.set('X-CSRF-Token', t);\nfetch('/a', {method: 'POST', headers: h})", [OK]),
    "headers from elsewhere": ("fetch('/a', {method: 'POST', headers: h})", [MAYBE]),
    "headers from a declared helper": ("fetch('/a', {method: 'POST', headers: csrfHeaders()})", [OK]),
    "options from elsewhere": ("fetch('/a', options)", [MAYBE]),
    "method from elsewhere": ("fetch('/a', {method: m})", [MAYBE]),
    "fields of a form": ("fetch('/a', {method: 'POST', body: new FormData(form)})", [OK]),
    "an empty FormData": ("fetch('/a', {method: 'POST', body: new FormData()})", [BAD]),
    "field in JSON": ("fetch('/a', {method: 'POST', body: JSON.stringify({csrf_token: t})})", [BAD]),
    "XHR with header": ("var x = new XMLHttpRequest(); x.open('POST', '/a'); x.setRequestHeader('X-CSRF-Token', t)", [OK]),
    "XHR that reads": ("var x = new XMLHttpRequest(); x.open('GET', '/a')", []),
    "window.open": ("window.open('/a', 'post')", []),
    "axios": ("axios.post('/a', {})", [BAD]),
    "axios with header": ("axios.post('/a', {}, {headers: {'X-CSRF-Token': t}})", [OK]),
    "axios defaults": ("axios.defaults.headers.common['X-CSRF-Token'] = t; axios.delete('/a')", [OK]),
    "axios with options": ("axios({method: 'put', url: '/a'})", [BAD]),
    "jQuery ajax": ("$.ajax({url: '/a', type: 'POST'})", [BAD]),
    "jQuery set up": ("$.ajaxSetup({headers: {'X-CSRF-Token': t}}); $.post('/a', {})", [OK]),
    "jQuery with the field": ("$.post('/a', {csrf_token: t})", [OK]),
    "jQuery that reads": ("$.ajax({url: '/a'})", []),
    "beacon with the fields of a form": ("navigator.sendBeacon('/a', new FormData(f))", [OK]),
    "made form": ("const f = document.createElement('form'); f.method = 'POST'; f.submit()", [BAD]),
    "made form with the field": (
        "const f = document.createElement('form'); f.method = 'post'; i.name = 'csrf_token'; f.append(i)",
        [OK],
    ),
    "written form with the field": ("e.innerHTML = `<form method=post><input name=csrf_token value=${t}></form>`", [OK]),
    "another site": ("fetch('https://elsewhere.example/a', {method: 'POST'})", []),
}  # fmt: skip
OTHERS = {
    "handler with header": ("""<b onclick="fetch('/a', {method: 'POST', headers: {'X-CSRF-Token': t}})">x</b>""", [OK]),
    "Turbo link": ('<a data-turbo-method="delete" href="/a">x</a>', [BAD]),
    "Turbo link with meta": ('<meta name="csrf-token" content="{{ csrf_token() }}"><a data-turbo-method=delete href=/a>x</a>', [OK]),
    "meta without the script is nothing to HTMX": ('<meta name="csrf-token" content="{{ csrf_token() }}"><b hx-post=/a></b>', [BAD]),
    "HTMX with its own listener": (
        "<script>addEventListener('htmx:configRequest', e => { e.detail.headers['X-CSRF-Token'] = t })</script><b hx-post=/a></b>",
        [OK],
    ),
    "listener in a file": ("<script src='/static/app.js'></script><b hx-post=/a></b>", [OK], {
        "static/app.js": "addEventListener('htmx:configRequest', e => { e.detail.headers['X-CSRF-Token'] = t })",
    }),
    "headers by script": ("<b hx-post=/a hx-headers='js:{\"X-CSRF-Token\": token()}'></b>", [OK]),
    "empty header": ("<b hx-post=/a hx-headers='{\"X-CSRF-Token\": \"\"}'></b>", [BAD]),
    "headers from the application": ("<b hx-post=/a hx-headers='{{ headers }}'></b>", [MAYBE]),
    "hx-vals": ("<b hx-post=/a hx-vals='{\"csrf_token\": \"{{ csrf_token() }}\"}'></b>", [OK]),
    "hx-vals with DELETE": ("<b hx-delete=/a hx-vals='{\"csrf_token\": \"{{ csrf_token() }}\"}'></b>", [BAD]),
    "hx-include": ("{{ csrf_field() }}<b hx-post=/a hx-include=\"[name='csrf_token']\"></b>", [OK]),
    "hx-params": ("<form hx-post=/a hx-params='name'>{{ csrf_field() }}</form>", [BAD]),
    "dodaiFetch": ("{{ csrf_meta() }}<script>dodaiFetch('/a', {method: 'POST'})</script>", [OK]),
    "dodaiFetch without its script": ("<script>dodaiFetch('/a', {method: 'POST'})</script>", [BAD]),
    "plain fetch beside it": ("{{ csrf_meta() }}<script>fetch('/a', {method: 'POST'})</script>", [BAD]),
    "fragment of pages that all send the header": ("<b hx-post=/a></b>", [OK], {"whole.html": "<html>{{ csrf_meta() }}</html>"}),
    "fragment of pages of which one does not": ("<b hx-post=/a></b>", [BAD], {
        "whole.html": "<html>{{ csrf_meta() }}</html>", "bare.html": "<html></html>",
    }),
}  # fmt: skip


def verdicts(text: str, more: dict[str, str] | None = None, base: dict[str, str] | None = None) -> list[str]:
    table = scan({**(base or {}), **(more or {}), "page.html": text}, POLICY)
    assert table.gaps == ()
    return [row.verdict for row in table.rows]


@pytest.mark.parametrize("case", JINJA.values(), ids=JINJA.keys())
def test_jinja(case):
    """Macros, imports, includes, layouts, call blocks and conditions are followed as Jinja2 follows them."""
    text, expected, *more = case
    base = {"tok.html": "{{ csrf_field() }}"}
    base |= {"m.html": MACROS} if "m.html" in text else {}
    base |= {"base.html": BASE} if "base.html" in text else {}
    known = [OK] if "m.html" in text and "open_form" not in text else []  # the macro that nobody calls is judged, too
    assert sorted(verdicts(text, *more, base=base)) == sorted([*expected, *known])


@pytest.mark.parametrize("case", DJANGO.values(), ids=DJANGO.keys())
def test_django(case):
    """Tags, filters and blocks mean what they mean in Django; tags of the application's own are not imported."""
    text, expected, *more = case
    base = {"dtok.html": "{% load s %}{% csrf_token %}"}
    base |= {"dmid.html": "{% load s %}" + POST + "{% block f %}{% csrf_token %}{% endblock %}</form>"}
    if "dmid" not in text:
        del base["dmid.html"]
    assert verdicts(text, *more, base=base) == expected


@pytest.mark.parametrize("case", WTFORMS.values(), ids=WTFORMS.keys())
def test_flask_wtf(case):
    """What WTForms renders as its hidden field counts."""
    assert verdicts(*case[:1], *case[2:]) == case[1]


@pytest.mark.parametrize("case", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_script(case):
    """A call that changes state carries the token in its header or in the body of a form."""
    assert verdicts(f"<script>\n{case[0]}\n</script>") == case[1]


@pytest.mark.parametrize("case", OTHERS.values(), ids=OTHERS.keys())
def test_htmx_turbo_and_handlers(case):
    """What sends without a form."""
    assert verdicts(*case[:1], *case[2:]) == case[1]


def gathered(folder, **more) -> FormTable | Unknown:
    found = gather_forms({"csrf": {"templates": ["templates/**/*.html"], **more}}, root=folder, python=sys.executable)
    assert isinstance(found, (FormTable, Unknown))
    return found


@pytest.fixture
def templates(tmp_path):
    (tmp_path / "templates").mkdir()
    return tmp_path / "templates"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% if %}", "template `templates/a.html` is not judged: TemplateSyntaxError"),
        ("{% for x in y %}<form method=post>", "template `templates/a.html` is not judged: TemplateSyntaxError"),
        ("x" * 2_000_000, "template `templates/a.html` is not judged: it has 2.0 MB, more than 1 MB is not read"),
        (
            "{% set x %}y{% endset %}" + "{% if a %}" * 400 + "{% endif %}" * 400,
            "is not judged: it is nested too deeply",
        ),
    ],
)
def test_template_that_cannot_be_read_is_not_judged(templates, text, said):
    """Its reason is given, and the others are judged all the same."""
    (templates / "a.html").write_text(text)
    (templates / "b.html").write_text("<form method=post></form>")
    found = gathered(templates.parent)
    assert [row.verdict for row in found.rows] == ["unprotected"]
    assert said in found.gaps[0].reason


def test_circular_includes_and_layouts_end(templates):
    """Two that include each other, and two that extend each other: each is judged once."""
    (templates / "a.html").write_text('{% set x = 1 %}{% include "b.html" %}<form method=post></form>')
    (templates / "b.html").write_text('{% set x = 1 %}{% include "a.html" %}<form method=post action=/b></form>')
    (templates / "c.html").write_text(
        '{% extends "d.html" %}{% block x %}<form method=put action=/c></form>{% endblock %}'
    )
    (templates / "d.html").write_text('{% extends "c.html" %}{% block x %}{% endblock %}')
    found = gathered(templates.parent)
    assert {row.action for row in found.rows} == {"", "/b", "/c"}


def test_macro_that_grows_without_end_is_not_judged(templates):
    """Thirty macros, each calling the one before it twice, would write a thousand million characters."""
    chain = "".join(
        f"{{% macro m{n}() %}}{{{{ m{n - 1}() }}}}{{{{ m{n - 1}() }}}}{{% endmacro %}}" for n in range(1, 31)
    )
    (templates / "a.html").write_text("{% macro m0() %}x{% endmacro %}" + chain + "{{ m30() }}")
    assert "it expands to more than 4 million characters" in gathered(templates.parent).gaps[0].reason


def test_five_hundred_templates_are_read_in_one_process(templates):
    """A large application is read within the deadline of the look."""
    (templates / "base.html").write_text("<head>{{ csrf_meta() }}</head>{% block x %}{% endblock %}" + "<p>x</p>" * 500)
    for number in range(500):
        text = f'{{% extends "base.html" %}}{{% block x %}}<form method=post action=/{number}></form>{{% endblock %}}'
        (templates / f"{number}.html").write_text(text)
    found = gathered(templates.parent)
    assert (len(found.rows), found.gaps, found.templates) == (500, (), 501)


def test_interpreter_without_an_engine_leaves_templates_unjudged(templates):
    """Text without tags needs none."""
    (templates / "a.html").write_text("<form method=post></form>")
    (templates / "b.html").write_text("<form method=post>{{ csrf_field() }}</form>")
    python = templates.parent / "python"
    python.write_text(f'#!/bin/sh\nshift; exec {sys.executable} -I -S "$@"\n')
    python.chmod(0o755)
    found = gather_forms({}, root=templates.parent, python=str(python))
    assert [row.path for row in found.rows] == ["templates/a.html"]
    assert "no template engine (Jinja2, Django) can be imported to read it" in found.gaps[0].reason


def test_no_code_of_the_repository_runs_while_templates_are_read(templates):
    """A module beside the templates with the name of what the engines import is left alone."""
    for name in ("markupsafe.py", "jinja2.py", "sitecustomize.py"):
        (templates.parent / name).write_text("open('/tmp/x', 'w'); raise SystemExit(9)\n")
    (templates / "a.html").write_text("<form method=post>{{ csrf_field() }}</form>")
    assert [row.verdict for row in gathered(templates.parent).rows] == ["protected"]
