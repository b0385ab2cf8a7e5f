"""Several instances of a service behind its one address, and what each process of it may use."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import sys
from dataclasses import replace

import httpx2
import pytest
from tests.support.wait import until_async

from dodai.core.errors import DodaiError
from dodai.operations.ports import Limits, ProcessSpec, Readiness, ServiceSpec
from dodai.providers.local.host.log_reader import LogFolder

from .conftest import spec, text_of

LIMITED = """
import mmap, os, resource
print(resource.getrlimit(resource.RLIMIT_NOFILE), len(os.sched_getaffinity(0)), flush=True)
try:
    bytearray(256 * 1024**2)
except MemoryError:
    print("no more memory", flush=True)
"""


async def instances(host):
    return (await host.status()).service("web").instances


async def test_instances_take_turns_and_one_that_crashes_costs_no_request(host, serving):
    """Each gets traffic; while one is away the other has all of it, until it is back; both are stopped with the release."""
    await serving("r1", instances=2)
    both = await instances(host)
    assert [(one.live, one.state) for one in both] == [(True, "running")] * 2
    assert len({one.pid for one in both} | {one.address for one in both}) == 4
    address = "http://" + await host.address("web")
    async with httpx2.AsyncClient(timeout=30, headers={"connection": "close"}) as http:

        async def served():
            """Which instances answered 6 requests, by what their logs say."""
            for _ in range(6):
                assert (await http.get(address)).json()["release"] == "r1"
            await asyncio.sleep(0)
            return [text_of(one.log).count("served /\n") for one in both]

        await until_async(lambda: _all_positive(served))
        os.kill(both[0].pid, signal.SIGKILL)
        for _ in range(20):
            assert (await http.get(address)).json()["release"] == "r1"
    await until_async(lambda: _running(host, both[0].pid))
    assert (await host.probe("web", "r1", wait_s=20)).ready
    logs = LogFolder(host.folder.path, ("web",))
    assert {(line.part, line.release) for line in logs.read("web")} == {("web", "r1")}
    await host.stop("web", "r1")
    assert not await instances(host)


async def _all_positive(counts):
    return all(await counts())


async def _running(host, but):
    return all(one.state == "running" and one.pid not in (0, but) for one in await instances(host))


async def test_release_is_as_ready_as_the_least_ready_of_its_instances(host, tree, serving):
    """One that ended at boot is no half of a release: it is not switched to, and its last words are told."""
    await serving("r1", instances=2)
    once = "import os; os.mkdir('first') if not os.path.exists('first') else exit('there is one already')"
    code = f"{once}; exec(open('service_app.py').read())"
    picky = replace(spec(instances=2), command=(sys.executable, "-c", code))
    await host.start(picky, "r2", str(tree), {})
    probe = await host.probe("web", "r2", wait_s=60)
    assert (probe.state, probe.output[-1]) == ("exited", "there is one already")
    with pytest.raises(DodaiError) as caught:
        await host.switch("web", "r2")
    assert caught.value.code.id == "DOD393"
    assert (await host.status()).service("web").release == "r1"


async def test_process_gets_no_more_than_its_limits(host, tree):
    """Files, processors and memory, each as the process itself sees it."""
    limits = Limits(memory_bytes=128 * 1024**2, cpus=1, open_files=99)
    limited = ServiceSpec(name="web", command=(sys.executable, "-c", LIMITED), limits=limits)
    await host.start(limited, "r1", str(tree), {})
    probe = await host.probe("web", "r1", wait_s=60)
    assert probe.output == ("(99, 99) 1", "no more memory")


@pytest.mark.parametrize("user", ["no-such-account", "root", "nobody"])
async def test_account_that_is_not_there_or_has_too_many_rights_is_refused_and_nothing_is_started(host, tree, user):
    """Of an account that has every right, or those of the databases of this machine, nothing is kept away."""
    with pytest.raises(DodaiError) as caught:
        await host.start(replace(spec(), user=user), "r1", str(tree), {})
    assert (caught.value.code.id, caught.value.exit_code) == ("DOD386", 1)
    assert (await host.probe("web", "r1")).state == "absent"


@pytest.mark.skipif(os.getuid() != 0, reason="only root starts services as somebody else")
async def test_account_of_a_server_beside_it_is_refused(host, tree):
    """Whose data it could read, and which it could end."""
    beside = ProcessSpec(name="database", command=("/bin/sleep", "1000"), uid=1, gid=1)
    await host.run(beside)
    with pytest.raises(DodaiError) as caught:
        await host.start(replace(spec(), user=pwd.getpwuid(1).pw_name), "r1", str(tree), {})
    assert caught.value.code.id == "DOD386"


@pytest.mark.skipif(os.getuid() != 0, reason="only root starts services as somebody else")
async def test_command_that_asks_a_service_runs_as_its_account(host, tree):
    """It is code of the release like the service itself."""
    for folder in (tree, *tree.parents[:4]):
        folder.chmod(0o755)
    account = pwd.getpwuid(1)
    asks = Readiness(kind="command", command=("/bin/sh", "-c", 'echo "$(id -u) $(id -G) $HOME"; false'))
    said = ServiceSpec(name="web", command=("/bin/sleep", "1000"), listens=False, user=account.pw_name, ready=asks)
    await host.start(said, "r1", str(tree), {})
    probe = await host.probe("web", "r1")
    assert probe.detail == f"`/bin/sh` ended with 1: 1 {account.pw_gid} {account.pw_dir}"
