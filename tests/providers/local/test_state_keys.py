"""Keys of an environment's own: one that was cut off is no key."""

from __future__ import annotations

import pytest

from dodai.core.errors import DodaiError
from dodai.providers.local.host import state
from dodai.providers.local.secret_file import SecretFile


@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("edge.key", lambda folder: state.edge_key(state.StateFolder(folder))),
        ("digest.key", lambda folder: SecretFile(folder).digest({"TOKEN": "secret"})),
    ],
)
@pytest.mark.parametrize("left", [b"", b"\n", b"\xff\x00"])
def test_key_that_was_cut_off_is_damage_and_is_never_used(tmp_path, name, ask, left):
    """With an empty one whoever has a digest could guess the value, and whoever sends an empty header were the edge."""
    made = ask(tmp_path)
    assert ask(tmp_path) == made
    (tmp_path / name).write_bytes(left)
    with pytest.raises(DodaiError) as caught:
        ask(tmp_path)
    assert (caught.value.code.id, name in caught.value.message) == ("DOD385", True)
