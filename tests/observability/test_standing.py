"""What lines cannot tell: certificates, secrets, plans that were left, and a watch that did not watch."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.engine.world import Spec, World, make_plan
from tests.observability.traffic import Simulation, request, steady
from tests.support.command import dodai

from dodai.core.text import Text
from dodai.observability.alert import Alert, Change, Firing
from dodai.observability.ports import Standing
from dodai.observability.run import Watched, Watcher
from dodai.operations.evidence import RehearsalRecord
from dodai.operations.run.network_probe import days_left
from dodai.operations.run.override import state
from dodai.wiring import environments
from dodai.wiring.find_project import find_project
from dodai.wiring.watch import standings

MANIFEST = '[project]\nname = "quiz"\nlangs = ["en"]\n\n[env.staging]\n'


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def certificate(folder: Path, days: int) -> None:
    """`key.pem` and `cert.pem` of localhost; a certificate of minus one day has expired."""
    folder.mkdir()
    name = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
            "key.pem", "-out", "cert.pem", "-days", str(days), *name)  # fmt: skip


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """An https origin on loopback that shows the certificate of `folder`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            try:
                context.wrap_socket(plain, server_side=True).close()
            except OSError:
                plain.close()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"https://localhost:{listener.getsockname()[1]}"
    finally:
        listener.close()


def trusting(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(folder / "cert.pem"))


def test_days_of_a_certificate_are_those_that_the_origin_shows(tmp_path: Path):
    """By a real handshake; an origin without TLS has none, and one that does not answer says nothing about it."""
    certificate(tmp_path / "a", 10)
    with served(tmp_path / "a") as origin:
        found = days_left(origin, time.time(), trusting(tmp_path / "a"))
        assert found == pytest.approx(10, abs=0.1)
        assert days_left(origin, time.time() + 11 * 86400, trusting(tmp_path / "a")) == pytest.approx(-1, abs=0.1)
    assert days_left("http://localhost:8000", time.time()) is None
    with pytest.raises(OSError, match="refused"):
        days_left("https://localhost:9", time.time())


def test_certificate_that_browsers_refuse_has_no_day_left(tmp_path: Path):
    """Signed by nobody known."""
    certificate(tmp_path / "a", 10)
    with served(tmp_path / "a") as origin:
        assert days_left(origin, time.time()) == 0.0


def test_certificate_of_five_days_is_a_ticket_and_an_expired_one_pages(tmp_path: Path):
    """And one of sixty days is neither."""
    world = Simulation(tmp_path)

    def stands(days: float) -> set[str]:
        world.states = Standing({"certificate-days": (("https://quiz.example.com", days),)})
        world.live(10.0, steady(1.0, request))
        return {one.name for one in world.watcher.history.open() if one.fired_s}

    assert stands(60.0) == set()
    assert stands(5.0) == {"certificate-expiring"}
    assert stands(-0.5) == {"certificate-expiring", "certificate-expired"}
    world.states = Standing({}, ("the certificate cannot be read",))
    world.live(3000.0, steady(0.1, request), 100.0)
    assert {one.name for one in world.watcher.history.open()} == {"certificate-expiring", "certificate-expired"}
    world.live(1000.0, steady(0.1, request), 100.0)  # nobody could ask for an hour: nothing is judged by that
    assert {one.name for one in world.watcher.history.open()} == set()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dodai.toml").write_text(MANIFEST)
    return tmp_path


def record(project: Path, *, ended: bool) -> None:
    """A deploy on record, carried out or left."""

    async def write() -> None:
        environment = environments.open(find_project(project / "dodai.toml"), "staging")
        now = datetime.now(UTC).isoformat()
        with environment.journal() as journal:
            await journal.begin("p1", make_plan([Spec("a")], World(project / "world")), token=1, at=now)
            if ended:
                await journal.append("p1", "closed", data={"state": "succeeded", "exit_code": 0}, token=1, at=now)

    asyncio.run(write())


@pytest.mark.parametrize("ended", [True, False])
def test_plan_that_was_left_half_done_makes_the_environment_unhealthy(project: Path, ended: bool):
    """Until it is finished or taken back; an environment that never served is not unhealthy."""
    asked = standings(find_project(project / "dodai.toml"), "staging")
    assert asked.look().stated["unhealthy"] == (("staging empty", 0.0),)
    record(project, ended=ended)
    ((about, value),) = asked.look().stated["unhealthy"]
    assert value == (0.0 if ended else 1.0)
    assert about.startswith("staging interrupted") is not ended


def test_what_cannot_be_asked_is_a_problem_that_is_shown_and_no_all_clear(project: Path):
    """An origin that does not answer."""
    manifest = MANIFEST + 'public_origins = ["https://localhost:9"]\n'
    (project / "dodai.toml").write_text(manifest)
    seen = standings(find_project(project / "dodai.toml"), "staging").look()
    assert "certificate-days" not in seen.stated
    assert "the certificate of `https://localhost:9` cannot be read" in seen.unknown[0].en
    said = dodai("watch", "staging", "--once", "--json", cwd=project)
    assert any("https://localhost:9" in problem for problem in json.loads(said.stdout)["problems"])


def test_time_that_nobody_watched_is_told_when_somebody_watches_again(tmp_path: Path):
    """What a person looked at with `--once` in between is not watching."""
    watcher = Watcher(Watched("quiz", "test", tmp_path, Simulation(tmp_path / "x").policy, fast=True), {})
    watcher.judge()
    assert not watcher.history.open()
    watcher.store.set_fact("watched_s", time.time() - 1000)
    stop, heard = asyncio.Event(), list[str]()

    def hear(one: Firing, alert: Alert, change: Change) -> None:
        heard.append(f"{alert.name} {change} {one.value >= 1000}")
        stop.set()

    async def run() -> None:
        await asyncio.wait_for(watcher.run(stop, hear), 30)

    asyncio.run(run())
    assert heard == ["unwatched firing True"]


def test_secret_whose_age_nobody_knows_is_said_to_be_not_judged(project: Path):
    """Nor is one without a value called young; one that is overdue is stated with its days."""
    kind = 'used_by = []\nrotation = "external"\n'
    secrets = f'[secret.API_TOKEN]\n{kind}every = "30d"\n[secret.OTHER]\n{kind}'
    (project / "dodai.toml").write_text(MANIFEST + secrets)
    seen = standings(find_project(project / "dodai.toml"), "staging").look()
    assert seen.stated["overdue-days"] == ()
    (unknown,) = seen.unknown
    first = "`API_TOKEN` of `staging` gets its first value by the next deployment"
    assert unknown == Text(first, "`staging` の `API_TOKEN` の最初の値は次のデプロイで作られます")


def rehearsed(project: Path, days_ago: float, *, restored: bool) -> None:
    """A rehearsal on record, of so many days ago."""
    at = datetime.fromtimestamp(time.time() - days_ago * 86400, UTC).isoformat()
    known = RehearsalRecord("source", "t", "c", "r1", "f" * 40, (), "ok", at, restored=restored)
    here = environments.open(find_project(project / "dodai.toml"), "staging")
    asyncio.run(state(here, "rehearse", known.as_data(), release="r1"))


def test_age_of_the_last_restore_test_is_stated_where_there_is_data_to_lose(project: Path):
    """A rehearsal without it does not count; an environment that nobody protects is not asked."""
    text = MANIFEST + '[service.web]\ncommand = ["x"]\npublic = true\n[database]\nused_by = ["web"]\n'
    (project / "dodai.toml").write_text(text)

    def stated() -> tuple[tuple[str, float], ...]:
        return standings(find_project(project / "dodai.toml"), "staging").look().stated["restore-days"]

    rehearsed(project, 120.0, restored=True)
    rehearsed(project, 1.0, restored=False)
    assert stated() == ()
    (project / "dodai.toml").write_text(text.replace("[env.staging]\n", "[env.staging]\nprotected = true\n"))
    ((about, days),) = stated()
    assert (about, round(days)) == ("staging", 120)
    rehearsed(project, 2.0, restored=True)
    assert round(stated()[0][1]) == 2
