"""What processes write is kept within bounds, without secrets, with its times; a removed file loses no line after that."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import time
from base64 import b64encode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dodai.providers.local.host.hidden import Mask, secret_values
from dodai.providers.local.host.host_log import BURST_BYTES
from dodai.providers.local.host.log_file import LINE_BYTES, LogFile
from dodai.providers.local.host.log_reader import LogFolder


@pytest.fixture
def opened():
    """A function that makes a log, closed at the end of the test."""
    with contextlib.ExitStack() as stack:
        yield lambda path, *words, **more: stack.enter_context(contextlib.closing(LogFile(path, *words, **more)))


PIECES = st.lists(st.text("abX\n", max_size=6).map(str.encode), max_size=12)


@given(values=st.lists(st.text("ab", min_size=1, max_size=5), max_size=4), pieces=PIECES)
@example(values=["aba"], pieces=[b"xab", b"a"])
@example(values=["ab", "abba"], pieces=[b"ab", b"b", b"a"])
def test_secret_that_arrives_in_pieces_is_hidden_like_one_in_one_piece(values, pieces):
    """Wherever a stream is cut, what comes out is the same, and nothing is held back for ever."""
    mask = Mask(values)
    assert b"".join([*map(mask.feed, pieces), mask.rest()]) == Mask(values).of(b"".join(pieces))


def test_declared_secret_is_hidden_whatever_it_is_called_and_however_it_is_written():
    """A name that says nothing, inside JSON or a URL, and a key of several lines printed line by line."""
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\nAAECAwQFBgcICQoLDA0O\n-----END KEY-----"
    told = {"PEPPER": 'say "when"', "PEM": key, "HARMLESS": "plain words"}
    mask = Mask(secret_values(told, ["PEPPER", "PEM"]))
    encoded = b64encode(b'say "when"').decode()
    for said in ('say "when"', r"say \"when\"", "say%20%22when%22", encoded, "AAECAwQFBgcICQoLDA0O", key):
        assert said.encode() not in mask.of(f"here: {said}; plain words".encode())
    assert mask.of(b"plain words") == b"plain words"
    assert b"when" in Mask(secret_values(told)).of(b'say "when"')


def test_every_value_is_hidden_where_it_begins_first_and_the_longest_of_those_that_begin_together():
    """Values that begin alike, lie in each other or overlap; what stands in the place of one is never taken for one."""
    mask = Mask(["passwd", "passwd-and-more", "more-and-other", "secret"])
    said = b"passwd passwd-and-more-and-other passwdpasswd [secret]"
    assert mask.of(said) == b"[secret] [secret]-and-other [secret][secret] [[secret]]"


def test_secrets_of_a_process_that_is_gone_are_not_kept_in_memory():
    """The host lives for months, and its processes have other secrets after each rotation."""
    value = f"of{time.time_ns()}"
    mask = Mask([value])
    assert mask.of(value.encode()) == b"[secret]"
    del mask
    kept = (one for one in gc.get_objects() if type(one) is dict)  # isinstance would ask lazy objects
    assert not [one for one in kept for word in list(one) if value in str(word)]


def test_secret_across_the_cut_of_an_overlong_line_is_not_written(tmp_path, opened):
    """A line without an end is cut, and the cut goes around the secret."""
    log = opened(tmp_path / "logs" / "web.log", ["correct-horse-battery"])
    log.write(b"x" * (LINE_BYTES - 5) + b"correct-hor")
    log.write(b"se-battery and more\n")
    log.close()
    written = log.path.read_text()
    assert ("[secret] and more" in written, "horse" in written) == (True, False)


def test_log_that_is_removed_or_moved_is_made_again_before_the_next_line(tmp_path, opened):
    """By hand, by logrotate, or with its folder: what is written afterwards is in the file of that name."""
    log = opened(tmp_path / "logs" / "web.log")
    log.write(b"1\n")
    log.path.unlink()
    log.write(b"2\n")
    assert log.path.read_text() == "2\n"
    log.path.rename(tmp_path / "elsewhere")
    log.write(b"3\n")
    for file in log.path.parent.iterdir():
        file.unlink()
    log.path.parent.rmdir()
    log.write(b"4\n")
    assert ((tmp_path / "elsewhere").read_text(), log.path.read_text()) == ("2\n", "4\n")
    os.truncate(log.path, 0)
    log.write(b"5\n")
    assert log.path.read_text() == "5\n"


def test_two_processes_of_one_release_keep_one_log_within_bounds(tmp_path, opened):
    """A restart starts the next one beside the first; neither goes on writing into a file that the other moved away."""
    path = tmp_path / "logs" / "web.log"
    logs = [opened(path, limit_bytes=1000) for _ in range(2)]
    for number in range(200):
        logs[number % 2].write(f"line {number:04} {'x' * 40}\n".encode())
    kept = path.with_name("web.log.1").read_text() + path.read_text()
    numbers = [int(line.split()[1]) for line in kept.splitlines()]
    assert numbers == list(range(numbers[0], 200))
    assert max(file.stat().st_size for file in path.parent.glob("*.log*")) <= 1000


def test_lines_that_a_full_disk_lost_are_counted_in_the_log(tmp_path, monkeypatch, opened):
    """Once there is room again it says how many are missing; the last lines are at hand all the while."""
    log = opened(tmp_path / "logs" / "web.log")
    monkeypatch.setattr(log, "_ready", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    log.write(b"1\n2\n")
    monkeypatch.undo()
    log.write(b"3\n")
    assert log.path.read_text() == "[dodai] 2 lines that belong here could not be written\n3\n"
    assert log.tail(3) == ("1", "2", "3")


def test_lines_are_read_in_the_order_they_were_written_with_their_times(tmp_path, opened):
    """Over services, releases and a rotation; what nobody noted the time of says so."""
    began = time.time()
    web = opened(tmp_path / "logs" / "web-0123456789abcdef.log", limit_bytes=100)
    other = opened(tmp_path / "logs" / "backend-0123456789abcdef.log")
    web.write(b"".join(b"a%d\n" % number for number in range(20)))
    web.write(b"".join(b"b%d\n" % number for number in range(20)))
    other.write(b"c\n")
    (tmp_path / "logs" / "old.log").write_text("from before\n")
    folder = LogFolder(tmp_path, ("web",))
    lines = list(folder.read())
    assert [line.text for line in lines if line.part == "web"] == [
        *(f"a{n}" for n in range(20)),
        *(f"b{n}" for n in range(20)),
    ]
    assert {line.release for line in lines if line.part in ("web", "backend")} == {"0123456789abcdef"}
    assert [(line.at, line.text) for line in folder.read("old")] == [(0.0, "from before")]
    assert all(began - 1 <= line.at <= time.time() for line in lines if line.part != "old")
    assert folder.parts() == ("backend", "old", "web")


def test_who_follows_a_log_gets_every_line_once_whatever_becomes_of_the_files(tmp_path, opened):
    """Rotated, removed, a new release beside it: no line is lost and none comes twice."""
    log = opened(tmp_path / "logs" / "web-0123456789abcdef.log", limit_bytes=400)
    lines = LogFolder(tmp_path).follow("web")
    got, wrote = [], []
    for number in range(60):
        log.write(f"line {number}\n".encode())
        wrote.append(f"line {number}")
        if number % 7 == 3:
            while (line := next(lines)) is not None:
                got.append(line.text)
        if number == 31:  # read up to here
            log.path.unlink()
    log.write(b"the end\n")
    while (line := next(lines)) is not None:
        got.append(line.text)
    lines.close()
    assert got == [*wrote, "the end"]


FLOOD = """
import sys
from pathlib import Path
from dodai.providers.local.host import host_log
from dodai.providers.local.host.host_log import HostLog
class Clock:
    at = 1.0
    def monotonic(self): return self.at
host_log.time = clock = Clock()
sys.stderr = HostLog(Path(sys.argv[1]), limit_bytes=20_000)
for second in range(4):
    for number in range(3000):
        sys.stderr.write(f"{second} an error that repeats itself {number}\\n")
    clock.at += 1
Path(sys.argv[1]).unlink()
sys.stderr.write("after it was removed\\n")
"""


def test_what_the_host_says_stays_within_bounds_and_outlives_its_file(tmp_path):
    """However often an error repeats itself; what is left out is counted, and the descriptor follows the name."""
    path = tmp_path / "host.log"
    with path.open("wb") as output:
        subprocess.run([sys.executable, "-c", FLOOD, str(path)], check=True, stderr=output, stdout=output)
    assert path.read_text().endswith("after it was removed\n")
    before = path.with_name("host.log.1").read_text()
    assert len(before) <= 20_000 <= BURST_BYTES
    assert "bytes of the second before were left out" in path.read_text() + before
