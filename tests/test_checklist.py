"""`dodai checklist`: what a branch touches, ticked where it was proven and nowhere else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.proposed import carry_out

from dodai.core import proposal

APP = """
import dodai.asgi
from starlette.applications import Starlette
from starlette.routing import Route

async def save(request): raise AssertionError("a handler ran")
async def hook(request): raise AssertionError("a handler ran")

routes = [Route("/save", save, methods=["POST"]), Route("/hook", hook, methods=["POST"])]
app = dodai.asgi.wrap(Starlette(routes=routes), service="shop/web")
"""
MANIFEST = """
[project]
name = "shop"

[service.web]
command = ["serve"]
app = "shop:app"
public = true
"""
MORE = """
[[csrf.exemption]]
route = "POST /hook"
reason = "called by a service"
control = "signature"
owner = "team"

[secret.STRIPE_KEY]
used_by = ["web"]

[[journey]]
name = "buy"
[[journey.step]]
name = "saves"
path = "/save"
method = "POST"
effect = "write"
"""


def git(folder: Path, *words: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.invalid")
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


def checklist(folder: Path, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "dodai", "checklist", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=180)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def repository(tmp_path):
    """A clone with the application on `main` and a branch that has not changed anything yet."""
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path)], check=True)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "old.html").write_text("<form method=post></form>")
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "dodai.toml").write_text(MANIFEST)
    (tmp_path / ".gitignore").write_text(".dodai/\n__pycache__/\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    git(tmp_path, "checkout", "-qb", "work")
    return tmp_path


def test_branch_that_touches_nothing_has_an_empty_list(repository):
    """What is red elsewhere in the repository is no concern of this pull request."""
    code, out, _ = checklist(repository, "--base", "main")
    assert code == 0
    assert out.startswith("<!-- dodai checklist -->\n## What this branch touches\n\n0 files differ from `main`")
    assert "### Forms" not in out
    assert "### Routes" not in out


def test_touched_parts_are_listed_and_ticked_where_they_are_proven(repository):
    """A protected route is ticked; a bare form, a new exemption, a secret and a journey are for people and commands."""
    (repository / "shop.py").write_text(APP + "\n# edited\n")
    (repository / "templates" / "new.html").write_text("<form method=post action=/save></form>\n")
    (repository / "dodai.toml").write_text(MANIFEST + MORE)
    git(repository, "add", "shop.py", "dodai.toml")
    git(repository, "commit", "-qm", "work")  # the template is not committed, and counts as well
    code, out, err = checklist(repository, "--base", "main")
    assert code == 0, err
    assert "- [x] `POST /save` (`shop.py:6`): protected, " in out
    assert "- [ ] `POST /hook` (`shop.py:7`): exempt, signature" in out
    assert "- [ ] form `POST /save` (`templates/new.html:1`): unprotected, carries no token — `dodai check csrf`" in out
    assert "old.html" not in out
    assert (
        "- [ ] `POST /hook` is exempt, new or changed here: called by a service; control: signature; owner: team; "
        "without an end — does the reviewer agree?" in out
    )
    assert "- [ ] `STRIPE_KEY` is new, or used by other services" in out
    carry_out(out, proposal.CHECK, cwd=repository, area="csrf")
    assert "- [ ] `buy`: a route of it, or the journey itself, is touched — `dodai rehearse`" in out


def test_every_command_that_is_printed_can_be_carried_out(repository):
    """It runs, and is about what stands on the list: none is refused for how it is written (2), none is unknown."""
    (repository / "shop.py").write_text(
        APP.replace('dodai.asgi.wrap(Starlette(routes=routes), service="shop/web")', "Starlette(routes=routes)")
    )
    (repository / "templates" / "new.html").write_text("<form method=post action=/save></form>\n")
    (repository / "dodai.toml").write_text(MANIFEST + MORE + '[env.local]\nprovider = "local"\n')
    folder = repository / "db" / "migrations"
    folder.mkdir(parents=True)
    (folder / "00002_bad.sql").write_text("-- +goose Up\nCREATE TABLE b (id nonsense);\n")
    _, out, _ = checklist(repository, "--base", "main")
    printed = set(re.findall(r"`(dodai [^`]+)`", "\n".join(line.partition(" — ")[2] for line in out.splitlines())))
    expected = {
        "dodai check csrf": (1, "POST /save"),
        "dodai check migrations": (1, "00002_bad.sql"),
        "dodai migrate check": (1, "00002_bad.sql"),
        "dodai secrets list ENV": (0, "STRIPE_KEY"),
    }
    # A rehearsal takes its time: tests/end_to_end/test_rehearsal.py carries it out and sees the ticks.
    assert printed == {*expected, "dodai rehearse"}
    for command, (code, named) in expected.items():
        words = command.replace("ENV", "local").split()[1:]
        done = subprocess.run(
            [sys.executable, "-m", "dodai", *words], cwd=repository, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, (command, done.stdout, done.stderr)
        assert named in done.stdout + done.stderr, command


def test_what_could_not_be_judged_is_on_the_list(repository):
    """An import that fails ticks nothing, and says so."""
    (repository / "shop.py").write_text("raise RuntimeError('no')\n")
    _, out, _ = checklist(repository, "--base", "main", "--json")
    items = json.loads(out)["items"]
    assert not any(item["proven"] for item in items)
    assert any(item["section"] == "Not judged" and "failed with RuntimeError" in item["text"] for item in items)


def test_base_that_is_not_here_is_an_error_with_the_command(repository):
    """Compared with nothing, nothing would be touched."""
    code, out, err = checklist(repository, "--base", "origin/main")
    assert (code != 0, out) == (True, "")
    assert "the base `origin/main` is not in this clone" in err
    assert "git fetch origin main" in err


def test_migrations_that_a_branch_adds(repository):
    """One that goes down and up again is ticked; one that says it cannot go back is not."""
    folder = repository / "db" / "migrations"
    folder.mkdir(parents=True)
    (folder / "00001_good.sql").write_text(
        "-- +goose Up\nCREATE TABLE a (id bigint PRIMARY KEY);\n-- +goose Down\nDROP TABLE a;\n"
    )
    (folder / "00002_bad.sql").write_text(
        "-- +goose Up\nCREATE TABLE b (id nonsense);\n-- +goose Down\nDROP TABLE b;\n"
    )
    _, out, _ = checklist(repository, "--base", "main")
    assert "- [x] `db/migrations/00001_good.sql`: applies to an empty database" in out
    assert "- [x] `db/migrations/00001_good.sql`: down and up again gives the same schema" in out
    assert "- [ ] `db/migrations/00002_bad.sql`: does not apply to an empty database" in out
