"""Who acts: one name in the journal and in the log of migrations."""

from __future__ import annotations

from pathlib import Path

import pytest

from dodai.engine.actor import actor
from dodai.migrations.run import author_of


@pytest.mark.parametrize("claimed", ["", "hana"])
def test_one_deploy_names_one_actor(claimed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What a CI claims is called a claim in both, with the account that ran it."""
    for name in ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILDKITE_BUILD_CREATOR", "CIRCLE_USERNAME"):
        monkeypatch.delenv(name, raising=False)
    if claimed:
        monkeypatch.setenv("GITHUB_ACTOR", claimed)
    monkeypatch.setenv("USER", "somebody-else")  # a variable is not evidence of an account
    said = author_of(tmp_path, "0").actor
    assert said == actor()
    assert said.startswith("hana (claimed by CI, account ") if claimed else "somebody-else" not in said
