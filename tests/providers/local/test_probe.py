from __future__ import annotations

import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dodai.operations.ports import Readiness, ServiceSpec

APP = Path(__file__).parent
PATIENCE_S = 60.0
"""Far beyond what a wrong question needs: a test in which it is waited out is a failure, whatever the clock says."""


@pytest.fixture
def asked(host):
    """A function that starts a service and asks it until it is ready or the answer is final."""

    async def ask(mode, ready, *, command=(sys.executable, "misasked_app.py"), release="r1", wait_s=PATIENCE_S):
        spec = ServiceSpec(name="web", command=command, env={"MODE": mode, "OWN_PORT": ":{port}"}, ready=ready)
        await host.start(spec, release, str(APP), {"GIVEN": "yes"})
        return await host.probe("web", release, wait_s=wait_s, consecutive=3)

    return ask


@pytest.mark.parametrize(
    ("mode", "detail", "fix", "instead"),
    [
        ("missing", "it answers, but has no `/readyz` (404)", '`path = "/"`', {"path": "/"}),
        ("missing", "it answers, but has no `/readyz` (404)", '`kind = "tcp"`', {"kind": "tcp"}),
        ("slash", "`/readyz` answered 308, which leads to `/readyz/`", '`path = "/readyz/"`', {"path": "/readyz/"}),
        ("https", "`/readyz` answered 301, which leads to `https://", '`scheme = "https"`', {"scheme": "https"}),
        ("hosts", "`/readyz` answered 400 to a request for the host", "`ALLOWED_HOSTS`", {"host": "shop.example.com"}),
        ("sign-in", "which leads to `/login?next=/readyz`", "without a sign-in", {"kind": "tcp"}),
    ],
)
async def test_a_wrong_question_is_final_and_its_fix_works(asked, mode, detail, fix, instead):
    """Nobody waits out the timeout for a path that is not there; the key that the answer names makes it ready."""
    probe = await asked(mode, Readiness())
    assert (probe.state, probe.output) == ("not_served", ())
    assert detail in probe.detail
    assert fix in probe.fix
    assert (await asked(mode, replace(Readiness(), **instead), release="r2")).state == "ready"


async def test_routes_that_are_still_being_loaded_are_waited_for(asked):
    """A few 404 at the start are no wrong question."""
    assert (await asked("late", Readiness())).state == "ready"


async def test_a_service_that_only_listens_is_ready_by_tcp(asked):
    """Whatever it speaks."""
    listen = "import os, socket, time; s = socket.create_server(('127.0.0.1', int(os.environ['PORT']))); time.sleep(60)"
    probe = await asked("", Readiness(kind="tcp"), command=(sys.executable, "-c", listen))
    assert probe.state == "ready"


async def test_tcp_says_that_nothing_listens(asked):
    """A port that is never opened is no answer."""
    command = (sys.executable, "-c", "import time; time.sleep(60)")
    probe = await asked("", Readiness(kind="tcp"), command=command, wait_s=0.3)
    assert (probe.state, "nothing listens" in probe.detail) == ("no_answer", True)


async def test_a_command_says_whether_it_is_ready_with_what_the_service_is_told(asked):
    """It has the service's port, variables and folder; the last line that it writes is the reason."""
    own = "import os, pathlib; e = os.environ; assert e['OWN_PORT'] == ':' + e['PORT'] and e['GIVEN'] == 'yes'; "
    own += "assert pathlib.Path('misasked_app.py').exists(); "
    good = Readiness(kind="command", command=(sys.executable, "-c", own))
    assert (await asked("", good)).state == "ready"
    bad = Readiness(kind="command", command=(sys.executable, "-c", own + "print('warming up'); raise SystemExit(3)"))
    probe = await asked("", bad, release="r2", wait_s=0.1)
    assert (probe.state, probe.detail) == ("not_ready", f"`{sys.executable}` ended with 3: warming up")


async def test_a_command_that_does_not_exist_is_final(asked):
    """No waiting makes it appear."""
    probe = await asked("", Readiness(kind="command", command=("no-such-program",)))
    assert (probe.state, probe.detail) == (
        "not_served",
        "`no-such-program` cannot be started: No such file or directory",
    )


async def test_a_grpc_server_without_a_health_service_is_told_so(host):
    """UNIMPLEMENTED is final, and names the library's service or `tcp`."""
    serve = (
        "import grpc, os; from concurrent.futures import ThreadPoolExecutor as T; s = grpc.server(T()); "
        "s.add_insecure_port('127.0.0.1:' + os.environ['PORT']); s.start(); s.wait_for_termination()"
    )
    spec = ServiceSpec(
        name="backend", command=(sys.executable, "-c", serve), protocol="grpc", ready=Readiness(kind="grpc", path="")
    )
    await host.start(spec, "r1", str(APP), {})
    probe = await host.probe("backend", "r1", wait_s=PATIENCE_S)
    assert (probe.state, probe.detail) == ("not_served", "it answers, but does not serve `grpc.health.v1`")
    assert '`kind = "tcp"` in `[service.backend.health]`' in probe.fix


async def test_every_instance_gets_its_own_port_in_its_own_variable(host):
    """`{port}` in a variable: an application that listens on `:$OWN_PORT` needs no change."""
    listen = "import os, socket, time; port = int(os.environ['OWN_PORT'][1:]); "
    listen += "s = socket.create_server(('127.0.0.1', port)); time.sleep(60)"
    spec = ServiceSpec(
        name="web", command=(sys.executable, "-c", listen), env={"OWN_PORT": ":{port}"}, ready=Readiness(kind="tcp")
    )
    await host.start(spec, "r1", str(APP), {})
    assert (await host.probe("web", "r1", wait_s=PATIENCE_S)).ready
    [instance] = (await host.status()).service("web").instances
    name, _, port = instance.address.partition(":")
    socket.create_connection((name, int(port))).close()
