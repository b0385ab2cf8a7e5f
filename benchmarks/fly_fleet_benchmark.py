"""One release on a Fly app of 25 to 200 machines in six regions: requests, time and memory of the driver.

The machines are light ones of the stand-in. The driver keeps the rates that Fly publishes, made 20 times as fast, so
that the run takes a minute; the time column is what was measured, times 20.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import tracemalloc
from contextlib import closing
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.support.fly_world import TOKEN, fly_world, served  # noqa: E402

from dodai.operations.ports import ServiceSpec  # noqa: E402
from dodai.providers.fly.fly_compute import FlyCompute  # noqa: E402
from dodai.providers.fly.machines_api import fly  # noqa: E402
from dodai.vendor_api import Api, ApiToken, Rate  # noqa: E402

SPEED = 20
REGIONS = ("nrt", "ams", "iad", "sin", "syd", "gru")
SIZES = (25, 50, 100, 200)


async def roll(count: int) -> dict[str, float]:
    vendor = fly()
    rates = {name: Rate(rate.per_s * SPEED, rate.burst) for name, rate in vendor.rates.items()}
    with fly_world() as world:
        image = world.image(ROOT, name="web", light=True)
        check = {"type": "http", "path": "/readyz", "interval": "1s"}
        config = served(check=check)
        config["env"]["DODAI_RELEASE"] = "by-hand"
        world.fly.launch("fleet", image, config, tuple(REGIONS[n % 6] for n in range(count)))
        world.settle("fleet")
        with closing(Api(replace(vendor, rates=rates), world.fly.url, ApiToken("FLY_API_TOKEN", TOKEN))) as api:
            compute = FlyCompute(lambda: api, "production", {"web": "fleet"}, frozenset({"SECRET"})).under(1)
            before = (await compute.status()).services[0].release
            world.fly.exchanges.clear()
            tracemalloc.start()
            began = time.monotonic()
            spec = ServiceSpec(name="web", command=())
            await compute.start(spec, "r1", image, {"SECRET": "s", "DODAI_RELEASE": "r1"}, settings="s")
            probe = await compute.probe("web", "r1", settings="s", wait_s=60)
            await compute.switch("web", "r1", settings="s")
            await compute.stop("web", before, 1.0)
            seconds = time.monotonic() - began
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            live = [one for one in (await compute.status()).services[0].instances if one.live]
        assert probe.ready, probe
        assert len(live) == len(world.fly.machines("fleet")) == count
        asked = [one for one in world.fly.exchanges if one.status != 0]
        return {
            "machines": count,
            "requests": len(asked),
            "per machine": round(len(asked) / count, 1),
            "lists": sum(one.method == "GET" and one.path.endswith("/machines") for one in asked),
            "seconds at Fly's rates": round(seconds * SPEED),
            "peak MiB (both sides)": round(peak / 2**20, 1),
        }


def main() -> None:
    rows = [asyncio.run(roll(size)) for size in SIZES]
    heads = list(rows[0])
    print(f"| {' | '.join(heads)} |\n| {' | '.join('---' for _ in heads)} |")
    for row in rows:
        print(f"| {' | '.join(str(row[head]) for head in heads)} |")
    (ROOT / "benchmarks" / "fly_fleet.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
