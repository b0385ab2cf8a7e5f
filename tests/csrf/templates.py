"""Templates in a string, expanded in this interpreter and judged."""

from __future__ import annotations

from collections.abc import Mapping

from dodai.agent.templates import expand
from dodai.agent.templates.template_page import Words
from dodai.core.fact import Unknown
from dodai.csrf.form_page import PageText
from dodai.csrf.form_table import FormTable, build_forms
from dodai.csrf.form_verdict import FormSurroundings
from dodai.csrf.policy import CsrfPolicy


def scan(texts: Mapping[str, str], policy: CsrfPolicy | None = None) -> FormTable:
    """The table of `texts` by path, as `gather_forms` makes it of files."""
    policy = policy or CsrfPolicy()
    words = Words(policy.field, policy.header, helpers=frozenset(policy.template_helpers))
    pages, problems = expand(texts, words)
    around = FormSurroundings(
        frozenset({"x-csrftoken"}),
        frozenset({"csrfmiddlewaretoken"}),
        {path.rpartition("/")[2]: text for path, text in texts.items() if path.endswith(".js")},
    )
    gaps = tuple(Unknown(f"{path}: {why}") for path, why in problems)
    return build_forms([PageText.of(page.as_json()) for page in pages], policy, around=around, gaps=gaps)
