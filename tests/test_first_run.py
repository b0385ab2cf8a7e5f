"""The guide for the first run, pasted line by line into a shell, does what it says."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / "docs" / "guides" / "first-run.md"
UP = "../../.venv/bin/dodai up"
DEADLINE_S = 90.0


def pasted() -> list[str]:
    """The commands of the guide after the checkout is there; `make rehearse` is a target of its own in CI."""
    blocks = re.findall(r"(?ms)^```console\n(.*?)^```", GUIDE.read_text("utf-8"))
    lines = [line for block in blocks for line in block.splitlines()]
    start = lines.index("make rehearse") + 1
    return lines[start:]


@pytest.fixture
def checkout(tmp_path) -> Iterator[Path]:
    """A checkout with the example in it and `dodai` where the guide has it; nothing of it is left afterwards."""
    skipped = shutil.ignore_patterns(".dodai", "node_modules", "__pycache__", ".*_cache")
    shutil.copytree(ROOT / "examples" / "quiz", tmp_path / "examples" / "quiz", ignore=skipped)
    command = tmp_path / ".venv" / "bin" / "dodai"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dodai "$@"\n', "utf-8")
    command.chmod(0o755)
    yield tmp_path
    for env in ("local", "staging"):
        subprocess.run([command, "down", env], cwd=tmp_path / "examples" / "quiz", capture_output=True, check=False)
    for note in tmp_path.glob("examples/quiz/.dodai/env/*/postgres/elsewhere"):
        shutil.rmtree(note.read_text("utf-8").strip(), ignore_errors=True)


def serving(process: subprocess.Popen[str], output: Path) -> str:
    """What `up` printed once it serves."""
    deadline = time.monotonic() + DEADLINE_S
    while "serves" not in (said := output.read_text("utf-8")):
        assert process.poll() is None, f"`up` ended with {process.returncode}:\n{said}"
        assert time.monotonic() < deadline, said
        time.sleep(0.05)
    return said


def test_the_guide_can_be_pasted_from_top_to_bottom(checkout):
    """Every command ends as the guide says, with `up` running beside them, and Ctrl-C ends that cleanly."""
    folder, output = checkout, checkout / "up.txt"
    up: subprocess.Popen[str] | None = None
    try:
        for line in pasted():
            if line.startswith("cd "):
                folder = folder / line.removeprefix("cd ")
            elif line == UP:
                with output.open("w", encoding="utf-8") as file:
                    # A group of its own, as a terminal gives it: Ctrl-C reaches this command and no other.
                    up = subprocess.Popen(
                        line.split(), cwd=folder, stdout=file, stderr=file, text=True, process_group=0
                    )
                serving(up, output)
            else:
                done = subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, check=False)
                accepted = (0, 1) if line.endswith("check") else (0,)
                assert done.returncode in accepted, f"{line}\n{done.stdout}{done.stderr}"
                if line.endswith("migrate up"):
                    assert "already" in done.stdout
        assert up
        up.send_signal(signal.SIGINT)
        assert up.wait(DEADLINE_S) == 0, output.read_text("utf-8")
    finally:
        if up and up.poll() is None:
            up.kill()
            up.wait()
