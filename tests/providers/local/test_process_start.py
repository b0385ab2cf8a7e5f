"""What the system refuses to start, and what a process that it starts may leave behind."""

from __future__ import annotations

import asyncio
import resource
import sys

import pytest

from dodai.core.errors import DodaiError
from dodai.providers.local.host import open_host
from dodai.providers.local.host.state import StateFolder, read_known

from .conftest import spec, text_of


@pytest.mark.parametrize("value", ["x" * 200_000, "a\0b"])
async def test_service_that_the_system_does_not_start_is_refused_and_can_be_stopped(host, tree, serving, value):
    """Its environment is too large, or has a NUL: the host says so, forgets it, and goes on."""
    await serving("r1")
    with pytest.raises(DodaiError, match="`web` cannot be started: ") as refused:
        await host.start(spec(), "r2", str(tree), {"VALUE": value})
    assert refused.value.code.id == "DOD390"
    await asyncio.wait_for(host.stop("web", "r2"), 20)
    assert [one.release for one in (await host.status()).service("web").instances] == ["r1"]
    assert (await host.start(spec(), "r2", str(tree), {})).pid


@pytest.mark.skipif(sys.platform != "linux", reason="limits are read from /proc")
async def test_neither_host_nor_service_leaves_a_core_file(tmp_path, tree):
    """It would have every secret in it; whoever types the command may have asked for one of everything."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        host = await open_host(tmp_path / "env", "test", detached=False)
        started = await host.start(spec(), "r1", str(tree), {})
        for pid in (read_known(StateFolder(tmp_path / "env")).pid, started.pid):
            (line,) = (one for one in text_of(f"/proc/{pid}/limits").splitlines() if "core file size" in one)
            assert line.split()[4] == "0"
        await host.down()
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
