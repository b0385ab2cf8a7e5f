"""One holder at a time, named to whoever comes second; a dead one is replaced at once; tokens only grow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dodai.core.errors import DodaiError
from dodai.engine.lease import FileLease, Holder

HOLD = """
    import asyncio, subprocess, sys
    from pathlib import Path
    from dodai.engine.lease import FileLease
    lease = FileLease(Path(sys.argv[1]), "hana", "dodai deploy staging")
    token = asyncio.run(lease.acquire())
    if len(sys.argv) > 2:
        child = subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[lease._fd])
        print(child.pid, flush=True)
    print(token, flush=True)
    sys.stdin.read()
"""


def hold(path: Path, *options: str) -> subprocess.Popen[str]:
    """Another process that has the lease when this returns."""
    argv = [sys.executable, "-c", textwrap.dedent(HOLD), str(path), *options]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


async def test_second_process_gets_exit_75_naming_the_holder_and_the_age(tmp_path):
    """Who, which process, which command and since when: enough to walk over and ask."""
    other = hold(tmp_path / "lock")
    other.stdout.readline()
    try:
        with pytest.raises(DodaiError) as caught:
            await FileLease(tmp_path / "lock", "taro").acquire()
    finally:
        end(other)
    error = caught.value
    assert (error.code.id, error.exit_code) == ("DOD350", 75)
    assert "`hana`" in error.message
    assert f"pid {other.pid}" in error.message
    assert "`dodai deploy staging`" in error.message
    assert "held the lock for" in error.message
    assert error.data["pid"] == other.pid


async def test_killed_holder_is_taken_over_at_once_with_a_higher_token(tmp_path):
    """No waiting for a time to pass: the kernel knows that the holder is gone."""
    other = hold(tmp_path / "lock")
    first = int(other.stdout.readline())
    end(other)
    lease = FileLease(tmp_path / "lock", "taro")
    assert await lease.acquire() > first
    await lease.release()


async def test_dead_holder_whose_child_kept_the_lock_is_taken_over(tmp_path):
    """A grandchild that inherited the descriptor does not lock an environment for weeks."""
    other = hold(tmp_path / "lock", "leak")
    child = int(other.stdout.readline())
    first = int(other.stdout.readline())
    end(other)
    try:
        os.kill(child, 0)  # it lives, and with it the kernel's lock
        lease = FileLease(tmp_path / "lock", "taro")
        assert await lease.acquire() > first
        assert await lease.held()
        with pytest.raises(DodaiError):
            await FileLease(tmp_path / "lock", "jiro").acquire()
        await lease.release()
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize(
    "changes",
    [
        None,
        {"since": "yesterday"},
        {"since": "2026-11-29T03:00:00"},
        {"pid": "1"},
        {"token": None},
        {"actor": 7},
        {"x": 1},
    ],
    ids=str,
)
async def test_living_holder_is_not_taken_over_when_its_record_cannot_be_read(tmp_path, changes):
    """Without a record nobody is presumed dead; one that is no record breaks no command."""
    lease = FileLease(tmp_path / "lock", "hana")
    await lease.acquire()
    record = tmp_path / "lock.holder"
    record.write_text(json.dumps({**json.loads(record.read_text()), **changes}) if changes else "garbage")
    with pytest.raises(DodaiError) as caught:
        await FileLease(tmp_path / "lock", "taro").acquire()
    assert (caught.value.exit_code, "unknown process" in caught.value.message) == (75, True)
    assert not await lease.held()
    await lease.release()


async def test_replaced_holder_notices_before_its_next_change(tmp_path):
    """`held` looks at the file and the record, not at memory."""
    lease = FileLease(tmp_path / "lock", "hana")
    await lease.acquire()
    assert await lease.held()
    (tmp_path / "lock").unlink()
    assert not await lease.held()
    await lease.release()


async def test_tokens_grow_over_releases_and_above_what_the_journal_saw(tmp_path):
    """Also when the record was lost or a journal was restored: the floor counts."""
    lease = FileLease(tmp_path / "lock", "hana")
    tokens = []
    for floor in (0, 0, 41, 0):
        tokens.append(await lease.acquire(floor))
        await lease.release()
    (tmp_path / "lock.holder").unlink()
    tokens.append(await lease.acquire(floor=tokens[-1]))
    await lease.release()
    assert tokens == [1, 2, 42, 43, 44]


async def test_acquiring_again_keeps_the_grant(tmp_path):
    """A holder that asks twice has one lease."""
    lease = FileLease(tmp_path / "lock", "hana")
    assert await lease.acquire() == await lease.acquire()
    await lease.release()
    assert lease.token == 0
    assert not await lease.held()


async def test_released_lease_is_free(tmp_path):
    """The next one gets it without waiting."""
    first, second = FileLease(tmp_path / "lock", "hana"), FileLease(tmp_path / "lock", "taro")
    await first.acquire()
    await first.release()
    assert await second.acquire() == 2
    await second.release()


async def test_lock_that_cannot_be_written_is_dod352(tmp_path):
    """A folder that is a file is said so, coded."""
    (tmp_path / "state").write_text("")
    with pytest.raises(DodaiError) as caught:
        await FileLease(tmp_path / "state" / "lock", "hana").acquire()
    assert caught.value.code.id == "DOD352"


def test_holder_of_another_boot_is_not_called_dead(tmp_path):
    """Without the same boot and process table a pid says nothing."""
    here = Holder.here("hana", "dodai deploy staging", 1)
    gone = Holder("hana", "", 4_194_305, "1", here.boot, "h", here.since, 1)
    elsewhere = Holder("hana", "", 4_194_305, "1", "another boot", "h", here.since, 1)
    assert not here.is_dead
    assert gone.is_dead
    assert not elsewhere.is_dead


async def test_record_names_no_secret_and_is_json(tmp_path):
    """`dodai status` reads it."""
    lease = FileLease(tmp_path / "lock", "hana", "dodai deploy staging")
    await lease.acquire()
    record = json.loads((tmp_path / "lock.holder").read_text())
    assert set(record) == {"actor", "command", "pid", "started", "boot", "host", "since", "token"}
    await lease.release()
