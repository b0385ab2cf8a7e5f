"""One index of many sealed segments: what it names is there, what it does not know is asked all the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.observability.test_trace import T0, entry, minted

from dodai.observability.line_format import dump
from dodai.observability.segment import seal_all
from dodai.observability.segment.index import FEWEST, INDEX_SUFFIX, index_together
from dodai.observability.trace import find

COUNT = FEWEST + 6


def segment(folder: Path, number: int, *ids: str) -> Path:
    """A closed segment of one minute."""
    at = number * 60.0
    folder.mkdir(exist_ok=True)
    path = folder / f"web-i-1-{int((T0 + at) * 1000):013d}-{int((T0 + at + 59) * 1000):013d}.jsonl"
    lines = [entry(minted(at, number), "web", at), *(entry(each, "web", at + 1) for each in ids)]
    path.write_bytes(b"".join(map(dump, lines)))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "lines"
    for number in range(COUNT):
        segment(folder, number, f"order-{number:08d}")
    assert seal_all(str(folder)) == COUNT
    return folder


def indexes(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{INDEX_SUFFIX}"))


def test_id_without_a_time_is_asked_of_the_index_alone(folder: Path):
    """Of thousands of sidecars only that of the segment in which it stands is opened."""
    code = """
import sys
from dodai.observability.trace import find
opened = []
sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)
found = find(sys.argv[2], [sys.argv[1]])
print(len(found.lines), *(sum(path.endswith(end) for path in opened) for end in (".jsonl", ".ids", ".index")))
"""
    for wanted, said in (("order-00000003", ["1", "1", "1", "1"]), ("order-nowhere0", ["0", "0", "0", "1"])):
        command = [sys.executable, "-c", code, str(folder), wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.split() == said


def test_every_id_is_found_whatever_became_of_segments_and_index(folder: Path):
    """Segments that came later, that are gone, an index that is damaged or cut: none hides a line."""
    segment(folder, COUNT, "order-late0000")
    seal_all(str(folder))
    sorted(folder.glob("*.jsonl"))[3].unlink()
    (index,) = indexes(folder)
    whole = index.read_bytes()
    for data in (whole, whole[:20], whole[: len(whole) // 2], b"", b"x" * len(whole), whole[:-30]):
        index.write_bytes(data)
        assert [len(find(f"order-{number:08d}", [str(folder)]).lines) for number in (0, 2, COUNT - 1)] == [1, 1, 1]
        assert len(find("order-late0000", [str(folder)]).lines) == 1
        assert find("order-00000003", [str(folder)]).lines == []


def test_index_goes_with_its_segments(folder: Path):
    """Retention removes segments; what is left of an index would grow for ever."""
    for path in [*folder.glob("*.jsonl"), *folder.glob("*.ids")]:
        path.unlink()
    for number in range(COUNT, 2 * COUNT):
        segment(folder, number)
    (old,) = indexes(folder)
    seal_all(str(folder))
    assert len(indexes(folder)) == 1
    assert not old.exists()


def test_segments_are_in_one_index_once(folder: Path):
    """A few more are asked one by one until there are many."""
    for number in range(COUNT, COUNT + 5):
        segment(folder, number)
    seal_all(str(folder))
    assert (index_together(str(folder)), len(indexes(folder))) == (0, 1)


def test_lookup_that_had_to_ask_many_has_them_indexed(tmp_path: Path):
    """Segments that were sealed before there was an index get one behind the next lookup."""
    folder = tmp_path / "lines"
    for number in range(COUNT):
        segment(folder, number, f"order-{number:08d}")
    seal_all(str(folder))
    indexes(folder)[0].unlink()
    assert find("order-00000001", [str(folder)]).unsealed == {str(folder)}
    seal_all(str(folder))
    assert find("order-00000001", [str(folder)]).unsealed == set()
