"""What a user's machine can get in the way of is told with its cause and a fix, and is no defect of dodai."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dodai.cli.main import run

from .support.page import blocks
from .test_guides import DEADLINE_S, GUIDES, running

DODAI = [sys.executable, "-m", "dodai"]
HEALTH = "\n[service.web.health]\n{}\n"
ASCII = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.fixture
def app(tmp_path):
    """The application of the adopt guide, in a folder with blanks and Japanese in its name."""
    folder = tmp_path / "日本語 の アプリ"
    folder.mkdir()
    for block in blocks(GUIDES / "adopt.md"):
        if block.title:
            (folder / block.title).write_text(block.text, "utf-8")
    return folder


def dodai(folder, *words):
    argv = [*DODAI, *words]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def test_a_locale_without_utf_8_serves_an_app_in_a_japanese_folder(app, tmp_path, monkeypatch):
    """`up` once waited 25 s for an answer that could not be encoded."""
    for name, value in ASCII.items():
        monkeypatch.setenv(name, value)
    with running([*DODAI, "up"], app, tmp_path / "up.txt"):
        status = dodai(app, "status", "--json")
    assert (status.returncode, '"running": true' in status.stdout) == (0, True), status.stderr


@pytest.mark.parametrize("words", ["up", "deploy local --yes"])
def test_a_file_where_the_state_folder_belongs_is_named(app, words):
    """Not a defect in dodai: the message says what stands where."""
    (app / ".dodai").write_text("in the way", "utf-8")
    done = dodai(app, *words.split())
    assert done.returncode == 4
    assert "DOD055 file-unusable" in done.stderr
    assert f"fix: something else stands at `{app / '.dodai'}`" in done.stderr
    assert (app / ".dodai").read_text("utf-8") == "in the way"


def test_documents_that_cannot_be_written_are_named(app):
    """The folder of the documents is a link that leads in a circle."""
    (app / "docs").symlink_to("docs")
    done = dodai(app, "docs")
    assert (done.returncode, "DOD055" in done.stderr) == (4, True), done.stderr


@pytest.mark.parametrize(
    ("number", "where", "fix"),
    [
        (errno.EACCES, "{others}/.dodai/env/local", "`sudo chown -R {uid} {others}/.dodai`"),
        (errno.EACCES, "{others}/docs", "`{others}` belongs to another account"),
        (errno.EACCES, "{own}/docs", "`chmod u+rwX {own}`"),
        (errno.ENOSPC, "{own}/docs", "free space on the disk of `{own}`"),
        (errno.EROFS, "{own}/docs", "`{own}` is on a read-only disk"),
        (errno.EMFILE, "{own}/docs", "`ulimit -n 4096`"),
    ],
)
def test_each_refusal_of_the_system_has_its_fix(tmp_path, monkeypatch, capsys, number, where, fix):
    """Whose folder it is decides what is proposed; nobody is told to take over a whole tree that is not dodai's."""
    names = {"own": str(tmp_path / "own"), "others": str(tmp_path / "others"), "uid": str(os.getuid())}
    (tmp_path / "own").mkdir()
    (tmp_path / "others" / ".dodai").mkdir(parents=True)
    owner = Path.stat

    def stat(path, **options):
        found = owner(path, **options)
        return os.stat_result((*found[:4], found.st_uid + 1, *found[5:])) if "others" in path.parts else found

    def refused(*_arguments, **_options):
        raise OSError(number, os.strerror(number), where.format(**names))

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr("dodai.cli.main.app.main", refused)
    assert run(["status"]) == 4
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("  fix: ")]
    assert len(told) == 1
    assert fix.format(**names) in told[0]


def test_a_failure_that_names_no_file_is_still_ours(monkeypatch, capsys):
    """A socket that nobody answers on is nothing that the user could give back."""

    def refused(*_arguments, **_options):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")

    monkeypatch.setattr("dodai.cli.main.app.main", refused)
    assert run(["status"]) == 4
    assert "DOD080" in capsys.readouterr().err


def without_ready_path(app):
    path = app / "web.py"
    path.write_text(path.read_text("utf-8").replace('            Route("/readyz", ready),\n', ""), "utf-8")


def test_a_missing_readiness_path_is_found_by_check(app):
    """Before anything is started."""
    without_ready_path(app)
    done = dodai(app, "check", "operations", "--output-format", "json")
    [found] = [one for one in json.loads(done.stdout)["findings"] if one["code"] == "DOD310"]
    assert done.returncode == 1
    assert found["message"] == "`web` has no `/readyz`, which is asked before it gets any traffic"
    assert found["fix"] == (
        "let `/readyz` answer 200 once it can serve; or name another `path` in `[service.web.health]`, "
        'or `kind = "tcp"`'
    )


def test_a_missing_readiness_path_is_told_by_up_without_its_log(app):
    """Not after the timeout, and not below eighty lines of 404; the key that it names makes the application start."""
    without_ready_path(app)
    (app / "dodai.toml").write_text((app / "dodai.toml").read_text("utf-8") + HEALTH.format('timeout = "10m"'), "utf-8")
    done = dodai(app, "up")  # its deadline is far shorter than the timeout
    assert done.returncode in (3, 4)
    assert "cannot be asked: it answers, but has no `/readyz` (404)" in done.stderr
    assert '`path = "/"` in `[service.web.health]`' in done.stderr
    assert '"route":"/readyz"' not in done.stderr
    text = (app / "dodai.toml").read_text("utf-8").replace('timeout = "10m"', 'path = "/"')
    (app / "dodai.toml").write_text(text, "utf-8")
    with running([*DODAI, "up"], app, app / "up.txt"):
        assert dodai(app, "status").returncode == 0


def test_a_manifest_with_a_byte_order_mark_is_read(app):
    """Editors on Windows write one."""
    text = (app / "dodai.toml").read_bytes()
    (app / "dodai.toml").write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    done = dodai(app, "releases", "local")
    assert (done.returncode, "no release was ever in service" in done.stdout) == (1, True), done.stderr


def test_a_manifest_in_utf_16_is_told_so(app):
    """What a redirection in an old PowerShell writes."""
    (app / "dodai.toml").write_bytes((app / "dodai.toml").read_text("utf-8").encode("utf-16"))
    done = dodai(app, "status")
    assert done.returncode == 2
    assert "the file is UTF-16" in done.stderr
    assert "fix: save it as UTF-8" in done.stderr
