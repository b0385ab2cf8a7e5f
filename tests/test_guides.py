"""The guides, pasted line by line, do what they say."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.end_to_end.protected_app import SIGNERS, ProtectedApp
from tests.quiz.copies import copy_quiz
from tests.support.wait import WITHIN_S, until

ROOT = Path(__file__).resolve().parents[1]
GUIDES = ROOT / "docs" / "guides"
UP = "../../.venv/bin/dodai up"
DEADLINE_S = 90.0


def blocks(guide: str, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", (GUIDES / guide).read_text("utf-8"))


def pasted() -> list[str]:
    """The commands of the first run after the checkout is there; `make rehearse` is a target of its own in CI."""
    lines = [line for block in blocks("first-run.md", "console") for line in block.splitlines()]
    return lines[lines.index("make rehearse") + 1 :]


@contextmanager
def running(
    words: list[str], folder: Path, output: Path, within_s: float = WITHIN_S
) -> Iterator[subprocess.Popen[str]]:
    """A `dodai up` that serves; afterwards Ctrl-C has ended it with 0. `within_s` has to do for what it builds first."""
    with output.open("w", encoding="utf-8") as file:
        # A group of its own, as a terminal gives it: Ctrl-C reaches this command and no other.
        process = subprocess.Popen(words, cwd=folder, stdout=file, stderr=file, text=True, process_group=0)
    try:
        serving(process, output, within_s)
        yield process
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 0, output.read_text("utf-8")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture
def checkout(tmp_path) -> Iterator[Path]:
    """A checkout with the example in it and `dodai` where the guide has it; nothing of it is left afterwards."""
    copy_quiz(tmp_path / "examples" / "quiz")
    command = tmp_path / ".venv" / "bin" / "dodai"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dodai "$@"\n', "utf-8")
    command.chmod(0o755)
    yield tmp_path
    for env in ("local", "staging"):
        subprocess.run([command, "down", env], cwd=tmp_path / "examples" / "quiz", capture_output=True, check=False)
    for note in tmp_path.glob("examples/quiz/.dodai/env/*/postgres/elsewhere"):
        shutil.rmtree(note.read_text("utf-8").strip(), ignore_errors=True)


def serving(process: subprocess.Popen[str], output: Path, within_s: float = WITHIN_S) -> str:
    """What `up` printed once it serves."""
    until(lambda: "Ctrl-C stops all" in output.read_text("utf-8"), lambda: output.read_text("utf-8"), process, within_s)
    return output.read_text("utf-8")


def test_the_first_run_can_be_pasted_from_top_to_bottom(checkout):
    """Every command ends as the guide says, with `up` running beside those that follow it."""
    lines = pasted()
    enter, rest = lines[: lines.index(UP)], lines[lines.index(UP) + 1 :]
    assert [line.partition(" ")[0] for line in enter] == ["cd"]
    folder = checkout / enter[0].removeprefix("cd ")
    with running(UP.split(), folder, checkout / "up.txt"):
        for line in rest:
            done = subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, check=False)
            accepted = (0, 1) if line.endswith("check") else (0,)
            assert done.returncode in accepted, f"{line}\n{done.stdout}{done.stderr}"
            if line.endswith("migrate up"):
                assert "already" in done.stdout
    shown = (checkout / "up.txt").read_text("utf-8")
    assert re.search(r"(?m)^web +\| GET / 200 ", shown), shown
    assert '"heartbeat"' not in shown
    assert re.search(r"already  restore-point +a copy of the database to come back to: (not needed|\S+)  ", shown), (
        shown
    )
    page = (ROOT / "docs" / "reference" / "state-folder.md").read_text("utf-8")
    kept = {path.name for path in folder.glob(".dodai/env/*/*")}
    assert not sorted(name for name in kept if f"`{name}" not in page)


@pytest.mark.parametrize("block", blocks("adopt.md", "python")[1:], ids=["grpc", "psycopg"])
def test_the_other_tiers_of_the_guide_can_be_made(block):
    """Server, channel and pool are made; nothing is connected to."""
    program = "import asyncio, textwrap\nasync def main():\n    exec(BLOCK)\nasyncio.run(main())"
    argv = [sys.executable, "-W", "error", "-c", program.replace("BLOCK", repr(block))]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_protected_environment_is_deployed_to_as_runbook_and_guide_say(tmp_path, database):
    """The block of the generated runbook, line by line: refused once, approved by somebody else, let in, on record."""
    folder = tmp_path / "app"
    folder.mkdir()
    app = ProtectedApp(folder, database)
    app.signers("hana").write(protection=f'allowed_signers = "{SIGNERS}"')
    try:
        assert app.run("docs").returncode == 0
        app.commit()
        runbook = (folder / "docs" / "Phase2" / "production-operations.en.md").read_text("utf-8")
        section = runbook.partition("## Before a deploy")[2]
        lines = re.findall(r"(?ms)^```console\n(.*?)^```", section)[0].splitlines()
        assert lines == blocks("protected-environments.md", "console")[0].splitlines()
        plan, codes = "", []
        for line in lines:
            words = line.replace("PLAN", plan).split()[1:]
            more = {"approve": ["--key", str(app.key("hana")), "--yes"], "deploy": ["--yes"]}.get(words[0], [])
            done = app.run(*words, *more)
            codes.append(done.returncode)
            plan = next(iter(re.findall(r"`dodai approve (deploy-[^`]+)`", done.stderr)), plan)
        assert codes == [0, 0, 1, 0, 0, 0], done.stderr
        assert "approved by hana@example.com" in done.stdout
        limited = re.findall(r"(?ms)^```console\n(.*?)^```", section.partition("## Audit log")[2])[0]
        assert app.run(*limited.split()[1:]).returncode == 0
    finally:
        app.clear()
