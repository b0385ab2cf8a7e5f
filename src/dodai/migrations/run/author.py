"""Who runs migrations, from which commit, and the id of a run."""

from __future__ import annotations

import os
from pathlib import Path

from dodai.migrations.ports import Author


def new_run() -> str:
    """An id for one run: 32 hexadecimal digits."""
    return os.urandom(16).hex()


def author_of(root: Path, version: str, *, actor: str = "", approval: str = "") -> Author:
    """Who runs this and from which commit, as far as it can be seen; `actor` wins over what the machine says."""
    import platform  # a run that finds nothing to do has no author

    from dodai.engine.actor import actor as who_acts

    return Author(
        actor=actor or who_acts(),
        host=platform.node(),
        git_sha=_git(root, "rev-parse", "HEAD"),
        git_dirty=bool(_git(root, "status", "--porcelain", "--", ".")),
        version=version,
        approval=approval,
    )


def _git(root: Path, *words: str) -> str:
    """The output of git, "" where there is no repository or no git."""
    import subprocess

    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
