"""One stable TCP address in front of a target that changes, and the faults that can stand in between."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Literal

from dodai.operations.ports import Fault
from dodai.providers.local.http2_end import GOAWAY, FrameBorders
from dodai.providers.local.loopback import listening_socket

RST = struct.pack("ii", 1, 0)
HIGH_WATER_BYTES = 256 * 1024
FROZEN = ("blackhole", "half_open")
Target = tuple[str, int] | str


class FaultProxy:
    """A listener on 127.0.0.1 that passes bytes to wherever it points when a connection arrives.

    Connections keep the target they began with, so pointing elsewhere is a switch without a loss. `label` names the
    target, or the several that take turns, and `open_connections(label)` counts what is still under way to it.
    """

    def __init__(self, name: str, *, http2: bool = False) -> None:
        self.name = name
        self.http2 = http2
        self.port = 0
        self.fault = Fault()
        self.fault_changed = asyncio.Event()
        self.targets: tuple[Target, ...] = ()
        self.label = ""
        self._turn = 0
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._deaf: list[socket.socket] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}" if self.port else ""

    async def listen(self, port: int = 0) -> int:
        """The port it listens on; DOD395 when it is taken."""
        if self.port == 0:
            self.port = await self._serve(port)
        return self.port

    def point(self, *targets: Target, label: str = "") -> None:
        """Send new connections to `targets` in turn: (host, port), the path of a unix socket; none refuses them."""
        self.targets, self.label = targets, label

    def in_turn(self) -> tuple[Target, ...]:
        """All targets, the next one first: whoever does not take a connection leaves it to the one after it."""
        self._turn += 1
        first = self._turn % max(1, len(self.targets))
        return self.targets[first:] + self.targets[:first]

    async def stand(self, fault: Fault) -> None:
        """Make `fault` what happens from now on, to open connections too."""
        if fault == self.fault:
            return
        self.fault = fault
        if fault.mode == "refuse":
            self._close_listener()
            self._reset_all()
        elif fault.mode == "blackhole":
            self._close_listener()
            self._deaf = _deaf_listener(self.port)
        elif self._server is None:
            self._close_listener()
            await self._serve(self.port)
        self.fault_changed.set()
        self.fault_changed = asyncio.Event()

    def move_on(self, label: str, *, but: bool = False) -> None:
        """Ask the clients of target `label` (or, with `but`, of all others) to connect anew.

        HTTP/2 only: in HTTP/1.1 only the server itself can end a connection without a loss.
        """
        if self.http2:
            for link in self._links:
                if (link.label == label) != but:
                    link.target.say_goodbye()

    def open_connections(self, label: str) -> int:
        return sum(1 for link in self._links if link.label == label and not link.answered)

    async def drained(self, label: str, bound_s: float) -> bool:
        """Whether no connection to `label` is under way any more, waiting at most `bound_s`."""
        end = asyncio.get_running_loop().time() + bound_s
        while self.open_connections(label):
            if asyncio.get_running_loop().time() >= end:
                return False
            await asyncio.sleep(0.01)
        return True

    async def close(self) -> None:
        self._close_listener()
        self._reset_all()

    async def _serve(self, port: int) -> int:
        sock = listening_socket(port, self.name)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, sock=sock, backlog=512)
        return int(sock.getsockname()[1])

    def _accept(self) -> asyncio.Protocol:
        link = _Link(self)
        self._links.add(link)
        return link.client

    def _close_listener(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for sock in self._deaf:
            sock.close()
        self._deaf = []

    def _reset_all(self) -> None:
        for link in list(self._links):
            link.reset()

    def forget(self, link: _Link) -> None:
        self._links.discard(link)


class _Link:
    """One connection through the proxy: the client's end and the target's."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self.label = proxy.label
        self.client = _End(self, self.connect)
        self.target = _End(self, lambda: None)
        self.client.peer, self.target.peer = self.target, self.client
        self._connecting: asyncio.Task[None] | None = None

    @property
    def answered(self) -> bool:
        """Nothing is expected from the target any more."""
        return self.target.ended

    def connect(self) -> None:
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        for target in self.proxy.in_turn():
            with contextlib.suppress(OSError):
                await self._connect_to(target)
                return
        self.reset()

    async def _connect_to(self, target: Target) -> None:
        loop = asyncio.get_running_loop()
        if isinstance(target, str):
            await loop.create_unix_connection(lambda: self.target, target)
        else:
            await loop.create_connection(lambda: self.target, *target)

    def reset(self) -> None:
        """End both sides the hard way, as a crashed peer would."""
        if self._connecting is not None and self._connecting is not asyncio.current_task():
            self._connecting.cancel()
        for end in (self.client, self.target):
            end.reset()
        self.proxy.forget(self)

    def ended(self) -> None:
        """Both directions said they are over."""
        if self.client.flushed and self.target.flushed:
            for end in (self.client, self.target):
                end.close()
            self.proxy.forget(self)


class _End(asyncio.Protocol):
    """One side of a link; what it receives goes to its peer, through whatever fault stands between."""

    peer: _End

    def __init__(self, link: _Link, made: Callable[[], None]) -> None:
        self.link = link
        self.made = made
        self.transport: asyncio.Transport | None = None
        self.ended = False  # this side sent its FIN
        self.flushed = False  # and everything before it was passed on
        self.sent_bytes = 0  # passed on to the peer so far
        self._connected = False  # once; `transport` is None again when the connection is over
        self._early = bytearray()  # to be written as soon as it is connected
        self._early_end = False
        self._queue: deque[tuple[float, bytes]] = deque()
        self._queued_bytes = 0
        self._worker: asyncio.Task[None] | None = None
        self._borders = FrameBorders()
        self._spoke = False  # the first frame has to be the server's own SETTINGS
        self._goodbye: Literal["unsaid", "due", "said"] = "unsaid"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - narrows what asyncio hands over
        self.transport = transport
        self._connected = True
        self.made()
        if self._early:
            self.peer.resume()
            transport.write(bytes(self._early))  # may pause the peer again
            self._early.clear()
        if self._early_end:
            self.write_end()

    def data_received(self, data: bytes) -> None:
        if self is self.link.target and self.link.proxy.http2:
            data = self._with_goodbye(data)
        self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        if self._worker is None and self.link.proxy.fault.mode == "pass":
            self.peer.write(data)
            self.sent_bytes += len(data)
        else:
            self._enqueue(data)

    def say_goodbye(self) -> None:
        """Put a GOAWAY into what this side says, now or at the end of the frame that is under way."""
        if self._goodbye == "unsaid" and not self.ended:
            self._goodbye = "due"
            if self._borders.between and self._spoke:
                self._goodbye = "said"
                self._pass_on(GOAWAY)

    def _with_goodbye(self, data: bytes) -> bytes:
        boundary = self._borders.follow(data)
        self._spoke = True
        if self._goodbye != "due" or boundary < 0:
            return data
        self._goodbye = "said"
        return data[:boundary] + GOAWAY + data[boundary:]

    def eof_received(self) -> bool:
        self.ended = True
        if self._worker is None and self.link.proxy.fault.mode == "pass":
            self._pass_end()
        else:
            self._enqueue(b"")
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.transport = None
        if self._worker is not None:
            self._worker.cancel()
        if not (self.ended and self.flushed):
            self.link.reset()
        else:
            self.peer.close()
            self.link.proxy.forget(self.link)

    def pause_writing(self) -> None:
        self.peer.pause()

    def resume_writing(self) -> None:
        self.peer.resume()

    def write(self, data: bytes) -> None:
        """Write `data`, or keep it until the connection is made; the peer is paused when that is a lot.

        Pausing the peer in its `connection_made` instead would lose bytes: Python before 3.11.4 starts to read right
        after it, paused or not (cpython gh-103607).
        """
        if not self._connected:
            self._early += data
            if len(self._early) > HIGH_WATER_BYTES:
                self.peer.pause()
        elif self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def write_end(self) -> None:
        """Send the FIN, or do so once the connection is made."""
        if not self._connected:
            self._early_end = True
        elif self.transport is not None and not self.transport.is_closing():
            with contextlib.suppress(OSError):
                self.transport.write_eof()

    def pause(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def reset(self) -> None:
        if self._worker is not None and self._worker is not _current_task():
            self._worker.cancel()
        if self.transport is None:
            return
        sock = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
        self.transport.abort()

    def _pass_end(self) -> None:
        self.flushed = True
        self.peer.write_end()
        self.link.ended()

    def _enqueue(self, data: bytes) -> None:
        self._queue.append((asyncio.get_running_loop().time(), data))
        self._queued_bytes += len(data)
        if self._queued_bytes > HIGH_WATER_BYTES:
            self.pause()
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._shape())

    async def _shape(self) -> None:
        try:
            while self._queue:
                arrived, data = self._queue[0]
                await self._hold(arrived)
                self._queue.popleft()
                self._queued_bytes -= len(data)
                if self._queued_bytes <= HIGH_WATER_BYTES:
                    self.resume()
                if not await self._deliver(data):
                    return
        finally:
            self._worker = None

    async def _hold(self, arrived: float) -> None:
        """Wait as the fault demands before anything is passed on."""
        proxy = self.link.proxy
        while True:
            fault, changed = proxy.fault, proxy.fault_changed
            if fault.mode in FROZEN:
                wait_s = None
            elif fault.mode == "latency" and self is self.link.target:
                wait_s = arrived + fault.latency_s - asyncio.get_running_loop().time()
            else:
                return
            if wait_s is not None and wait_s <= 0:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), wait_s)

    async def _deliver(self, data: bytes) -> bool:
        """Pass `data` on as the fault allows; False when the connection is over."""
        fault = self.link.proxy.fault
        answering = self is self.link.target
        if answering and fault.mode in ("reset", "half_close") and self.sent_bytes + len(data) >= fault.after_bytes:
            self.peer.write(data[: max(0, fault.after_bytes - self.sent_bytes)])
            if fault.mode == "reset":
                self.link.reset()
            else:
                self._pass_end()
            return False
        if not data:
            self._pass_end()
            return False
        if fault.mode != "bandwidth" or fault.bytes_per_s <= 0:
            self.peer.write(data)
        else:
            step = max(1, fault.bytes_per_s // 20)
            for start in range(0, len(data), step):
                self.peer.write(data[start : start + step])
                await asyncio.sleep(min(step, len(data) - start) / fault.bytes_per_s)
        self.sent_bytes += len(data)
        return True


def _current_task() -> asyncio.Task[None] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _deaf_listener(port: int) -> list[socket.socket]:
    """A listener whose queue is full: the kernel drops further SYNs, as a dead machine would (Linux)."""
    sock = listening_socket(port, "blackhole", backlog=0)
    fillers = []
    for _ in range(2):
        filler = socket.socket()
        filler.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            filler.connect(("127.0.0.1", port))
        fillers.append(filler)
    return [sock, *fillers]
