"""A deploy on Fly that begins with one machine: gone on with, undone for what was seen, and killed."""

from __future__ import annotations

import contextlib
import http.client
import signal
import threading
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from tests.end_to_end.test_fly import ENVIRONMENT, FlyApp
from tests.support.command import start_dodai
from tests.support.fly_world import fly_world, served
from tests.support.wait import until

LINES = """
def answered(self, plain=Page.do_GET):
    began = __import__("time").time()
    bad = FAILS and self.path == "/"
    if bad:
        self.send_response(500)
        self.send_header("content-length", "0")
        self.end_headers()
    else:
        plain(self)
    said = {"ts": began, "type": "http", "service": "web", "version": VERSION, "method": "GET", "route": self.path,
            "status": 500 if bad else 200, "outcome": "server_error" if bad else "ok", "latencyMs": 1.0,
            "requestId": os.urandom(16).hex()}
    print(json.dumps(said), flush=True)
Page.do_GET = answered
FAILS = """


@pytest.fixture
def app(tmp_path):
    with fly_world() as world:
        folder = tmp_path / "app"
        folder.mkdir()
        app = FlyApp(folder, world)
        config = served()
        config["env"]["DODAI_RELEASE"] = "by-hand"
        world.fly.launch("small-web", app.build("by-hand", f"{LINES}False"), config, ("nrt", "ams"))
        world.settle("small-web")
        yield app


def release(app, text, *, fails=False, canary_for="4s"):
    """A release with a canary; the manifest is that of the release."""
    import tests.end_to_end.test_fly as there

    keys = f'apps = {{ web = "small-web" }}, canary = ["web"], canary_for = "{canary_for}", canary_requests = 3'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(there, "ENVIRONMENT", ENVIRONMENT.replace('apps = { web = "small-web" }', keys))
        return app.build(text, f"# {text}{LINES}{fails}")


@contextlib.contextmanager
def visitors(app):
    """People who ask for the front page until the block ends, some twenty times a second."""
    ended, parts = threading.Event(), urlsplit(app.world.fly.public_url("small-web"))

    def ask():
        while not ended.wait(0.05):
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=5)
            with contextlib.suppress(OSError, http.client.HTTPException), closing(connection):
                connection.request("GET", "/")
                connection.getresponse().read()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_release_begins_with_one_machine_and_what_is_seen_there_decides(app):
    """Good: all machines. Bad: none, with the figures and a request to look at. Killed: taken back, or judged anew."""
    with visitors(app):
        good = app.deploy(release(app, "good"))
        assert good.returncode == 0, good.stdout + good.stderr
        assert "gets its share of the traffic" in good.stdout + good.stderr
        assert "canary of web: error-ratio 0 % of" in good.stdout + good.stderr
        (first, _), *_ = app.live()
        assert app.live() == [(first, "ams"), (first, "nrt")]

        bad = app.deploy(release(app, "bad", fails=True, canary_for="60s"))
        said = bad.stdout + bad.stderr
        assert bad.returncode == 3, said
        assert "DOD730 canary-worse" in said
        assert "error-ratio 100 % of" in said
        assert "dodai trace " in said
        assert app.live() == [(first, "ams"), (first, "nrt")]
        assert len(app.world.fly.machines("small-web")) == 2

    killed(app, release(app, "killed", canary_for="60s"))
    back = app.run("resume", "staging", "--undo", "--yes")
    assert back.returncode in (0, 3), back.stdout + back.stderr
    assert app.live() == [(first, "ams"), (first, "nrt")]
    assert len(app.world.fly.machines("small-web")) == 2

    killed(app, release(app, "again"))
    with visitors(app):
        ended = app.run("resume", "staging", "--yes")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert {one for one, _ in app.live()} != {first}
    assert len(app.world.fly.machines("small-web")) == 2


def killed(app, image):
    """The command is killed while its canary has traffic; nobody else's has changed."""
    public = {"FLY_PUBLIC_URL": app.world.fly.public_url("small-web"), **app.world.variables}
    words = ("deploy", "staging", "--yes", "--image", f"web={image}")
    with (app.folder / "out.log").open("wb") as log:
        command = start_dodai(*words, cwd=app.folder, output=log, **public)
    until(lambda: sum(not one.cordoned for one in app.world.fly.machines("small-web")) == 3, "the canary", command)
    command.send_signal(signal.SIGKILL)
    command.wait()
