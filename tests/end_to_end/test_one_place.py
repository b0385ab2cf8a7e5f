"""An environment lives at one place: a second checkout with the same control database is told where, and changes nothing."""

from __future__ import annotations

import json
import shutil

import pytest
from tests.end_to_end.controlled_app import ControlledApp
from tests.support.proposed import carry_out

from dodai.core import proposal

CHANGING = (
    ("deploy", "staging", "--yes"),
    ("up", "staging"),
    ("restart", "staging", "--yes"),
    ("resume", "staging", "--yes"),
    ("resume", "staging", "--undo", "--yes"),
    ("down", "staging", "--yes"),
)


@pytest.fixture
def both(tmp_path, database):
    """The checkout that deployed, and another one of the same manifest."""
    first, second = (ControlledApp(tmp_path / name, database) for name in ("one", "two"))
    for app in (first, second):
        app.folder.mkdir()
        app.release("the first")
    assert first.run("deploy", "staging", "--yes").returncode == 0
    yield first, second
    for app in (second, first):
        app.clear()


def told(done):
    return json.loads(done.stdout)


def test_second_checkout_is_told_where_the_environment_lives_and_starts_nothing(both):
    """Every command that changes something is refused with the folder; a plan begun at the first stays open for it."""
    first, second = both
    serving = first.serving()
    first.release("the next")
    first.killed("applied:start-web", "deploy", "staging", "--yes")
    plan = told(first.run("status", "staging", "--json"))["unfinished"]
    for words in CHANGING:
        refused = second.run(*words)
        assert (refused.returncode, "DOD382" in refused.stderr) == (1, True), (words, refused.stdout, refused.stderr)
        assert str(first.folder / ".dodai/env/staging") in refused.stderr
    assert not second.processes()
    status = second.run("status", "staging", "--json")
    assert (status.returncode, told(status)["state"]) == (4, "elsewhere"), status.stdout
    assert "lives in" in second.run("status", "staging").stdout
    assert told(first.run("status", "staging", "--json"))["unfinished"] == plan
    assert first.run("resume", "staging", "--undo", "--yes").returncode == 0
    assert first.serving() == serving


def test_fresh_checkout_with_the_folder_in_its_manifest_works_on_the_real_one(both):
    """As a CI job does that clones anew each time: it deploys over what serves, and leaves no state of its own."""
    first, second = both
    old = first.serving()[0][0]
    (second.folder / "dodai.toml").write_text(
        (second.folder / "dodai.toml")
        .read_text()
        .replace("[env.staging]\n", f"[env.staging]\nfolder = {json.dumps(str(first.folder / '.dodai/env/staging'))}\n")
    )
    done = second.run("deploy", "staging", "--yes")
    assert done.returncode == 0, done.stderr
    ((release, live),) = first.serving()
    assert (release != old, live) == (True, True)
    assert not (second.folder / ".dodai" / "env" / "staging").exists()


def test_place_is_taken_over_with_a_reason_and_only_once_nothing_runs_there(both):
    """While it runs there, DOD383; afterwards it lives here, on record, and the old checkout is the one refused."""
    first, second = both
    take_over = ("resume", "staging", "--take-over", "the disk is full", "--yes")
    elsewhere = second.run("deploy", "staging", "--yes").stderr
    refused = second.run(*take_over)
    assert (refused.returncode, "DOD383" in refused.stderr) == (1, True), refused.stderr
    carry_out(refused.stderr, proposal.DOWN, cwd=first.folder, env="staging")
    shutil.rmtree(first.folder / ".dodai")
    reason = {"REASON": "'the disk is full'"}
    carry_out(elsewhere, proposal.TAKE_OVER, cwd=second.folder, env="staging", known=reason, more=["--yes"])
    assert "the disk is full" in second.run("history", "staging").stdout
    assert second.run("deploy", "staging", "--yes").returncode == 0
    refused = first.run("deploy", "staging", "--yes")
    assert (refused.returncode, "DOD382" in refused.stderr) == (1, True), refused.stderr
    assert "nothing was taken over" in second.run(*take_over).stdout
