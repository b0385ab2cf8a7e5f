"""One release on a Fly app of 25 to 200 machines in six regions: requests, time and memory of the driver.

The machines are light ones of the stand-in, which runs in a process of its own and enforces the rates that Fly
publishes (429 for whoever is faster). Nothing is scaled: 200 machines take as long as they take, about six minutes.

nice .venv/bin/python benchmarks/fly_fleet_benchmark.py            # 25 50 100 200
nice .venv/bin/python benchmarks/fly_fleet_benchmark.py 25 50
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
import time
import tracemalloc
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.support.fly_world import TOKEN, fly_world, served  # noqa: E402

from dodai.operations.ports import ServiceSpec  # noqa: E402
from dodai.providers.fly.fly_compute import FlyCompute  # noqa: E402
from dodai.providers.fly.machines_api import fly  # noqa: E402
from dodai.vendor_api import Api, ApiToken  # noqa: E402

REGIONS = ("nrt", "ams", "iad", "sin", "syd", "gru")
SIZES = (25, 50, 100, 200)


def account(pipe: Any, count: int) -> None:
    """The stand-in: tells where it is, and in the end what was asked of it and how its machines are."""
    with fly_world(limited=True, boot_s=0.0) as world:
        image = world.image(ROOT, name="web", light=True)
        config = served(check={"type": "http", "path": "/readyz", "interval": "1s"})
        config["env"]["DODAI_RELEASE"] = "by-hand"
        world.fly.launch("fleet", image, config, tuple(REGIONS[n % 6] for n in range(count)))
        world.settle("fleet")
        pipe.send((world.fly.url, image))
        pipe.recv()
        asked = Counter(one.status for one in world.fly.exchanges)
        lists = sum(one.method == "GET" and one.path.endswith("/machines") for one in world.fly.exchanges)
        machines = [(one.region, one.config["metadata"].get("dodai_release")) for one in world.fly.machines("fleet")]
        pipe.send((dict(asked), lists, machines))


async def roll(url: str, image: str) -> tuple[float, float]:
    """A release over all of it: seconds, and the most memory that the driver held at once, in MiB."""
    with closing(Api(fly(), url, ApiToken("FLY_API_TOKEN", TOKEN))) as api:
        compute = FlyCompute(
            lambda: api, "production", {"web": "fleet"}, frozenset({"SECRET"}), proxy_lag_s=0.12
        ).under(1)
        before = (await compute.status()).services[0].release
        tracemalloc.start()
        began = time.monotonic()
        await compute.address("web")
        spec = ServiceSpec(name="web", command=())
        await compute.start(spec, "r1", image, {"SECRET": "s", "DODAI_RELEASE": "r1"}, settings="s")
        probe = await compute.probe("web", "r1", settings="s", wait_s=60)
        assert probe.ready, probe
        await compute.switch("web", "r1", settings="s")
        await compute.stop("web", before, 1.0)
        seconds, peak = time.monotonic() - began, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return seconds, peak / 2**20


def measured(count: int) -> dict[str, float]:
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=account, args=(there, count))
    process.start()
    url, image = here.recv()
    seconds, peak = asyncio.run(roll(url, image))
    here.send("done")
    asked, lists, machines = here.recv()
    process.join()
    assert Counter(region for region, _ in machines) == Counter(REGIONS[n % 6] for n in range(count)), machines
    assert {release for _, release in machines} == {"r1"}
    total = sum(asked.values())
    return {
        "machines": count,
        "requests": total,
        "for each": round(total / count, 1),
        "lists": lists,
        "429": asked.get(429, 0),
        "seconds": round(seconds),
        "seconds for each": round(seconds / count, 2),
        "peak MiB of the driver": round(peak, 1),
    }


def main() -> None:
    rows = []
    for size in map(int, sys.argv[1:] or SIZES):
        rows.append(measured(size))
        if len(rows) == 1:
            print(f"| {' | '.join(rows[0])} |\n| {' | '.join('---' for _ in rows[0])} |")
        print(f"| {' | '.join(map(str, rows[-1].values()))} |", flush=True)
    (ROOT / "benchmarks" / "fly_fleet.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
