from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dodai.providers.local.http2_end import GOAWAY, FrameBorders


def frame(payload):
    return len(payload).to_bytes(3, "big") + b"\x00\x00" + b"\x00\x00\x00\x01" + payload


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6), st.data())
def test_a_border_is_found_exactly_where_a_frame_ends_however_the_bytes_are_cut(payloads, data):
    """What is inserted at the offset stands between two whole frames."""
    stream = b"".join(frame(payload) for payload in payloads)
    ends, position = set(), 0
    for payload in payloads:
        position += 9 + len(payload)
        ends.add(position)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))) | {0, len(stream)})
    borders = FrameBorders()
    for start, stop in pairwise(cuts):
        found = borders.follow(stream[start:stop])
        inside = sorted(end for end in ends if start < end <= stop)
        assert (start + found if found >= 0 else None) == (inside[0] if inside else None)
        assert borders.between == (stop in ends)
    assert borders.between


def test_the_goodbye_is_one_whole_frame():
    """GOAWAY on stream 0 with the highest last stream and no error."""
    borders = FrameBorders()
    assert borders.follow(GOAWAY) == len(GOAWAY)
    assert borders.between
    assert GOAWAY[3] == 7
