"""A release that brings its own blueprint: applied by the deploy, taken back with it, gone back to with a rollback."""

from __future__ import annotations

import copy

import pytest
from tests.end_to_end.small_app import SmallApp
from tests.providers.authentik.test_declared_sign_in import blueprint

from dodai.providers.authentik.authentik_api import FACTS
from dodai.standins.authentik_standin import AuthentikStandIn

CANARY = "ak_c4n4ry"
FIRST, SECOND = "https://quiz.example.com/auth/first", "https://quiz.example.com/auth/second"


@pytest.fixture
def server():
    rights = frozenset(scope.name for scope in FACTS.scopes)
    with AuthentikStandIn({CANARY: rights, "looks": frozenset(s.name for s in FACTS.scopes if s.looks)}) as standin:
        standin.empty()
        yield standin


@pytest.fixture
def app(tmp_path, server):
    small = SmallApp(tmp_path)
    yield small
    small.clear()


def people(server):
    """Where people come, another address than that of the API."""
    return server.url.replace("127.0.0.1", "localhost")


def write(app, server, uri, *, spoil="", text=None):
    named = f'application = "quiz", redirect_uris = ["{uri}"], blueprint_file = "sign-in.yaml"'
    app.write(spoil=spoil, environment=f'identity = "authentik"\nauthentik = {{ url = "{people(server)}", {named} }}')
    (app.folder / "sign-in.yaml").write_text(text if text is not None else blueprint(uri))


def uris(server):
    return [one["url"] for row in server.clients.values() for one in row["redirect_uris"]]


def test_release_applies_its_blueprint_an_undo_and_a_rollback_put_back_what_was_there(app, server):
    """From an empty Authentik: a bad file stops before the first change, a bad release leaves what the good one made."""

    def run(*words, code=0, token=CANARY):
        done = app.run(*words, AUTHENTIK_TOKEN=token, AUTHENTIK_URL=server.url)
        assert done.returncode == code, done.stderr
        assert CANARY not in done.stdout + done.stderr
        return done

    write(app, server, FIRST, text="version: 1\nentries: [")
    assert "DOD761" in run("deploy", "staging", "--yes", code=3).stderr
    write(app, server, FIRST)
    assert "DOD702" in run("deploy", "staging", "--yes", code=3, token="looks").stderr
    assert not [one for one in server.exchanges if one.status < 300 and one.method != "GET"]

    first = run("deploy", "staging", "--yes")
    assert "sign-in: there is no blueprint `quiz` yet, and `sign-in.yaml` is to be applied" in first.stderr
    assert uris(server) == [FIRST]
    assert "/application/o/quiz/ is as the manifest says" in run("doctor", "staging").stdout
    good = copy.deepcopy((server.clients, server.applications, server.shelf.rows["quiz"]["content"]))

    write(app, server, SECOND, spoil="raise SystemExit(3)")
    assert "the blueprint `quiz` says something else than `sign-in.yaml`" in run("doctor", "staging").stdout
    bad = run("deploy", "staging", "--yes", code=3)
    assert "sign-in: sign-in is as it was before" in bad.stderr
    assert (server.clients, server.applications, server.shelf.rows["quiz"]["content"]) == good

    write(app, server, SECOND, spoil="# second")
    run("deploy", "staging", "--yes")
    assert uris(server) == [SECOND]
    assert "already" in run("deploy", "staging", "--yes").stderr

    server.ready = False
    write(app, server, FIRST, spoil="# third")
    away = run("deploy", "staging", "--yes", code=3)
    assert "start-web" not in away.stderr  # it ends before anything of the release starts
    server.ready = True

    later = run("rollback", "staging", "--yes", code=4, token=f"{CANARY}-old")
    assert "step `sign-in` failed" in later.stderr
    assert "dodai resume staging" in later.stderr
    assert "done     switch-web" in later.stderr  # people are served by the release before, whatever Authentik says
    assert uris(server) == [SECOND]
    run("resume", "staging", "--yes")
    assert uris(server) == [FIRST]
