"""The rollout page: the same tables in both languages, honest when nothing could be listed."""

from __future__ import annotations

import re

import pytest
from tests.csrf.templates import scan as scan_templates

from dodai.csrf.document import csrf_rollout
from dodai.csrf.policy import CsrfPolicy, Exemption
from dodai.csrf.route_table import RouteRow, RouteTable

POLICY = CsrfPolicy(exemptions=(Exemption("POST /hook", "no cookies", "team", "signature", "2027-03-31"),))
ROWS = (
    RouteRow("POST", "/save", "web/app.py", 7, "starlette", "web.save", "protected", "dodai"),
    RouteRow("POST", "/hook", "web/app.py", 9, "starlette", "web.hook", "exempt", exemption="no cookies"),
    RouteRow("PUT", "/open", "web/app.py", 11, "starlette", "web.open", "unprotected"),
    RouteRow("GET", "/", "web/app.py", 1, "starlette", "web.index", "safe"),
)
ROUTES = RouteTable("web", "starlette", ROWS, "2026-11-23")
FORMS = scan_templates({"a.html": "<form method=post action=/save>{{ csrf_field() }}</form>"}, POLICY)


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_page_lists_targets_forms_and_exemptions(lang):
    """Every state-changing route and form, every exemption with reason, control, owner and last day."""
    text = csrf_rollout(POLICY, ROUTES, FORMS).render(lang)
    for word in ("`/save`", "`/hook`", "`/open`", "`a.html`", "signature", "team", "2027-03-31", "50 %", "DOD150"):
        assert word in text
    assert "| `GET` |" not in text


def test_page_has_the_same_shape_in_both_languages():
    """Headings, tables and code blocks agree; no sentence was forgotten in translation."""
    page = csrf_rollout(POLICY, ROUTES, FORMS)
    shape = [re.findall(r"^(#+|\|(?= ---)|```|\d+\.|-) ?", page.render(lang), re.MULTILINE) for lang in ("ja", "en")]
    assert shape[0] == shape[1]


@pytest.mark.parametrize(("lang", "word"), [("ja", "不明"), ("en", "unknown")])
def test_page_without_tables_says_that_coverage_is_unknown(lang, word):
    """Never a number that nobody measured."""
    text = csrf_rollout(CsrfPolicy(), None, None).render(lang)
    assert word in text
    assert "%" not in text.partition("##")[0]


def test_page_does_not_change_from_day_to_day():
    """A document that is compared byte for byte in CI carries neither the date of the audit nor line numbers."""
    tomorrow = RouteTable("web", "starlette", ROWS, "2026-11-24")
    assert csrf_rollout(POLICY, tomorrow, FORMS).render("ja") == csrf_rollout(POLICY, ROUTES, FORMS).render("ja")
