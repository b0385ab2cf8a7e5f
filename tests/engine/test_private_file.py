"""Private files: one writer, so that each is readable by its owner alone and whole after a crash."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dodai.core.errors import DodaiError
from dodai.engine import private_file
from dodai.engine.private_file import create_private, read_json, write_private


def test_only_the_owner_reads_it_whatever_the_umask_and_whatever_was_there(tmp_path: Path):
    """A file that somebody made readable does not hand its mode to the next value."""
    path = tmp_path / "folder" / "secrets.json"
    before = os.umask(0)
    try:
        write_private(path, b"first")
        path.chmod(0o644)
        write_private(path, b"second")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["secrets.json"]


def test_what_cannot_be_written_leaves_the_old_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A disk that is full in the middle costs nothing that was there."""
    path = tmp_path / "secrets.json"
    write_private(path, b"first")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(private_file.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_private(path, b"second")
    assert path.read_bytes() == b"first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["secrets.json"]


def test_a_process_killed_before_the_rename_leaves_the_old_bytes(tmp_path: Path):
    """The new bytes are durable under another name first; a reader never sees half of them."""
    path = tmp_path / "secrets.json"
    write_private(path, b"first")
    code = (
        "import os, pathlib, signal, sys\n"
        "from dodai.engine.private_file import write_private\n"
        "pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_private(pathlib.Path(sys.argv[1]), b'second')\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert path.read_bytes() == b"first"


def test_of_several_who_make_it_at_once_one_wins(tmp_path: Path):
    """Everybody goes on with the same key, and nothing else is left behind."""
    path, found = tmp_path / "key", list[bytes]()
    start = threading.Barrier(8)

    def make(number: int) -> None:
        start.wait()
        found.append(create_private(path, f"key {number}".encode()))

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {path.read_bytes()}
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("held", [b"", b"{", b"[1]", b"\xff\x00", None], ids=repr)
def test_what_cannot_be_read_is_called_damage_and_never_taken_for_empty(tmp_path: Path, held: bytes | None):
    """DOD385 with the file and what to do; a file that is not there is no damage."""
    path = tmp_path / "secrets.json"
    assert read_json(path, dict, "move it away") is None
    path.mkdir() if held is None else path.write_bytes(held)
    with pytest.raises(DodaiError) as caught:
        read_json(path, dict, "move it away")
    assert (caught.value.code.id, caught.value.exit_code) == ("DOD385", 4)
    assert str(path) in caught.value.message
    assert "move it away" in caught.value.fix
    if held is not None:
        path.write_bytes(b"{}")
        assert read_json(path, dict, "move it away") == {}
