"""Commands as a person types them: `dodai` in an environment of which nothing was inherited, and git."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support import prefork

PRIVATE = ("DODAI_", "DATABASE_URL", "NO_COLOR", "PYTEST")
"""What the environment of the test run might say to a command, and must not."""
TIMEOUT_S = 300.0
"""Ends a command that hangs; says nothing about how long one may take on a busy machine."""


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the test run without what concerns dodai, and with `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)}
    return {**kept, **(extra or {})}


def argv(*words: str) -> list[str]:
    return [sys.executable, "-m", "dodai", *words]


def dodai(
    *words: str,
    cwd: Path | str | None = None,
    timeout_s: float = TIMEOUT_S,
    driver: Path | None = None,
    stdin: Any = subprocess.DEVNULL,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """What the command said and how it ended; `driver` is a script that stands for `-m dodai` and finds the tests."""
    if not any(name.startswith(prefork.AT_START) for name in environment):
        return prefork.run(words, cwd, clean_environment(environment), stdin, timeout_s, driver)
    return subprocess.run(
        [sys.executable, str(driver), *words] if driver else argv(*words), cwd=cwd, env=clean_environment(environment),
        capture_output=True, text=True, timeout=timeout_s, stdin=stdin, check=False,
    )  # fmt: skip


def start_dodai(*words: str, cwd: Path, output: Any, **environment: str) -> subprocess.Popen[bytes]:
    """The command in the background, writing to `output`."""
    return subprocess.Popen(
        argv(*words), cwd=cwd, env=clean_environment(environment), stdin=subprocess.DEVNULL,
        stdout=output, stderr=output,
    )  # fmt: skip


def git(folder: Path, *words: str) -> str:
    """What git printed; raises when it failed. Nobody's own settings count."""
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder: Path) -> None:
    """A repository whose only commit has everything below `folder`."""
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "x")
