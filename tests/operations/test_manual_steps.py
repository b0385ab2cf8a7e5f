"""Manual steps of the runbook are counted for each environment, against what its manifest allows."""

from __future__ import annotations

import pytest

from dodai.operations.check.rules import manual_steps_are_no_more_than_allowed
from dodai.wiring.find_project import load_project

MANIFEST = """[project]
name = "small"
[env.staging]
provider = "{provider}"
{most}
[service.web]
command = ["web"]
public = true
[secret.PAYMENT]
used_by = ["web"]
rotation = "external"
[secret.MAIL]
used_by = ["web"]
rotation = "external"
[secret.OWN]
used_by = ["web"]
"""


@pytest.mark.parametrize(
    ("provider", "most", "said"),
    [
        ("fly", "manual_steps = 1", ["`staging` may have 1 manual steps and has 2: `PAYMENT`, `MAIL`"]),
        ("fly", "manual_steps = 0", ["`staging` may have 0 manual steps and has 2: `PAYMENT`, `MAIL`"]),
        ("fly", "manual_steps = 2", []),
        ("fly", "", []),
        ("local", "manual_steps = 0", []),
    ],
)
def test_manual_steps_are_counted_against_what_the_manifest_allows(tmp_path, provider, most, said):
    """Only an issuer's secret is one; on this machine dodai makes up every value, so there are none."""
    manifest = load_project(MANIFEST.format(provider=provider, most=most).encode(), tmp_path).manifest
    assert [finding.message for finding in manual_steps_are_no_more_than_allowed.test(manifest)] == said
