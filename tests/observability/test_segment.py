"""Segments with real files, processes, full disks and kill -9: whole lines, nothing lost without being counted."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from pathlib import Path
from threading import get_ident
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.wait import until

from dodai.observability.line_format import dump
from dodai.observability.segment import SegmentWriter, prune, seal, seal_all
from dodai.observability.segment.seal import open_sidecar, times_in_name


def line(index: int, **fields: Any) -> bytes:
    request_id = f"id-{index:08d}"
    return dump(
        {"ts": 1_795_000_000.0 + index, "v": 1, "type": "http", "service": "web", "requestId": request_id, **fields}
    )


def all_lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(raw) for path in sorted(folder.glob("*.jsonl")) for raw in path.read_bytes().splitlines()]


def contents(folder: Path) -> list[bytes]:
    """What the files hold that are still there."""
    found = []
    for path in folder.glob("*.jsonl"):
        with contextlib.suppress(FileNotFoundError):
            found.append(path.read_bytes())
    return found


def test_full_segment_is_renamed_and_the_next_begins(tmp_path: Path):
    """Rotation by rename: every line is in exactly one file, closed files carry their times in their names."""
    writer = SegmentWriter(tmp_path, "web", "i1", max_bytes=2000)
    for index in range(100):
        assert writer.write(line(index))
    closed = [path for path in tmp_path.glob("*.jsonl") if not path.name.endswith(".open.jsonl")]
    assert len(closed) > 3
    assert all(times_in_name(path.name) for path in closed)
    writer.rotate()
    assert sorted(found["requestId"] for found in all_lines(tmp_path)) == [f"id-{index:08d}" for index in range(100)]
    assert not list(tmp_path.glob("*.open.jsonl"))


def test_sealing_is_idempotent_and_finds_every_line(tmp_path: Path):
    """The sidecar leads to each line; sealing again changes nothing."""
    writer = SegmentWriter(tmp_path, "web", "i1")
    for index in range(500):
        writer.write(line(index, clientRequestId=f"client-{index:08d}"))
    closed = writer.rotate()
    assert seal(str(closed)) == str(closed)
    before = Path(f"{closed}.ids").stat()
    assert seal(str(closed)) == str(closed)
    assert Path(f"{closed}.ids").stat().st_mtime_ns == before.st_mtime_ns
    data = closed.read_bytes()
    sidecar = open_sidecar(str(closed), len(data))
    assert (sidecar.first, sidecar.last) == (1_795_000_000.0, 1_795_000_499.0)
    for wanted in (b"id-00000000", b"id-00000499", b"client-00000250"):
        assert any(wanted in data[offset : data.index(b"\n", offset)] for offset in sidecar.offsets(wanted))
    assert sidecar.offsets(b"id-99999999") == []


def test_living_writers_segment_is_left_alone_and_a_dead_ones_is_sealed(tmp_path: Path):
    """The lock decides: while the writer lives nobody closes its file; afterwards anybody does."""
    writer = SegmentWriter(tmp_path, "web", "i1")
    writer.write(line(1))
    path = writer.path
    assert seal(str(path)) is None
    writer.close()
    closed = seal(str(path))
    assert closed is not None
    assert not path.exists()
    assert open_sidecar(closed, Path(closed).stat().st_size).offsets(b"id-00000001") == [0]


def test_sealers_at_once_make_one_sidecar(tmp_path: Path):
    """Four processes seal the same folder; each segment ends with one whole sidecar and no leftovers."""
    writer = SegmentWriter(tmp_path, "web", "i1", max_bytes=3000)
    for index in range(200):
        writer.write(line(index))
    writer.rotate()
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.map(seal_all, [str(tmp_path)] * 4)
    for path in tmp_path.glob("*.jsonl"):
        assert open_sidecar(str(path), path.stat().st_size) is not None
    assert not list(tmp_path.glob("*.part"))


def test_sidecar_of_a_sealer_that_died_is_made_anew(tmp_path: Path):
    """A half-written sidecar never has the final name and does not stand in the way."""
    writer = SegmentWriter(tmp_path, "web", "i1")
    writer.write(line(1))
    closed = writer.rotate()
    Path(f"{closed}.ids.part").write_bytes(b"half")
    assert seal(str(closed))
    assert open_sidecar(str(closed), closed.stat().st_size) is not None


_WRITER = """
import os, sys
from pathlib import Path
from dodai.observability.line_format import dump
from dodai.observability.segment import SegmentWriter
writer = SegmentWriter(Path(sys.argv[1]), "web", sys.argv[2], max_bytes=200_000)
index = 0
while True:
    writer.write(dump({"ts": 1.0, "v": 1, "type": "http", "service": "web", "requestId": f"{sys.argv[2]}-{index:08d}",
                       "stack": "x" * 20_000}))
    index += 1
    if index == 500:
        print("ready", flush=True)
"""


def test_kill_mid_write_leaves_whole_lines(tmp_path: Path):
    """Four processes writing 20 kB lines as fast as they can, killed: 0 torn lines, all of them at most 4,096 bytes."""
    script = tmp_path / "writer.py"
    script.write_text(_WRITER)
    folder = tmp_path / "lines"
    argv = [[sys.executable, str(script), str(folder), f"writer{number}"] for number in range(4)]
    processes = [subprocess.Popen(each, stdout=subprocess.PIPE) for each in argv]
    for process in processes:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    seal_all(str(folder))
    raw = [raw for path in folder.glob("*.jsonl") for raw in path.read_bytes().splitlines(keepends=True)]
    assert len(raw) >= 2000
    assert max(map(len, raw)) <= 4096
    for each in raw:
        json.loads(each)


def test_full_disk_is_counted_and_the_next_line_is_whole(tmp_path: Path):
    """A write cut short by the size limit is a dropped line; what follows starts on a line of its own."""
    script = textwrap.dedent(
        f"""
        import resource, signal, sys
        from pathlib import Path
        from dodai.observability.segment import SegmentWriter
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, -1))
        writer = SegmentWriter(Path({str(tmp_path)!r}), "web", "i1")
        results = [writer.write(b'{{"ts":%d,"requestId":"abcdefgh","x":"%s"}}\\n' % (n, b"y" * 400)) for n in range(5)]
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        results.append(writer.write(b'{{"ts":9}}\\n'))
        writer.rotate()
        print(results, writer.dropped)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[True, True, False, False, False, True] 3"
    (path,) = tmp_path.glob("*.jsonl")
    readable = []
    for raw in path.read_bytes().splitlines():
        try:
            readable.append(json.loads(raw)["ts"])
        except ValueError:
            continue
    assert readable == [0, 1, 9]


def test_folder_that_cannot_be_written_costs_no_exception(tmp_path: Path):
    """A file where the folder should be: lines are counted as dropped, and it works again once the way is free."""
    blocked = tmp_path / "lines"
    blocked.write_text("in the way")
    writer = SegmentWriter(blocked, "web", "i1")
    assert not writer.write(line(1))
    assert writer.dropped == 1
    blocked.unlink()
    writer._retry_at = 0.0
    assert writer.write(line(2))


def test_retention_removes_the_old_then_the_excess(tmp_path: Path):
    """By age of the last line first, then the oldest until the rest fits; open segments stay."""
    for start, size in ((1_000, 10), (5_000, 400), (6_000, 400), (7_000, 400)):
        path = tmp_path / f"web-i-1-{start * 1000:013d}-{(start + 500) * 1000:013d}.jsonl"
        path.write_bytes(b"x" * size)
        Path(f"{path}.ids").write_bytes(b"y")
    (tmp_path / "web-i-1-0000001000000.open.jsonl").write_bytes(b"z" * 5000)
    assert prune(str(tmp_path), max_age_s=5_000, max_bytes=1000, now_s=8_000.0) == 2
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name.split("-")[3][:7] for name in names if name.endswith(".jsonl") and "open" not in name] == [
        "0000006",
        "0000007",
    ]
    assert len([name for name in names if name.endswith(".ids")]) == 2
    assert "web-i-1-0000001000000.open.jsonl" in names


def test_writer_makes_room_by_itself(tmp_path: Path):
    """Where no Host prunes, the folder stays within its bounds."""
    writer = SegmentWriter(tmp_path, "web", "i1", max_bytes=1000, keep_age_s=86_400.0 * 36_500, keep_bytes=5000)
    for index in range(300):
        assert writer.write(line(index))
    # A thread removes them: a file may go between its listing and the look at its size.
    until(lambda: sum(len(data) for data in contents(tmp_path)) < 8000, "the folder stays within its bounds")
    assert b"id-00000299" in b"".join(contents(tmp_path))


def test_a_clock_that_steps_back_breaks_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Open times only grow, so a segment never takes the name of an earlier one."""
    writer = SegmentWriter(tmp_path, "web", "i1", max_bytes=1)
    real = time.time_ns
    for step in (0, -3600, -7200):
        monkeypatch.setattr(time, "time_ns", lambda step=step: real() + step * 10**9)
        assert writer.write(line(1))
    assert len(list(tmp_path.glob("*.jsonl"))) == 3


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=300))
def test_garbage_is_sealed_without_failing(tmp_path_factory: pytest.TempPathFactory, garbage: bytes):
    """Foreign bytes in a segment are indexed for whatever ids they show and never raise."""
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    path.write_bytes(garbage + b"\n" + line(7) + garbage)
    assert seal(str(path)) == str(path)
    assert open_sidecar(str(path), path.stat().st_size).offsets(b"id-00000007")


def test_line_may_be_written_while_its_own_thread_is_writing_one(tmp_path: Path):
    """As a signal handler does, between any two steps of the writer."""
    writer, done = SegmentWriter(tmp_path, "web", "i1"), []

    def interrupted() -> None:
        with writer._lock:
            done.append(writer.write(line(1)))

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(30)
    assert done == [True]


def test_room_is_made_in_another_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Among thousands of files it takes a tenth of a second, which an event loop has not."""
    threads: list[int] = []
    monkeypatch.setattr("dodai.observability.segment.writer.prune", lambda *_, **__: threads.append(get_ident()))
    writer = SegmentWriter(tmp_path, "web", "i1", keep_age_s=1.0, keep_bytes=1)
    assert writer.write(line(1))
    until(lambda: bool(threads), "room was made")
    assert get_ident() not in threads


def test_sealing_takes_memory_by_the_id_and_not_by_the_line(tmp_path: Path):
    """A foreign file may be as large as the disk."""
    path = tmp_path / "foreign.jsonl"
    path.write_bytes(b"".join(line(index, traceId=f"{index:032x}") for index in range(40_000)))
    tracemalloc.start()
    try:
        assert seal(str(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40_000 * 2 * 40, f"{peak} bytes for 80,000 ids"


SEALING = """
import re, sys
from pathlib import Path
from dodai.observability.segment import seal_all
assert seal_all(sys.argv[1]) == 1
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])  # getrusage keeps the parent's peak
"""


def test_sealing_a_large_foreign_file_takes_a_bounded_part_of_the_memory(tmp_path: Path):
    """Peak memory of a real process: 64 MB more of a file are not 64 MB more of memory."""
    peaks_kib = []
    for size in (1 << 20, 64 << 20):
        folder = tmp_path / str(size)
        folder.mkdir()
        with (folder / "foreign.jsonl").open("wb") as file:
            for number in range(size // 330):
                file.write(b'{"ts":1795000000.5,"requestId":"%032x","pad":"%s"}\n' % (number, b"x" * 250))
        done = subprocess.run([sys.executable, "-c", SEALING, str(folder)], capture_output=True, text=True, check=True)
        peaks_kib.append(int(done.stdout))
    assert peaks_kib[1] - peaks_kib[0] < 24 * 1024, peaks_kib
