from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from tests.support.wait import until_async

from dodai.core.errors import DodaiError
from dodai.operations.ports import Fault
from dodai.providers.local.fault_proxy import HIGH_WATER_BYTES, FaultProxy


@pytest.fixture
async def proxy():
    """A proxy in front of a server that answers every line with the same line, and ends when its client does."""
    made = FaultProxy("echo")
    ended = []

    async def echo(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        ended.append(True)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    await made.listen()
    made.point(("127.0.0.1", server.sockets[0].getsockname()[1]), label="one")
    made.ended = ended
    yield made
    await made.close()
    server.close()


async def connect(proxy, bound_s=5.0):
    return await asyncio.wait_for(asyncio.open_connection("127.0.0.1", proxy.port), bound_s)


async def say(connection, line=b"hello\n", bound_s=5.0):
    reader, writer = connection
    writer.write(line)
    return await asyncio.wait_for(reader.readline(), bound_s)


async def test_bytes_pass_both_ways_and_the_end_of_each_side_reaches_the_other(proxy):
    """A half-closed connection keeps its other half."""
    reader, writer = await connect(proxy)
    writer.write(b"one\ntwo\n")
    writer.write_eof()
    assert await reader.read() == b"one\ntwo\n"
    writer.close()
    await until_async(lambda: proxy.ended and not proxy.open_connections("one"))


async def test_large_amounts_pass_whole_in_order(proxy):
    """Back-pressure holds the sender, nothing is lost."""
    reader, writer = await connect(proxy)
    data = b"".join(b"%07d\n" % number for number in range(200_000))

    async def send():
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    sending = asyncio.ensure_future(send())
    assert await asyncio.wait_for(reader.read(), 30) == data
    await sending
    writer.close()


@pytest.fixture
def pause_is_undone(monkeypatch):
    """asyncio as before Python 3.11.4: a pause inside `connection_made` is undone right after it (gh-103607)."""

    def add_reader(transport, fd, callback):
        transport._loop._add_reader(fd, callback)

    monkeypatch.setattr(asyncio.selector_events._SelectorTransport, "_add_reader", add_reader, raising=False)


@pytest.fixture
async def may_connect(proxy, monkeypatch):
    """The proxy connects to its target only when this is set."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    connect_now = loop.create_connection

    async def connect_later(*args, **kwargs):
        await event.wait()
        return await connect_now(*args, **kwargs)

    monkeypatch.setattr(loop, "create_connection", connect_later)
    return event


@pytest.fixture
async def client(proxy):
    """A socket that is connected to the proxy, while the proxy's target is not."""
    with socket.create_connection(("127.0.0.1", proxy.port)) as made:
        made.setblocking(False)
        yield made


async def read(client, size):
    got = bytearray()
    while len(got) < size and (data := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 2**20), 10)):
        got += data
    return bytes(got)


@pytest.mark.usefixtures("pause_is_undone")
async def test_bytes_that_arrive_before_the_target_is_connected_are_kept(proxy, client, may_connect):
    """On the distribution's Python (Debian 12: 3.11.2) every request was lost here."""
    client.sendall(b"at once\n")
    client.shutdown(socket.SHUT_WR)
    await until_async(lambda: proxy._links and next(iter(proxy._links)).client.ended)
    may_connect.set()
    assert await read(client, 100) == b"at once\n"


@pytest.mark.usefixtures("pause_is_undone")
async def test_megabytes_before_the_target_is_connected_arrive_in_order(proxy, client, may_connect):
    """What is kept is bounded: the sender is paused, then goes on."""
    data = b"".join(b"%07d\n" % number for number in range(1_000_000))
    sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(client, data))
    await until_async(lambda: proxy._links and len(next(iter(proxy._links)).target._early) > HIGH_WATER_BYTES)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(next(iter(proxy._links)).target._early) < 2 * HIGH_WATER_BYTES
    may_connect.set()
    assert await read(client, len(data)) == data
    await sending


async def test_a_switch_leaves_open_connections_where_they_are(proxy):
    """New ones go to the new target; the count per target tells when the old one is idle."""
    old = await connect(proxy)
    assert await say(old) == b"hello\n"

    async def shout(reader, writer):
        while line := await reader.readline():
            writer.write(line.upper())
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    proxy.point(("127.0.0.1", server.sockets[0].getsockname()[1]), label="two")
    new = await connect(proxy)
    assert await say(new) == b"HELLO\n"
    assert await say(old) == b"hello\n"
    assert not await proxy.drained("one", 0.05)
    old[1].close()
    assert await proxy.drained("one", 5)
    assert proxy.open_connections("two") == 1
    new[1].close()
    server.close()


async def test_without_a_target_a_connection_is_reset(proxy):
    """Nobody waits for a service that was never switched to."""
    proxy.point()
    reader, writer = await connect(proxy)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_refuse_refuses_new_connections_and_resets_open_ones(proxy):
    """As a crashed dependency does; afterwards the same port serves again."""
    reader, writer = await connect(proxy)
    port = proxy.port
    await proxy.stand(Fault(mode="refuse"))
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(reader.read(), 5)
    with pytest.raises(ConnectionRefusedError):
        await connect(proxy)
    await proxy.stand(Fault())
    assert proxy.port == port
    again = await connect(proxy)
    assert await say(again) == b"hello\n"
    again[1].close()
    writer.close()


async def test_blackhole_answers_nothing_not_even_the_connection(proxy):
    """As a dead machine: the caller's own connect timeout has to end it. Open connections freeze, and thaw."""
    open_one = await connect(proxy)
    assert await say(open_one) == b"hello\n"
    await proxy.stand(Fault(mode="blackhole"))
    with pytest.raises(TimeoutError):
        await connect(proxy, 0.3)
    with pytest.raises(TimeoutError):
        await say(open_one, b"frozen\n", 0.2)
    await proxy.stand(Fault())
    assert await asyncio.wait_for(open_one[0].readline(), 5) == b"frozen\n"
    fresh = await connect(proxy)
    assert await say(fresh) == b"hello\n"
    fresh[1].close()
    open_one[1].close()


async def test_half_open_accepts_and_never_answers(proxy):
    """The connect timeout does not help here; the deadline of the call has to."""
    await proxy.stand(Fault(mode="half_open"))
    connection = await connect(proxy)
    with pytest.raises(TimeoutError):
        await say(connection, bound_s=0.2)
    await proxy.stand(Fault())
    assert await asyncio.wait_for(connection[0].readline(), 5) == b"hello\n"
    connection[1].close()


async def test_latency_delays_the_answer_but_not_the_next_one_behind_it_again(proxy):
    """Each answer comes `latency_s` later; ten sent together do not add up to ten times that."""
    await proxy.stand(Fault(mode="latency", latency_s=0.3))
    reader, writer = await connect(proxy)
    loop = asyncio.get_running_loop()
    began = loop.time()
    writer.write(b"a\n" * 10)
    await reader.readline()
    assert loop.time() - began >= 0.3
    for _ in range(9):
        await asyncio.wait_for(reader.readline(), 5)
    writer.close()


async def test_reset_ends_the_answer_in_the_middle(proxy):
    """Exactly `after_bytes` arrive, then the connection is reset."""
    await proxy.stand(Fault(mode="reset", after_bytes=3))
    reader, writer = await connect(proxy)
    writer.write(b"hello\n")
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(reader.readexactly(100), 5)
    writer.close()


async def test_half_close_ends_the_answer_with_a_proper_end(proxy):
    """The client reads a truncated answer that looks complete; only its length can tell."""
    await proxy.stand(Fault(mode="half_close", after_bytes=3))
    reader, writer = await connect(proxy)
    writer.write(b"hello\n")
    assert await asyncio.wait_for(reader.read(), 5) == b"hel"
    writer.write(b"still open\n")
    await writer.drain()
    writer.close()


async def test_bandwidth_limits_the_flow(proxy):
    """10 kB at 20 kB/s take at least their time, and arrive whole."""
    await proxy.stand(Fault(mode="bandwidth", bytes_per_s=20_000))
    reader, writer = await connect(proxy)
    loop = asyncio.get_running_loop()
    began = loop.time()
    writer.write(b"x" * 9_999 + b"\n")
    assert len(await asyncio.wait_for(reader.readexactly(10_000), 20)) == 10_000
    assert loop.time() - began >= 0.4
    writer.close()


async def test_taking_a_fault_away_keeps_the_order_of_what_waited(proxy):
    """Bytes held by a fault come before those sent after it."""
    await proxy.stand(Fault(mode="half_open"))
    reader, writer = await connect(proxy)
    writer.write(b"1\n")
    await asyncio.sleep(0)
    await proxy.stand(Fault())
    writer.write(b"2\n")
    assert [await asyncio.wait_for(reader.readline(), 5) for _ in range(2)] == [b"1\n", b"2\n"]
    writer.close()


async def test_two_proxies_cannot_have_one_port(proxy):
    """The second says who holds it."""
    with pytest.raises(DodaiError) as caught:
        await FaultProxy("other").listen(proxy.port)
    assert caught.value.code.id == "DOD395"
