"""What crashes or hangs is started again, without giving up, and told."""

from __future__ import annotations

import asyncio
import json

import httpx2
from tests.support.wait import until_async

from dodai.operations.ports import Liveness, ServiceProbe
from dodai.providers.local.host.upkeep import Backoff, until_hung


async def get(url):
    async with httpx2.AsyncClient(timeout=10) as http:
        return await http.get(url)


async def test_service_that_crashes_again_and_again_is_told_and_serves_once_its_cause_is_gone(host, tree, serving):
    """Longer and longer apart, without ever giving up: a dependency that was away is back without a person."""
    await serving("r1")
    (tree / "exit-at-boot").touch()
    await host.signal("web", "KILL")
    await until_async(lambda: looping(host))
    instance = (await host.status()).service("web").instances[0]
    assert "the last time because it ended with code 3" in instance.trouble
    assert instance.restarts >= 4
    (tree / "exit-at-boot").unlink()
    assert (await host.probe("web", "r1", wait_s=30)).ready
    events = [json.loads(line) for line in (host.folder.path / "logs" / "events.log").read_text().splitlines()]
    assert {(one["name"], one["service"], one["release"]) for one in events} == {("service_restarted", "web", "r1")}
    assert len(events) > 4
    assert events[-1]["reason"] == "it ended with code 3"


async def looping(host):
    return (await host.status()).service("web").instances[0].state == "crash_loop"


async def test_service_that_hangs_is_started_again_and_one_that_is_only_not_ready_is_not(host, tree, serving):
    """A stopped process answers nobody: it is replaced; readiness and a question nobody understands replace nothing."""
    await serving("r1", liveness=Liveness(path="/livez", interval_s=0.2, failures=2))
    first = (await host.status()).service("web").instances[0].pid
    (tree / "not-ready").touch()
    assert (await host.probe("web", "r1")).state == "not_ready"
    await asyncio.sleep(1.0)
    assert (await host.status()).service("web").instances[0].pid == first
    (tree / "not-ready").unlink()
    await host.signal("web", "STOP")
    await until_async(lambda: replaced(host, first))
    assert (await host.probe("web", "r1", wait_s=20)).ready
    instance = (await host.status()).service("web").instances[0]
    assert "it runs and does not work: no answer from `/livez`" in instance.trouble
    assert (await get("http://" + await host.address("web"))).status_code == 200


async def test_process_that_takes_long_to_start_again_is_not_called_hung():
    """Nothing is held against it before its first answer, as long as it may take to become ready; afterwards it is."""
    asked = []

    async def ask():
        asked.append(len(asked))
        return ServiceProbe(state="ready" if len(asked) == 6 else "no_answer")

    liveness = Liveness(path="/livez", interval_s=0.0, failures=2)
    assert "2 times in a row" in await until_hung(liveness, ask, boot_s=60)
    assert len(asked) == 8
    assert "2 times in a row" in await until_hung(liveness, ask, boot_s=0)
    assert len(asked) == 10


async def replaced(host, pid):
    return (await host.status()).service("web").instances[0].pid not in (0, pid)


def test_pauses_between_starts_double_up_to_a_bound_and_begin_anew_after_a_stable_run():
    """Quick at first, never more than ten seconds, and what ran for long is at the beginning of a row again."""
    backoff = Backoff()
    pauses = [backoff.pause_s(0.5) for _ in range(12)]
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert max(pauses) == pauses[-1] == 10.0
    assert backoff.looping
    assert (backoff.pause_s(31.0), backoff.looping) == (0.1, False)
