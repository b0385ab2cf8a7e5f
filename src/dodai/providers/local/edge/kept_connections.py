"""Connections to services that an answer has left whole, for the next request that may be sent twice."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import h11

from dodai.providers.local.edge.request_checks import Headers
from dodai.providers.local.edge.stream import Stream

IDLE_S = 1.0
"""Shorter than servers wait for another request (gunicorn 2 s, uvicorn and node 5 s): they seldom end it first."""
MOST = 8
"""For each service; more at once are connections of their own."""


class StaleConnectionError(Exception):
    """The service ended a kept connection before it answered: the request is sent again on a new one."""


class KeptConnections:
    """By the port of a service, the newest first; all end with `forget`: traffic goes elsewhere, or a fault stands."""

    def __init__(self) -> None:
        self.round = 0
        self._kept: defaultdict[int, list[Stream]] = defaultdict(list)

    def take(self, port: int) -> Stream | None:
        """One that the service has not ended as far as is known."""
        while kept := self._kept[port]:
            stream = kept.pop()
            if not stream.ended:
                stream.uses += 1
                return stream
            stream.writer.close()
        return None

    def keep(self, port: int, stream: Stream, since: int) -> None:
        """Keep `stream`, taken or made in round `since`, for a second; else it ends."""
        if since != self.round or stream.ended or len(self._kept[port]) >= MOST:
            stream.writer.close()
            return
        self._kept[port].append(stream)
        asyncio.get_running_loop().call_later(IDLE_S, self._end, port, stream, stream.uses)

    def _end(self, port: int, stream: Stream, uses: int) -> None:
        if stream.uses == uses and stream in self._kept[port]:
            self._kept[port].remove(stream)
            stream.writer.close()

    def forget(self) -> None:
        """End all that wait; those in use end with their request."""
        self.round += 1
        for kept in self._kept.values():
            for stream in kept:
                stream.writer.close()
        self._kept.clear()


def may_be_sent_again(method: bytes, headers: Headers) -> bool:
    """Of a request without effects (RFC 9110 section 9.2.2), and without a body, which may be longer than it says."""
    has_more = any(name in (b"content-length", b"transfer-encoding", b"upgrade") for name, _ in headers)
    return method in (b"GET", b"HEAD") and not has_more


def is_left_whole(wire: h11.Connection) -> bool:
    """Whether another request may follow: both sides are done and want that, and nothing came behind the answer."""
    return wire.our_state is h11.DONE and wire.their_state is h11.DONE and wire.trailing_data == (b"", False)
