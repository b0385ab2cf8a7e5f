"""The document says what the definition does, in both languages."""

from __future__ import annotations

import re

import pytest

from dodai.core.line import FIELDS, OUTCOMES
from dodai.core.manifest import read
from dodai.core.text import LANGS, Text
from dodai.observability.alert import defaults
from dodai.observability.alert.response import RESPONSES
from dodai.observability.codes import CODES
from dodai.observability.document import alert_links, observability
from dodai.observability.policy import AlertSection, ObservabilityPolicy
from dodai.runtime.manifest_location import reference


@pytest.mark.parametrize("lang", LANGS)
def test_every_field_and_outcome_is_listed(lang: str):
    """A field nobody documented is a field nobody agreed on."""
    text = observability(ObservabilityPolicy()).render(lang)
    assert all(f"| `{field.name}` |" in text for field in FIELDS)
    assert all(f"| `{outcome}` |" in text for outcome in OUTCOMES)
    assert "dodai trace" in text


@pytest.mark.parametrize("lang", LANGS)
def test_every_alert_has_its_section_and_every_section_its_alert(lang: str):
    """A notification leads to `#NAME`; what it finds there is one telephone screen."""
    text = observability(ObservabilityPolicy(), "staging").render(lang)
    part = text.partition('<a id="first-response">')[2].partition('<a id="trace">')[0]
    sections = re.findall(r'<a id="([a-z0-9-]+)"></a>\n\n### \1 \((DOD\d+)\)(.*?)(?=<a id|$)', part, flags=re.DOTALL)
    named = {alert.name: alert.code.id for alert in defaults()}
    assert {name: code for name, code, _ in sections} == named
    assert set(RESPONSES) == set(named)
    assert set(named.values()) == {code.id for code in CODES if code.found == "alert"}
    for name, _, body in sections:
        commands = body.partition("```console\n")[2].partition("\n```")[0].split("\n")
        assert 1 <= len(commands) <= 5, name
        assert all(command.startswith("dodai ") and "ENV" not in command for command in commands)
        assert len(body) < 1200, name


def test_commands_that_may_be_carried_out_unasked_stand_in_their_section():
    """And never a rollback for what a dependency did."""
    unasked = {name: response for name, response in RESPONSES.items() if response.responds}
    assert all(response.responds in response.commands for response in unasked.values())
    assert {name for name, response in unasked.items() if "rollback" in response.responds} == {"crash-loop"}


def test_alert_that_the_manifest_changes_or_switches_off_changes_the_page():
    """The threshold on the page is the one that is evaluated."""
    sections = {
        "http-error-surge": AlertSection("http-error-surge", threshold=0.5),
        "http-latency": AlertSection("http-latency", enabled=False),
    }
    text = observability(ObservabilityPolicy(alerts=sections)).render("en")
    assert "http error-ratio > 50 % over 5m" in text
    assert "http-latency" not in text


@pytest.mark.parametrize("lang", LANGS)
def test_every_alert_is_linked_from_the_page_of_operations(lang: str):
    """Whoever operates the system starts there."""
    names = Text("observability.en.md", "observability.md")
    text = alert_links(ObservabilityPolicy(), names).render(lang)
    file = re.escape("observability.md" if lang == "ja" else "observability.en.md")
    found = re.findall(rf"\[([a-z0-9-]+)\]\({file}#\1\)", text)
    assert found == [alert.name for alert in defaults()]


def test_policy_changes_the_page():
    """Retention and what of a person is kept come from the manifest."""
    text = observability(ObservabilityPolicy(user_id="hmac", client_ip="none", retention_age_s=86400.0)).render("en")
    assert "yes, as an HMAC" in text
    assert "`clientNetwork`" not in text
    assert "kept for 1 d" in text


def test_manifest_section_becomes_the_policy():
    """The defaults of the reference are those of the policy, and every key arrives."""
    plain = read(b"[project]\nname = 'quiz'\n", reference())
    assert ObservabilityPolicy.from_manifest(plain.section("observability")) == ObservabilityPolicy()
    text = b"""
[project]
name = "quiz"
[observability]
user_id = "hmac"
client_ip = "none"
stdout = false
segment_size = "1MiB"
segment_age = "1m"
retention = "2d"
retention_size = "1GiB"
slow_call = "50ms"
sample = 0.5
heartbeat = "2s"
longest_request = "1h"
"""
    policy = ObservabilityPolicy.from_manifest(read(text, reference()).section("observability"))
    sizes_and_ages = (1024**2, 60.0, 172800.0, 1024**3)
    assert policy == ObservabilityPolicy("hmac", "none", False, *sizes_and_ages, 0.05, 0.5, 2.0, 3600.0)
