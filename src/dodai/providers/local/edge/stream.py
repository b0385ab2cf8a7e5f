"""Bytes with a push-back and a clock: the two ends of an exchange."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct

from dodai.core.page import Text
from dodai.providers.local.codes import EDGE_REFUSED, EDGE_TIMEOUT
from dodai.providers.local.edge.request_checks import EdgeRefusedError, malformed

CHUNK = 64 * 1024
_BARE_LF = re.compile(rb"(?<!\r)\n")
_RST = struct.pack("ii", 1, 0)


class ClientGoneError(Exception):
    """The client closed its connection, or stopped reading."""


class Stream:
    """One connection; what was read too much is kept for the next reader."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.kept = bytearray()
        self.uses = 0  # of a kept connection

    @property
    def ended(self) -> bool:
        """Whether the other side has closed it, or said what nobody asked for."""
        unread = self.kept or self.reader._buffer  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public way
        return bool(unread) or self.reader.at_eof() or self.reader.exception() is not None or self.writer.is_closing()

    async def head(self, limit: int, idle_s: float, head_s: float) -> bytes:
        """The bytes up to and with the empty line; b"" when the client closes, or stays silent, between requests."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(idle_s):
                while not self.kept.lstrip(b"\r\n") and await self._more():
                    pass
        del self.kept[: len(self.kept) - len(self.kept.lstrip(b"\r\n"))]
        if not self.kept:
            return b""
        if b"\r\n\r\n" in self.kept:
            return await self._until_empty_line(limit)
        try:
            async with asyncio.timeout(head_s):
                return await self._until_empty_line(limit)
        except TimeoutError:
            raise EdgeRefusedError(408, EDGE_TIMEOUT, "slow_head") from None

    async def _until_empty_line(self, limit: int) -> bytes:
        while (end := self.kept.find(b"\r\n\r\n")) < 0 or end > limit:
            if len(self.kept) > limit:
                what = Text("The headers are too large", "ヘッダーが大きすぎます")
                raise EdgeRefusedError(431, EDGE_REFUSED, "headers_too_large", what)
            if _BARE_LF.search(self.kept):
                raise malformed(
                    "bare_line_break", "A header contains a bare line break", "ヘッダーに不正な改行があります"
                )
            if not await self._more():
                raise ClientGoneError
        head = bytes(self.kept[: end + 4])
        del self.kept[: end + 4]
        return head

    async def _more(self) -> bool:
        data = await self._read()
        self.kept += data
        return bool(data)

    async def read(self) -> bytes:
        """The next bytes, kept ones first; b"" at the end."""
        if self.kept:
            data = bytes(self.kept)
            self.kept.clear()
            return data
        return await self._read()

    async def _read(self) -> bytes:
        try:
            return await self.reader.read(CHUNK)
        except OSError:
            return b""

    async def gone(self) -> None:
        """Return when the other side has closed."""
        while len(self.kept) <= CHUNK:
            if not await self._more():
                return
        await asyncio.get_running_loop().create_future()  # a client that pipelines that much is not watched further

    async def write(self, data: bytes | None, within_s: float) -> None:
        """Hand `data` to the kernel; a reader slower than `within_s` for it raises ClientGoneError."""
        if not data:
            return
        try:
            self.writer.write(data)
            transport = self.writer.transport
            if not transport.get_write_buffer_size() and not transport.is_closing():
                return  # the kernel has it
            async with asyncio.timeout(within_s):
                await self.writer.drain()
        except (OSError, TimeoutError) as error:
            raise ClientGoneError from error

    def abort(self) -> None:
        """End the connection so that the other side can tell it from a proper end."""
        sock = self.writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        self.writer.transport.abort()

    async def close(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(2.0):
                self.writer.close()
                await self.writer.wait_closed()


async def relay(one: Stream, other: Stream, idle_s: float) -> None:
    """Pass bytes both ways until either side ends (an upgraded connection), or neither said anything for `idle_s`."""
    loop = asyncio.get_running_loop()
    heard_at = loop.time()

    async def pump(source: Stream, sink: Stream) -> None:
        nonlocal heard_at
        with contextlib.suppress(ClientGoneError):
            while data := await source.read():
                heard_at = loop.time()
                await sink.write(data, idle_s)

    tasks = [asyncio.ensure_future(pump(one, other)), asyncio.ensure_future(pump(other, one))]
    try:
        while not any(task.done() for task in tasks) and (left_s := heard_at + idle_s - loop.time()) > 0:
            await asyncio.wait(tasks, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
