"""The states of the page of `dodai watch`, each served over lines of its own: for tests, and for people who look at it.

`python -m tests.observability.page_states FOLDER` writes a screenshot of each, in both languages, wide and as on a phone.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.observability.traffic import Simulation, beat, both, request, rpc, steady

from dodai.core.text import Text
from dodai.observability.policy import NotifierSection, ObservabilityPolicy
from dodai.observability.ports import Standing
from dodai.observability.run.watch_page import PageServer

TOLD = ObservabilityPolicy(notifiers={"team": NotifierSection("webhook", "team", url="http://127.0.0.1:9/hook")})
FULL = Text(
    "the rollups cannot be written since 03:12:09Z (database or disk is full): alerts are judged in memory",
    "03:12:09Z から集計ファイルに書き込めません(database or disk is full)。アラートはメモリー上で評価しています",
)
DESKTOP = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light", "locale": "en-US"}
PHONE = {"viewport": {"width": 375, "height": 800}, "color_scheme": "dark", "locale": "ja-JP"}


def _page(at: float) -> dict[str, Any]:
    names = ("/", "/next", "/questions/{question}", "/login", "/me")
    return request(at, route=names[int(at * 4) % 5], latencyMs=20 + int(at * 7) % 60, calls="backend 1 0 3.0")


def _failing(at: float) -> dict[str, Any]:
    return request(at, route="/next", outcome="server_error", calls="backend 1 1 3.0")


def _many(at: float) -> dict[str, Any]:
    number = int(at * 20) % 500
    route = f"/catalogue/{{section}}/a-rather-long-name-of-a-page-{number}/{{item}}/reviews"
    return request(at, route=route, outcome="server_error" if number % 97 == 0 else "ok")


HEALTHY = (steady(4.0, _page), steady(2.0, rpc), steady(0.2, beat))


def _lived(folder: Path, *parts: Any, seconds: float = 600.0, ago: float = 0.0) -> Simulation:
    world = Simulation(folder, TOLD, now=float(int(time.time() - seconds - ago)), public="web")
    world.live(seconds, both(*parts), 20.0)
    return world


def _release(folder: Path) -> Simulation:
    world = _lived(folder, *HEALTHY, seconds=400.0, ago=200.0)
    world.live(200.0, both(steady(4.0, lambda at: {**_page(at), "version": "r2", "instance": "web-2"})), 20.0)
    return world


def _outage(folder: Path) -> Simulation:
    world = _lived(folder, *HEALTHY, seconds=500.0, ago=100.0)
    world.live(100.0, both(*HEALTHY, steady(4.0, _failing)), 10.0)
    return world


def _troubled(folder: Path) -> Simulation:
    world = _lived(folder, *HEALTHY, seconds=300.0)
    world.now += 90.0
    world.states = Standing(
        {"disk-free": (("disk", 0.01),)},
        (
            Text(
                "the certificate of `https://quiz.example` cannot be read",
                "`https://quiz.example` の証明書を読み取れません",
            ),
        ),
    )
    world.now -= 90.0
    world.live(20.0, both(*HEALTHY), 10.0)
    return world


STATES: Mapping[str, Callable[[Path], Simulation]] = {
    "empty": lambda folder: Simulation(folder, TOLD),
    "healthy": _release,
    "firing": _outage,
    "stale": lambda folder: _lived(folder, *HEALTHY, seconds=60.0, ago=3600.0),
    "huge": lambda folder: _lived(folder, steady(20.0, _many), seconds=300.0),
    "troubled": _troubled,
}


@contextmanager
def served(name: str, folder: Path) -> Iterator[str]:
    """The address of the page in that state."""
    world = STATES[name](folder)
    problems = (FULL,) if name == "troubled" else ()
    with PageServer(world.watched, ("127.0.0.1", 0), "", lambda: problems) as page:
        yield page.url


def main() -> None:
    from playwright.sync_api import sync_playwright

    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name in STATES:
            with tempfile.TemporaryDirectory() as folder, served(name, Path(folder)) as url:
                for size, settings in (("desktop", DESKTOP), ("phone", PHONE)):
                    for lang in ("en-US", "ja-JP"):
                        context = browser.new_context(**{**settings, "locale": lang})
                        page = context.new_page()
                        page.goto(url)
                        page.screenshot(path=target / f"{name}-{size}-{lang[:2]}.png", full_page=size == "phone")
                        context.close()
        browser.close()


if __name__ == "__main__":
    main()
