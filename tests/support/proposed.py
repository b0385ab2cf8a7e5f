"""Carrying out what a message proposes, in the state that proposed it."""

from __future__ import annotations

import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.command import dodai, start_dodai
from tests.support.wait import until

from dodai.core.proposal import Proposal

LOOKS = (
    "logs",
    "status",
    "history",
    "releases",
    "doctor",
    "explain",
    "trace",
    "watch",
    "routes",
    "check",
    "secrets list",
    "migrate check",
    "migrate status",
)
"""Commands that only look: their exit code says what they saw, so that it is not 0 is no failure of theirs."""


def carry_out(
    said: str,
    proposed: Proposal,
    *,
    cwd: Path,
    more: Sequence[str] = (),
    known: Mapping[str, str] | None = None,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
    **words: str,
) -> subprocess.CompletedProcess[str]:
    """What the command did that `said` proposes, which has to be there word by word, and has to work.

    `words` are those of the state, `known` what only the person knows, by its placeholder, `more` the answer to a
    question.
    """
    line = proposed(**words)
    assert line in said, f"`{line}` is not proposed:\n{said}"
    filled = line
    for placeholder, word in (known or {}).items():
        assert placeholder in filled, f"{placeholder} is not in `{line}`"
        filled = filled.replace(placeholder, word)
    given = shlex.split(filled)
    assert given[0] == "dodai"
    if given[1] in ("up", "watch") and "--once" not in given:
        return _until_it_serves(given[1:], cwd)
    if stdin is None:
        done = dodai(*given[1:], *more, cwd=cwd, **(environment or {}))
    else:
        file = cwd / "given.txt"
        file.write_text(stdin)
        with file.open("rb") as given_text:
            done = dodai(*given[1:], *more, cwd=cwd, stdin=given_text)
        file.unlink()
    looks = filled.removeprefix("dodai ").startswith(LOOKS)
    allowed = (0, 1, 4) if looks else (0,)
    assert done.returncode in allowed, f"`{filled}` ends with {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert not looks or "  fix: " not in done.stderr, f"`{filled}` was refused\n{done.stderr}"
    return done


def _until_it_serves(words: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command that goes on until Ctrl-C, which has to end it with 0 or as one that was interrupted."""
    log = cwd / "carried-out.log"
    with log.open("w") as file:
        process = start_dodai(*words, cwd=cwd, output=file)
    try:
        until(lambda: "http://" in log.read_text(), log.read_text, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, 130), log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return subprocess.CompletedProcess(list(words), 0, log.read_text(), "")
