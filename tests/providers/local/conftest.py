from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from dodai.operations.ports import ServiceSpec
from dodai.providers.local.host import client, open_host
from dodai.providers.local.host.state import StateFolder

APP = Path(__file__).with_name("service_app.py")


def start_time(pid):
    """The start time of a living process that is not a zombie; None when there is none."""
    try:
        rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if rest[0] == "Z" else rest[19]


def parent_of(pid):
    return int(text_of(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])


def text_of(path):
    return Path(path).read_text(errors="replace")


def marked(folder):
    """Process ids of everything the host of `folder` started."""
    wanted = b"DODAI_HOST=" + StateFolder(Path(folder)).mark.encode()
    found = set()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in entry.read_bytes().split(b"\0"):
                found.add(int(entry.parent.name))
    return found


def spec(name="web", **more):
    return ServiceSpec(name=name, command=(sys.executable, "service_app.py"), **more)


@pytest.fixture
def tree(tmp_path):
    """A release's folder with the service in it."""
    folder = tmp_path / "tree"
    folder.mkdir()
    shutil.copy(APP, folder / "service_app.py")
    return folder


@pytest.fixture(autouse=True)
async def _nothing_left(tmp_path):
    """A test that fails in its middle leaves no host behind either."""
    yield
    await client(tmp_path / "env", "test").down()


@pytest.fixture
async def host(tmp_path):
    """A host bound to this test; nothing of it may be left afterwards."""
    folder = tmp_path / "env"
    found = await open_host(folder, "test", detached=False)
    yield found
    await found.down()
    left = marked(folder)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not left, f"processes were left behind: {left}"


@pytest.fixture
async def serving(host, tree):
    """A function that starts a release, waits until it is ready and switches to it."""

    async def serve(release="r1", **more):
        await host.start(spec(**more), release, str(tree), {})
        probe = await host.probe("web", release, wait_s=10)
        assert probe.ready, probe
        await host.switch("web", release)

    return serve
