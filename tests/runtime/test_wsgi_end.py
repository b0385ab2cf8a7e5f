"""How a WSGI worker ended, by its last line: recycled and stopped ones say so, those that crashed do not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.command import clean_environment

WORKER = """
import os, signal, sys
from wsgiref.util import setup_testing_defaults
import dodai.wsgi

how = sys.argv[1]

def application(environ, start_response):
    if how == "hangs and is aborted by its server":
        sys.exit(1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"well"]

wrapped = dodai.wsgi.wrap(application)

def serve():
    environ = {}
    setup_testing_defaults(environ)
    body = wrapped(environ, lambda status, headers: None)
    list(body)
    body.close()

if how != "served nothing":
    serve()
if how == "crashes":
    raise RuntimeError("out of the serving loop")
if how == "is killed":
    os.kill(os.getpid(), signal.SIGKILL)
if how == "forks a child that ends":
    if os.fork() == 0:
        sys.exit(0)
    os.wait()
    os.kill(os.getpid(), signal.SIGKILL)
if how == "is stopped":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.kill(os.getpid(), signal.SIGTERM)
"""
SAID = {
    "is recycled": ["stopping"],
    "is stopped": ["stopping"],
    "served nothing": [],
    "crashes": [],
    "is killed": [],
    "hangs and is aborted by its server": [],
    "forks a child that ends": [],
}


@pytest.mark.parametrize("how", SAID)
def test_worker_that_was_asked_to_end_says_so_and_no_other(how: str, tmp_path: Path):
    """A process of its own each; what it says is its line and not its exit code."""
    known = {"DODAI_STATE": str(tmp_path), "DODAI_SERVICE": "web", "DODAI_ENV": "test"}
    argv = [sys.executable, "-c", WORKER, how]
    done = subprocess.run(argv, cwd=tmp_path, env=clean_environment(known), capture_output=True, text=True, check=False)
    rows = [json.loads(row) for file in (tmp_path / "lines").glob("*.jsonl*") for row in file.read_text().splitlines()]
    assert [row["name"] for row in rows if row["type"] == "event"] == SAID[how], done.stderr
