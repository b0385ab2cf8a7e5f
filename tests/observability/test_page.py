"""The page of `dodai watch`: what it shows in each state, to whom, and in a real browser."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import Browser, sync_playwright
from tests.observability.page_states import DESKTOP, PHONE, STATES
from tests.observability.page_states import served as state_served
from tests.observability.traffic import Simulation, both, request, rpc, steady
from tests.optional_parts import find

from dodai.core.errors import DodaiError
from dodai.observability.policy import ObservabilityPolicy
from dodai.observability.run import Watched, Watcher
from dodai.observability.run.watch_page import PageServer, address_of

TOKEN = "a-token-of-some-length"
UNSEEN_SHIFT = 0.01
"""Of the layout, as a whole; what Chromium calls good ends at 0.1."""


@contextmanager
def served(watched: Watched, token: str = "") -> Iterator[httpx2.Client]:
    page = PageServer(watched, ("127.0.0.1", 0), token, tuple)
    with page, httpx2.Client(base_url=page.url, headers={"accept-language": "en"}) as client:
        yield client


@contextmanager
def lived(folder: Path, *parts: Any, seconds: float = 240.0) -> Iterator[httpx2.Client]:
    """The page over traffic that ends now."""
    world = Simulation(folder, now=float(int(time.time() - seconds)))
    world.live(seconds, both(*parts), 20.0)
    with served(world.watched) as client:
        yield client


def failing_next(at: float) -> dict[str, Any]:
    return request(at, route="/next", outcome="server_error", calls="backend 1 1 3.0")


def test_page_leads_to_the_runbook_and_says_when_lamps_are_old(tmp_path: Path):
    """A runbook that is somewhere on the web is a link; what was seen an hour ago is not what is now."""
    policy = ObservabilityPolicy(runbook="https://example.com/runbook")
    world = Simulation(tmp_path, policy, now=float(int(time.time() - 4000)))
    world.live(240.0, both(steady(2.0, failing_next)), 20.0)
    with served(world.watched) as client:
        text = client.get("/").text
    assert '<a href="https://example.com/runbook#dependency-down" rel="noreferrer">' in text
    assert "As callers saw them until" in text
    assert "As callers see them now" not in text


def test_page_shows_routes_lamps_alerts_and_the_way_to_a_request(tmp_path: Path):
    """With error rate and p95; the example leads to its trace, a bar to what it stands for."""
    traffic = (steady(2.0, failing_next), steady(1.0, rpc))
    with lived(tmp_path, *traffic) as client:
        text = client.get("/").text
        assert all(part in text for part in ("GET /next", "100.0%", "quiz.Quiz/Get", "http-error-surge", "lamp down"))
        assert text.count('<li class="firing">') == 1  # one outage, the others in one line below it
        assert "Part of the same outage" in text
        assert "observability.md#" in text
        body = client.get("/data.json").json()
        assert body["schema"] == "dodai.watch/1"
        assert body["routes"][0]["error_rate"] == 1.0
        example = body["routes"][0]["samples"][0]
        assert f'href="/trace/{example}"' in text
        point = text.partition('href="/point?')[2].partition('"')[0].replace("&amp;", "&")
        assert "/trace/" in client.get(f"/point?{point}").text
        assert client.get("/", headers={"accept-language": "ja"}).text.count("エラー率")


def test_state_without_lines_and_an_old_one_are_not_called_healthy(tmp_path: Path):
    """Nothing measured, and nothing measured any more."""
    nothing = Simulation(tmp_path / "nothing")
    with served(nothing.watched) as client:
        text = client.get("/").text
        assert "nothing was measured" in text
        assert "none fires" not in text
    old = Simulation(tmp_path / "old", now=float(int(time.time() - 3600)))
    old.live(60.0, steady(1.0, request), 20.0)
    with served(old.watched) as client:
        text = client.get("/").text
        assert "Old: the last evaluation was 59 min ago" in text
        assert "The 15 minutes until " in text
        assert "The last 15 minutes" not in text
        assert client.get("/data.json").json()["routes"][0]["count"] == 60
        assert "none fires" not in text


def test_text_of_others_is_only_text(tmp_path: Path):
    """Routes, services and ids come from lines, and lines from anybody."""
    evil = steady(1.0, lambda at: request(at, '<b id="s">', route='/<script>alert("1")</script>'))
    with lived(tmp_path, evil) as client:
        answer = client.get("/")
        assert "<script>alert" not in answer.text
        assert '<b id="s">' not in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert client.get("/trace/%3Cscript%3E").status_code == 404
        assert client.get("/point?from=x&to=nan&kind=;").status_code == 200


def test_another_name_for_this_machine_is_refused(tmp_path: Path):
    """A page elsewhere whose name leads to 127.0.0.1 reads nothing."""
    with served(Simulation(tmp_path).watched) as client:
        assert client.get("/", headers={"host": "evil.example:80"}).status_code == 421
        assert client.get("/", headers={"host": "localhost:1"}).status_code == 200


def test_token_opens_the_page_once_and_nothing_does_without_it(tmp_path: Path):
    """In the address, then a cookie that scripts cannot read; or as a bearer."""
    with served(Simulation(tmp_path).watched, TOKEN) as client:
        assert client.get("/data.json").status_code == 401
        assert client.get("/?token=wrong-and-as-long-as-it").status_code == 401
        opened = client.get(f"/?token={TOKEN}")
        assert opened.status_code == 303
        assert "HttpOnly" in opened.headers["set-cookie"]
        assert client.get("/").status_code == 200
        client.cookies.clear()
        assert client.get("/", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:9464", "[::]:9464", "10.0.0.1:80", "example.com:80", "127.0.0.1", "127.0.0.1:x"]
)
def test_open_address_without_a_token_is_refused(listen: str):
    """The page says what is broken; DOD485."""
    with pytest.raises(DodaiError, match="DOD485"):
        address_of(listen, "short")


def test_addresses_that_are_fine():
    """Loopback always, others with a token; a port in use is told (DOD486)."""
    assert address_of("127.0.0.1:0", "") == ("127.0.0.1", 0)
    assert address_of("[::1]:80", "") == ("::1", 80)
    assert address_of("0.0.0.0:80", TOKEN) == ("0.0.0.0", 80)
    with pytest.raises(DodaiError, match="characters that a cookie"):
        address_of("0.0.0.0:80", "with a space and; more")


def test_port_in_use_is_told(tmp_path: Path):
    """With what to do."""
    watched = Watcher(Watched("quiz", "test", tmp_path, ObservabilityPolicy()), {}).watched
    first = PageServer(watched, ("127.0.0.1", 0), "", tuple)
    with first, pytest.raises(DodaiError, match="DOD486"):
        PageServer(watched, ("127.0.0.1", first.port), "", tuple)


@pytest.mark.optional_part("chromium")
def test_page_in_a_browser_fits_a_phone_and_breaks_no_policy(tmp_path: Path, browser: Browser):
    """Chromium: no error on the console, nothing wider than the screen, every control has a name, dark is dark."""
    with lived(tmp_path, steady(2.0, failing_next), steady(1.0, rpc)) as client:
        context = browser.new_context(viewport={"width": 375, "height": 800}, color_scheme="dark", locale="ja-JP")
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(str(client.base_url))
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
        assert page.locator("html").get_attribute("lang") == "ja"
        assert page.locator("svg:not([aria-label])").count() == 0
        assert page.locator("svg[role=img] a").count() == 0  # what is an image has nothing in it to go to
        assert page.locator("svg a:not([tabindex]):not([aria-label=''])").count() > 0
        with page.expect_response("**/live") as renewed:
            pass
        assert renewed.value.ok
        page.get_by_role("link", name="English").click()
        assert page.locator("html").get_attribute("lang") == "en"
        page.locator(".id").first.click()
        assert page.get_by_role("heading", level=2).inner_text().startswith("Trace")
        assert said == []
        context.close()


@pytest.mark.optional_part("chromium")
def test_visitor_who_leaves_in_the_middle_is_no_traceback(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """The page is large and the connection reset while it is sent; the next visitor is served."""
    with state_served("huge", tmp_path) as url:
        port = int(url.rstrip("/").rpartition(":")[2])
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port)) as leaving:
                leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                leaving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                leaving.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                assert leaving.recv(100).startswith(b"HTTP/1.1 200")
        assert httpx2.get(url).status_code == 200
    assert "Traceback" not in capfd.readouterr().err


SHIFTS = "window.moved = []; new PerformanceObserver({}).observe({{type: 'layout-shift', buffered: true}})".format(
    "l => moved.push(...l.getEntries().map(one => one.value))"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=find("chromium"), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.optional_part("chromium")
@pytest.mark.share(3)
@pytest.mark.parametrize("settings", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", STATES)
def test_page_is_clean_for_axe_in_every_state(tmp_path: Path, browser: Browser, name: str, settings: dict[str, Any]):
    """Empty, healthy, firing, old, five hundred routes, troubled: wide, light and English, and as on a phone at night."""
    axe = Path(AXE_FILE_PATH).read_text("utf-8")
    rules = "{runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']}"
    rows = "{include: [['html']], exclude: [['tr:nth-child(n+6)']]}"  # the two hundredth row is like the first ones
    drawn = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    short = "r => [r.passes.length, r.violations.map(one => [one.id, one.nodes[0].html])]"
    with state_served(name, tmp_path) as url:
        context = browser.new_context(**settings, bypass_csp=True)
        page = context.new_page()
        page.add_init_script(SHIFTS)
        page.goto(url)
        page.evaluate(f"renew().then(() => {drawn})")
        assert sum(page.evaluate("moved")) < UNSEEN_SHIFT  # it stays where it is while it renews itself
        assert page.evaluate("document.documentElement.scrollWidth") <= settings["viewport"]["width"]
        passed, wrong = page.evaluate(f"{axe};axe.run({rows}, {rules}).then({short})")
        context.close()
    assert passed > 15
    assert wrong == []


@pytest.mark.optional_part("chromium")
def test_a_shift_of_the_page_would_be_seen(tmp_path: Path, browser: Browser):
    """The watch of the test above is not blind."""
    page = browser.new_page(bypass_csp=True)
    with state_served("healthy", tmp_path) as url:
        page.add_init_script(SHIFTS)
        page.goto(url)
        page.evaluate("live.insertAdjacentHTML('afterbegin', '<p style=height:300px>')")
        page.wait_for_function(f"moved.some(one => one > {UNSEEN_SHIFT})")
    page.close()
