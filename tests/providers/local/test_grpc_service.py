from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import grpc
import grpc.aio
import pytest
from tests.support.wait import until_async

from dodai.operations.ports import Fault, Readiness, ServiceSpec

APP = Path(__file__).parent
COMMAND = (sys.executable, "grpc_app.py")


@pytest.fixture
def start(host):
    async def start(release):
        spec = ServiceSpec(name="backend", command=COMMAND, protocol="grpc", ready=Readiness(kind="grpc", path=""))
        await host.start(spec, release, str(APP), {})
        return await host.probe("backend", release, wait_s=20)

    return start


async def test_a_grpc_service_is_ready_when_its_health_service_says_so_and_tells_its_release(start):
    """`grpc.health.v1`, with the release from the metadata."""
    probe = await start("r1")
    assert (probe.state, probe.version) == ("ready", "r1")


async def test_a_grpc_service_that_does_not_serve_is_not_ready(host):
    """NOT_SERVING is an answer; so is a service name nobody knows."""
    sad = Readiness(kind="grpc", path="test.Sad")
    spec = ServiceSpec(name="backend", command=COMMAND, protocol="grpc", ready=sad)
    await host.start(spec, "r1", str(APP), {})

    async def answered():
        return (await host.probe("backend", "r1", wait_s=0.2)).state == "not_ready"

    for _ in range(50):
        if await answered():
            return
    pytest.fail("it was never heard to say NOT_SERVING")


async def nobody_on(host, release):
    instances = (await host.status()).service("backend").instances
    return all(one.connections == 0 for one in instances if one.release == release)


async def test_swapping_grpc_releases_under_load_loses_no_call(host, start):
    """Long-lived channels move to the new release at the switch, before the old one hears of its end; no call fails."""
    assert (await start("r1")).ready
    await host.switch("backend", "r1")
    answers, failures, stop = [], [], asyncio.Event()

    async def call(channel):
        echo = channel.unary_unary("/test.Echo/Echo")
        while not stop.is_set():
            try:
                answers.append(await echo(b"from ", timeout=20))
            except grpc.aio.AioRpcError as error:
                failures.append((error.code(), error.details()))

    channels = [grpc.aio.insecure_channel(await host.address("backend")) for _ in range(3)]
    callers = [asyncio.ensure_future(call(channel)) for channel in channels for _ in range(2)]
    for old, new in (("r1", "r2"), ("r2", "r1")):
        assert (await start(new)).ready
        seen = len(answers)
        await until_async(lambda seen=seen: len(answers) >= seen + 20)
        await host.switch("backend", new)
        await until_async(lambda new=new: answers[-6:] == [b"from " + new.encode()] * 6)
        await until_async(lambda old=old: nobody_on(host, old))
        await host.stop("backend", old)
    stop.set()
    await asyncio.gather(*callers)
    for channel in channels:
        await channel.close()
    assert not failures
    assert set(answers) == {b"from r1", b"from r2"}


async def test_a_refused_backend_is_unavailable_and_serves_again_afterwards(host, start):
    """The drill of a lost connection: callers fail fast, and recover on their own."""
    assert (await start("r1")).ready
    await host.switch("backend", "r1")
    options = [("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 100)]
    async with grpc.aio.insecure_channel(await host.address("backend"), options=options) as channel:
        echo = channel.unary_unary("/test.Echo/Echo")
        assert await echo(b"", timeout=10) == b"r1"
        await host.fault("backend", Fault(mode="refuse"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo(b"", timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await host.fault("backend", Fault())
        assert await echo(b"", timeout=10, wait_for_ready=True) == b"r1"
