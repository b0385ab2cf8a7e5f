from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from dodai.core.errors import DodaiError
from dodai.engine.loopback_port import SERVER_PORTS
from dodai.providers.local.loopback import free_port, holder, listening_socket


async def test_accepted_connections_send_small_answers_at_once():
    """Without TCP_NODELAY every answer in two pieces waits 40 ms for an acknowledgement."""
    seen = asyncio.get_running_loop().create_future()

    async def accepted(_, writer):
        seen.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    server = await asyncio.start_server(accepted, sock=listening_socket(0, "test"))
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert await seen
    writer.close()
    server.close()


def test_a_taken_port_is_refused_with_the_process_that_holds_it():
    """The fix is to stop that one, so it is named."""
    with listening_socket(0, "first") as sock:
        port = sock.getsockname()[1]
        with pytest.raises(DodaiError) as caught:
            listening_socket(port, "second")
        assert caught.value.code.id == "DOD395"
        assert f"pid {os.getpid()}" in caught.value.message
        assert f"pid {os.getpid()}" in holder(port)
    assert holder(port) == ""


def test_a_port_just_closed_can_be_taken_again():
    """A restart does not wait for connections in TIME_WAIT."""
    with listening_socket(0, "first") as sock:
        port = sock.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            sock.setblocking(True)
            accepted, _ = sock.accept()
            accepted.close()
            assert client.recv(1) == b""
    listening_socket(port, "again").close()


def test_free_ports_are_outside_the_range_of_outgoing_connections():
    """A port picked now must not be some client's own a moment later."""
    ports = {free_port() for _ in range(50)}
    assert all(port in SERVER_PORTS for port in ports)
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert SERVER_PORTS.stop <= first or SERVER_PORTS.start > last


def test_when_every_port_is_taken_it_says_so():
    """Bounded, with a code."""
    with pytest.raises(DodaiError) as caught:
        free_port(taken=SERVER_PORTS)
    assert caught.value.code.id == "DOD395"
