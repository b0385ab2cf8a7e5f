"""The document says what the definition does, in both languages."""

from __future__ import annotations

import pytest

from dodai.core.line import FIELDS, OUTCOMES
from dodai.core.manifest import read
from dodai.core.text import LANGS
from dodai.observability.document import observability
from dodai.observability.policy import ObservabilityPolicy
from dodai.runtime.manifest import reference


@pytest.mark.parametrize("lang", LANGS)
def test_every_field_and_outcome_is_listed(lang: str):
    """A field nobody documented is a field nobody agreed on."""
    text = observability(ObservabilityPolicy()).render(lang)
    assert all(f"| `{field.name}` |" in text for field in FIELDS)
    assert all(f"| `{outcome}` |" in text for outcome in OUTCOMES)
    assert "dodai trace" in text


def test_policy_changes_the_page():
    """Retention and what of a person is kept come from the manifest."""
    text = observability(ObservabilityPolicy(user_id="hmac", client_ip="none", retention_age_s=86400.0)).render("en")
    assert "yes, as an HMAC" in text
    assert "`clientIp`" not in text
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
