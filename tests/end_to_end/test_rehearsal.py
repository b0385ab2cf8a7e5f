"""A rehearsal of a small application: its report, its drills, and nothing left behind however it ends."""

from __future__ import annotations

import json
import subprocess
import tomllib
from datetime import date

import pytest
from tests.end_to_end.small_app import SmallApp
from tests.support.proposed import carry_out
from tests.support.wait import until

from dodai.core import proposal
from dodai.rehearsal.drills.releases import as_toml

ASGI = """
import json, os
import dodai.asgi

async def inner(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    ready = {"ready": True, "version": os.environ.get("DODAI_RELEASE", "")}
    body = json.dumps(ready).encode() if scope["path"] == "/readyz" else b"hello from asgi"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})

app = dodai.asgi.wrap(inner)
"""


@pytest.fixture
def app(tmp_path):
    small = SmallApp(tmp_path).write()
    yield small
    small.clear()


def branched(folder):
    """A branch on which the title of the journey is another one than on `main`."""
    git = ("git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.invalid")
    subprocess.run(("git", "init", "-q", "-b", "main", str(folder)), check=True)
    (folder / ".gitignore").write_text("__pycache__\n.dodai\n")
    for change in ("", '# edited\ncontains = "hello"\n'):
        manifest = folder / "dodai.toml"
        manifest.write_text(
            manifest.read_text().replace('contains = "hello from"\n', change) if change else manifest.read_text()
        )
        subprocess.run((*git, "add", "-A"), check=True)
        subprocess.run((*git, "commit", "-qm", "x"), check=True)
        subprocess.run((*git, "checkout", "-q", "-B", "work"), check=True)


def asgi(app):
    """The same application with an `app` that a rehearsal can make bad releases of."""
    (app.folder / "site.py").unlink(missing_ok=True)
    (app.folder / "page.py").write_text(ASGI)
    (app.folder / "serve.py").write_text(
        "import os, uvicorn\nuvicorn.run('page:app', port=int(os.environ['PORT']), log_level='warning')\n"
    )
    manifest = (app.folder / "dodai.toml").read_text()
    manifest = manifest.replace('"web.py"]', '"serve.py"]\napp = "page:app"')
    (app.folder / "dodai.toml").write_text(manifest)
    return app


def test_report_has_every_step_and_the_stage_beside_production(app):
    """`report.json` and `report.md` stand where the last line says; nothing runs afterwards.

    The checklist of this commit ticks what the rehearsal carried out, and of a changed one nothing of it.
    """
    branched(app.folder)
    before = app.run("checklist", "--base", "main").stdout
    assert "- [ ] `look`: a route of it, or the journey itself, is touched — `dodai rehearse`" in before
    answer = app.run("rehearse")
    assert answer.returncode == 0, answer.stderr
    report = json.loads((app.folder / ".dodai/rehearsals/latest/report.json").read_text())
    assert (report["schema"], report["outcome"]) == ("dodai.rehearsal/1", "ok")
    assert {step["outcome"] for step in report["steps"]} <= {"done", "already"}
    assert [row["part"] for row in report["equivalence"]][:3] == ["edge", "compute", "database"]
    assert "# Rehearsal" in (app.folder / ".dodai/rehearsals/latest/report.md").read_text()
    assert str(app.folder / ".dodai/rehearsals") in answer.stdout
    page = (app.folder / ".dodai/rehearsals/latest/report.html").read_text()
    assert [row["id"] for row in report["drills"] if f'id="drill-{row["id"]}"' not in page] == []
    began = [row["beganSeconds"] for row in (*report["steps"], *report["drills"])]
    assert (began == sorted(began), began[0] > 0, began[-1] < report["seconds"]) == (True, True, True)
    ticked = app.run("checklist", "--base", "main").stdout
    assert (
        "- [x] `look`: a route of it, or the journey itself, is touched; the rehearsal of this commit walked it"
        in ticked
    )
    assert "- [x] rehearsal of this commit, " in ticked
    (app.folder / "web.py").write_text((app.folder / "web.py").read_text() + "\n")
    edited = app.run("checklist", "--base", "main").stdout
    assert "- [ ] `look`: " in edited
    assert "- [ ] this commit was not rehearsed on this machine, or has changes since — `dodai rehearse`" in edited
    until(lambda: not app.processes())


def test_every_drill_is_in_the_report_with_expected_and_observed(app):
    """The bad releases are undone and the report says what visitors met."""
    answer = asgi(app).run("rehearse", "--all", "--json")
    document = json.loads(answer.stdout)
    drills = {drill["id"]: drill for drill in document["drills"]}
    assert answer.returncode == 0, answer.stderr
    for id_ in ("bad-release-is-undone", "release-exits-at-boot"):
        assert drills[id_]["outcome"] == "ok", drills[id_]
        assert drills[id_]["observed"].startswith("exit 3, restored")
        assert drills[id_]["expected"]


def test_bad_releases_of_any_application_are_undone(app):
    """A script without an importable `app`, whose last line never returns: what is broken is how it is started."""
    ids = "bad-release-is-undone,release-exits-at-boot,release-cannot-start,going-back"
    answer = app.run("rehearse", "--only", ids, "--json")
    drills = {drill["id"]: drill for drill in json.loads(answer.stdout)["drills"]}
    assert answer.returncode == 0, answer.stderr
    assert list(drills) == ids.split(",")
    causes = {id_: drill["details"].get("cause", "") for id_, drill in drills.items()}
    assert "never ready" in causes["bad-release-is-undone"]
    assert "exited with code 1" in causes["release-exits-at-boot"]
    assert "exited with code 127" in causes["release-cannot-start"]


def test_manifest_of_a_bad_release_is_what_the_good_one_says_but_for_its_service():
    """Every kind of value that TOML has survives being written anew."""
    manifest = {
        "text": 'a "quoted" \\ line\nbreak 土台 🏗 \x7f', "n": 1, "x": 1.5, "yes": True, "day": date(2026, 11, 29),
        "list": [1, [2.0, "a"]], "table": {"a key": {"deep": []}}, "rows": [{"name": "a"}, {"name": "b"}],
    }  # fmt: skip
    text = "".join(f"{as_toml(name)} = {as_toml(value)}\n" for name, value in manifest.items())
    assert tomllib.loads(text) == manifest


def test_one_drill_can_be_chosen_and_an_unknown_one_is_told_before_anything_starts(app):
    """A typing error costs nothing."""
    answer = asgi(app).run("rehearse", "--only", "bad-release-is-undon")
    assert answer.returncode == 2
    assert "did you mean `bad-release-is-undone`?" in answer.stderr
    assert not (app.folder / ".dodai").exists()


def test_story_that_fails_is_a_failed_rehearsal_with_the_reason(app):
    """Exit 1, the reason in the report and on the screen."""
    app.write(spoil="raise SystemExit('no such setting: COLOUR')")
    answer = app.run("rehearse")
    report = json.loads((app.folder / ".dodai/rehearsals/latest/report.json").read_text())
    assert answer.returncode == 1
    assert report["outcome"] == "failed"
    assert "no such setting: COLOUR" in report["problem"]
    assert "no such setting: COLOUR" in answer.stderr
    assert "1 step undone" in answer.stderr
    app.write()
    carry_out(answer.stderr, proposal.REHEARSE, cwd=app.folder)
    assert "resume" not in answer.stderr + report["problem"]


def test_killed_rehearsal_leaves_no_process_and_the_next_one_is_clean(app):
    """`kill -9` in the middle of the story."""
    first = app.start("rehearse")
    until(lambda: "edge" in app.output() or first.poll() is not None)
    first.kill()
    first.wait()
    until(lambda: not app.processes())
    assert app.run("rehearse").returncode == 0


def test_no_release_of_the_tree_contains_rehearsal_code(app):
    """Bad releases are derived; what is deployed is the tree, byte for byte."""
    answer = asgi(app).run("rehearse", "--only", "bad-release-is-undone", "--json")
    tree = json.loads(answer.stdout)["tree"]
    assert app.run("deploy", "staging", "--yes").stdout.split()[-1] == tree
    published = app.folder / ".dodai" / "env" / "staging" / "releases"
    pages = [path.read_text() for path in published.rglob("page.py")]
    assert pages
    assert all(text == ASGI for text in pages)
