"""A form has to carry the token of the check that refuses requests: another one's is refused when it is sent."""

from __future__ import annotations

import sys

import pytest
from tests.frameworks.test_flask_django_routes import DJANGO, FLASK, audit, verdicts

from dodai.csrf.check.gather import gather_forms
from dodai.csrf.form_table import FormTable

POST = '{% load static %}<form method="post" action="/save/">'
CSRF = "['django.middleware.csrf.CsrfViewMiddleware']"
WRAP = "import dodai.wsgi\napp = dodai.wsgi.wrap(app)\n"
BOTH = "{% csrf_token %}{{ csrf_field }}"


def forms(tmp_path, source: str, name: str, text: str) -> list[tuple[str, str]]:
    """(verdict, evidence) of the forms of a template of the application whose module is `source`."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "a.html").write_text(text)
    routes = audit(tmp_path, source, name)
    found = gather_forms({}, root=tmp_path, python=sys.executable, routes=routes)
    assert isinstance(found, FormTable)
    return [(row.verdict, row.evidence) for row in found.rows]


@pytest.mark.parametrize(
    ("middleware", "wrap", "tokens", "verdict"),
    [
        ("[]", WRAP, "{% csrf_token %}", "unprotected"),
        ("[]", WRAP, "{{ csrf_field }}", "protected"),
        (CSRF, "", "{% csrf_token %}", "protected"),
        (CSRF, "", "{{ csrf_field }}", "unprotected"),
        (CSRF, WRAP, "{% csrf_token %}", "unprotected"),
        (CSRF, WRAP, "{{ csrf_field }}", "unprotected"),
        (CSRF, WRAP, BOTH, "protected"),
    ],
)
def test_form_of_django_carries_what_is_checked(tmp_path, middleware, wrap, tokens, verdict):
    """Wrapped and without Django's middleware, `{% csrf_token %}` alone is answered 403; with both, both are needed."""
    ((found, evidence),) = forms(tmp_path, DJANGO % middleware + wrap, "site_", POST + tokens + "</form>")
    assert found == verdict
    if middleware == "[]" and verdict == "unprotected":
        assert evidence == (
            "carries `csrfmiddlewaretoken`, but what checks it reads `csrf_token` (dodai): it is refused when sent"
        )


def test_route_that_wants_two_tokens_is_protected_and_says_so(tmp_path):
    """Django's middleware inside of dodai's layer: a valid request has the token of each."""
    found = audit(tmp_path, DJANGO % CSRF + WRAP, "site_")
    row = next(row for row in found.rows if row.id == "* /save/")
    assert (row.verdict, row.by, row.second) == ("protected", "dodai", "django")
    assert row.evidence.endswith("valid with the token of django as well reached the handler")


@pytest.mark.parametrize(
    ("protect", "text", "verdict"),
    [
        ("import dodai.wsgi\napp.wsgi_app = dodai.wsgi.wrap(app)\n", "{{ form.hidden_tag() }}", "unprotected"),
        ("import dodai.wsgi\napp.wsgi_app = dodai.wsgi.wrap(app)\n", "{{ form.csrf_token }}", "unprotected"),
        ("import dodai.wsgi\napp.wsgi_app = dodai.wsgi.wrap(app)\n", "{{ csrf_field() }}", "protected"),
        ("from flask_wtf import CSRFProtect\nCSRFProtect(app)\n", "{{ form.hidden_tag() }}", "protected"),
    ],
)
def test_form_of_flask_carries_what_is_checked(tmp_path, protect, text, verdict):
    """WTForms writes a token of its own into a field of the same name."""
    ((found, evidence),) = forms(tmp_path, FLASK + protect, "shop", f"<form method=post>{text}</form>")
    assert found == verdict
    if verdict == "unprotected":
        assert "has a token of WTForms, which the check in front (dodai) refuses" in evidence


def test_routes_of_flask_behind_dodai_still_count(tmp_path):
    """The forms are red, the routes are not."""
    source = FLASK + "import dodai.wsgi\napp.wsgi_app = dodai.wsgi.wrap(app)\n"
    assert set(verdicts(audit(tmp_path, source, "shop")).values()) == {("protected", "dodai")}
