"""Files with secrets that somebody widened are told, each with what makes it private again."""

from __future__ import annotations

import os

import pytest

from dodai.engine.private_file import exposed, write_private


@pytest.mark.parametrize(
    ("name", "mode", "told"),
    [
        ("secrets.json", 0o600, ""),
        ("secrets.json", 0o400, ""),
        ("secrets.json", 0o644, "every account of this machine may read it"),
        ("secrets.json", 0o640, "its group may read it"),
        ("edge.key", 0o640, ""),
        ("edge.key", 0o644, "every account of this machine may read it"),
        ("edge-keys/secrets.json", 0o604, "every account of this machine may read it"),
        ("database.json", 0o660, "its group may read it"),
        ("host.log", 0o644, ""),
    ],
)
def test_file_with_secrets_that_others_may_read_is_told_with_its_mode(tmp_path, name, mode, told):
    """The edge's key may be read by its group, which is that of services with an account of their own."""
    write_private(tmp_path / name, b"{}")
    assert exposed(tmp_path) == ()
    (tmp_path / name).chmod(mode)
    found = exposed(tmp_path)
    assert [told in one.message and f"`{mode:04o}`" in one.message for one in found] == ([True] if told else [])
    for one in found:
        command = one.fix.split("`")[1].split()
        os.chmod(command[2], int(command[1], 8))  # noqa: PTH101 - as the message says it
    assert exposed(tmp_path) == ()
