"""The mistakes of a first day: one message each, word by word, with its cause and the next step; no defect of dodai."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.command import dodai
from tests.support.page import blocks

from dodai.cli import main
from dodai.wiring.registry import codes

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "guides" / "adopt.md"


@pytest.fixture
def app(tmp_path):
    """The application of the adopt guide."""
    folder = tmp_path / "shop app"
    folder.mkdir()
    for block in blocks(GUIDE):
        if block.title:
            (folder / block.title).write_text(block.text, "utf-8")
    yield folder
    if list((folder / ".dodai").glob("env/local/host.json")):  # a Host stays to be asked, whatever the deploy came to
        dodai("down", "local", "--yes", cwd=folder)


def edit(app, old, new, name="dodai.toml"):
    text = (app / name).read_text("utf-8")
    assert old in text
    (app / name).write_text(text.replace(old, new), "utf-8")


def key(app):
    edit(app, "public = true", "publik = true")


def folder(app):
    edit(app, 'langs = ["en"]\n', 'langs = ["en"]\n\n[migrations]\nfolder = "db/migratons"\n')
    (app / "db" / "migrations").mkdir(parents=True)
    (app / "db" / "migrations" / "1_a.sql").write_text("-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 1;\n")


def no_manifest(app):
    (app / "dodai.toml").unlink()


def interpreter(app):
    edit(app, 'name = "shop"\n', 'name = "shop"\npython = ".venv/bin/python"\n')


def import_error(app):
    edit(app, "import os\n", "import os\nimport nosuchmodule\n", "web.py")


def latin_1(app):
    (app / "dodai.toml").write_bytes("# café\n".encode("latin-1") + (app / "dodai.toml").read_bytes())


def state_in_the_way(app):
    (app / ".dodai").write_text("")


def outside_link(app):
    (app / "outside").symlink_to("/etc/hostname")


def nothing(app):
    """The folder is no git repository."""


MISTAKES = [
    (
        key,
        ("up",),
        2,
        "DOD002 manifest-unknown-key: dodai.toml:8:1: unknown key `publik` in [service.web]",
        "did you mean `public`?",
    ),
    (
        no_manifest,
        ("status",),
        2,
        "DOD050 manifest-not-found: no `dodai.toml` in `{app}` or above it",
        "run it in the folder of `dodai.toml`, or name the file with `--manifest`",
    ),
    (
        folder,
        ("check", "migrations", "--fast"),
        1,
        "there is no folder `db/migratons`, which `[migrations]` names",
        "did you mean `db/migrations`?",
    ),
    (
        folder,
        ("up",),
        1,
        "DOD201 migration-name: db/migratons: the folder `db/migratons` does not exist",
        "did you mean `db/migrations`?",
    ),
    (
        interpreter,
        ("up",),
        2,
        "DOD076 interpreter-cannot-start: `{app}/.venv/bin/python` is no program that can be started",
        (
            "make the environment that `[project] python` names, or correct the path; without the key it is the Python of"
            " dodai"
        ),
    ),
    (
        import_error,
        ("check", "csrf"),
        1,
        "importing `web:app` failed with ModuleNotFoundError: No module named 'nosuchmodule' at `web.py:2`",
        "install `nosuchmodule` where `[project] python` points, or correct the import",
    ),
    (
        latin_1,
        ("up",),
        2,
        "DOD001 manifest-syntax: dodai.toml:1: the file is not UTF-8",
        "save it as UTF-8",
    ),
    (
        state_in_the_way,
        ("deploy", "local", "--yes"),
        4,
        "DOD055 file-unusable: `{app}/.dodai` cannot be used: ",
        "something else stands at `{app}/.dodai`: move it away, then run the command again",
    ),
    (
        outside_link,
        ("up",),
        2,
        "DOD366 unsafe-release-tree: the link `outside` leads to `/etc/hostname`, which is not part of the release",
        "make it relative and keep it inside the project, or let git ignore it",
    ),
    (
        nothing,
        ("rehearse", "--record", "local"),
        1,
        (
            "DOD257 rehearsal-evidence-needed: this working tree gives no evidence for `local`: there is no commit to prove"
            " anything about"
        ),
        "commit everything, then run `dodai rehearse --record local`",
    ),
]


@pytest.mark.parametrize(
    ("make", "words", "code", "head", "fix"), MISTAKES, ids=lambda one: getattr(one, "__name__", "")
)
def test_a_mistake_is_told_with_its_cause_and_the_next_step(app, make, words, code, head, fix):
    """Once, in one message, before anything is started or written."""
    make(app)
    done = dodai(*words, cwd=app)
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert head.format(app=app) in said
    assert f"  fix: {fix.format(app=app)}\n" in said
    assert "DOD080" not in said
    assert make is folder or not list((app / ".dodai").glob("env/*/host.json"))


def test_a_busy_port_names_who_has_it_and_the_next_command_uses_the_corrected_manifest(app):
    """The release that failed carries the old port: the command must not bring that one again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (app / "dodai.toml").write_text((app / "dodai.toml").read_text() + f"\n[env.local]\nport = {port}\n")
        done = dodai("deploy", "local", "--yes", cwd=app)
    assert done.returncode == 3, done.stderr
    assert f"port `{port}` for `edge` is held by pid {os.getpid()} (`" in done.stderr
    assert (
        "  fix: stop that process, or choose another port for `edge` in the manifest; then run `dodai deploy local`\n"
        in done.stderr
    )


def test_an_application_that_fails_to_import_ends_with_the_last_lines_of_its_log(app):
    """What `up` shows is the reason, and nothing was served before, so nothing is said to go on serving."""
    import_error(app)
    done = dodai("up", cwd=app)
    assert done.returncode == 3
    assert "  web | ModuleNotFoundError: No module named 'nosuchmodule'\n" in done.stderr
    assert "  seen at the end: nothing serves\n" in done.stderr
    assert "  fix: read the last lines of its log above and correct it; then run `dodai up local`\n" in done.stderr
    assert "whatever served before" not in done.stderr


@pytest.mark.parametrize("words", ["up", "deploy local --yes", "rehearse", "migrate status", "check", "doctor"])
def test_an_extra_that_is_missing_is_one_line_to_paste(app, monkeypatch, capsys, words):
    """With `[database]` in the manifest; nothing is started, and no command calls it a defect."""
    edit(app, 'langs = ["en"]\n', 'langs = ["en"]\n\n[database]\nused_by = ["web"]\n\n[migrations]\n')
    (app / "db" / "migrations").mkdir(parents=True)
    (app / "db" / "migrations" / "1_a.sql").write_text("-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 1;\n")
    monkeypatch.chdir(app)
    code = (
        f"import sys; sys.modules['psycopg'] = None; from dodai.cli.main import run; sys.exit(run({words.split()!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    said = done.stdout + done.stderr
    assert done.returncode in (1, 2, 3), said
    assert "pip install 'dodai[postgres]'" in said
    assert "DOD080" not in said


def test_doctor_fails_for_what_this_project_needs_and_lists_nothing_else(app, monkeypatch, capsys):
    """A missing extra counts once `[database]` is there; a folder that cannot be written and a dead interpreter do."""
    monkeypatch.chdir(app)
    monkeypatch.setattr("dodai.operations.run.machine_seen._installed", lambda module: module != "psycopg")

    def rows(*words):
        code = main.run(["doctor", "--json", *words])
        return code, {row["name"]: row for row in json.loads(capsys.readouterr().out)["rows"]}

    code, seen = rows()
    assert (code, seen["extra postgres"]["verdict"]) == (0, "absent")
    assert not {"go", "chromium", "node", "npm"} & set(seen)
    edit(app, 'langs = ["en"]\n', 'langs = ["en"]\n\n[database]\nused_by = ["web"]\n')
    code, seen = rows()
    assert (code, seen["extra postgres"]["verdict"]) == (1, "missing")
    assert seen["extra postgres"]["fix"] == "pip install 'dodai[postgres]'"
    monkeypatch.setattr("dodai.operations.run.machine_seen._installed", lambda _: True)
    assert rows()[0] == 0
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, whom nothing stops
    code, seen = rows()
    assert (code, seen["state folder"]["verdict"]) == (1, "missing")
    monkeypatch.undo()
    monkeypatch.chdir(app)
    interpreter(app)
    code, seen = rows()
    assert (code, seen["project python"]["verdict"]) == (1, "missing")
    assert "does not start" in seen["project python"]["seen"]


@pytest.mark.parametrize("variable", ["DODAI_LANG", "LC_ALL", "LANG"])
def test_a_mistake_is_told_in_japanese_where_the_terminal_is_japanese(app, variable):
    """The code's own words first, then what happened here and what to type, as in English."""
    key(app)
    quiet = dict.fromkeys(("LC_ALL", "LC_MESSAGES", "LANG"), "")
    said = dodai("up", cwd=app, **quiet | {variable: "ja_JP.UTF-8"}).stderr
    assert said.splitlines()[:2] == [
        "DOD002 manifest-unknown-key: `dodai.toml` に未知のキーまたは表があります",
        "  dodai.toml:8:1: unknown key `publik` in [service.web]",
    ]
    assert "  対処: " in said
    assert "        did you mean `public`?\n" in said
    assert "  理由: " in said


def test_findings_are_told_in_japanese_where_the_terminal_is_japanese(app):
    """What the code stands for, then what was found, in one language and then in the other."""
    text = (app / "dodai.toml").read_text() + '\n[service.web.env]\nBACKEND = "{backnd.address}"\n'
    (app / "dodai.toml").write_text(text)
    said = dodai("check", "operations", cwd=app, DODAI_LANG="ja").stdout
    head, _, rest = said.partition("DOD311 reference-to-no-service: ")[2].partition("\n")
    assert head == codes()["DOD311"].what.ja
    assert "  `BACKEND` in `[service.web.env]` refers to `backnd`" in rest
    assert f"  対処: {codes()['DOD311'].fix.ja}\n" in rest
    assert f"  理由: {codes()['DOD311'].why.ja}\n" in rest
