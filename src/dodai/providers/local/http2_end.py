"""Asking an HTTP/2 client to move on: a GOAWAY between two frames of what its server says."""

from __future__ import annotations

FRAME_HEADER_BYTES = 9
GOAWAY = bytes.fromhex("0000080700000000007fffffff00000000")
"""Last stream 2^31-1, no error: open streams go on, new ones belong on a new connection (RFC 9113 section 6.8).

The client then connects anew, to wherever the stable address leads by now, and closes this connection when its last
stream is done. The server need not know: it goes on serving until nobody is left, so no call is ever lost to its end.
"""


class FrameBorders:
    """Follows the frames of one direction, to find where one ends and the next has not begun."""

    def __init__(self) -> None:
        self._header = b""
        self._payload_left = 0

    @property
    def between(self) -> bool:
        """Whether everything so far were whole frames."""
        return not self._header and not self._payload_left

    def follow(self, data: bytes) -> int:
        """Take `data` in; the offset in it of the first boundary behind its start, or -1 when there is none."""
        position, first = 0, -1
        while position < len(data):
            if self._payload_left:
                taken = min(self._payload_left, len(data) - position)
                self._payload_left -= taken
                position += taken
            else:
                taken = min(FRAME_HEADER_BYTES - len(self._header), len(data) - position)
                self._header += data[position : position + taken]
                position += taken
                if len(self._header) < FRAME_HEADER_BYTES:
                    break
                self._payload_left = int.from_bytes(self._header[:3], "big")
                self._header = b""
            if not self._payload_left and not self._header and first < 0:
                first = position
        return first
