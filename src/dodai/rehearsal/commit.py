"""The git commit that is rehearsed, and whether the working tree is that commit without a change."""

from __future__ import annotations

import subprocess
from pathlib import Path

from dodai.core.errors import DodaiError
from dodai.migrations.codes import EVIDENCE_NEEDED

_LOOK = ("-c", "core.fileMode=true", "-c", "core.fsmonitor=false")
"""Whatever the settings of a person or a repository leave out, a release has it."""


def commit_of(root: Path) -> str:
    """The git commit of the tree, with `+` when it has uncommitted changes; empty outside git."""
    try:
        head = _git(root, "rev-parse", "HEAD")
        words = ("status", "--porcelain", "--untracked-files=all", "--ignore-submodules=none", "--", ".")
        return head + ("+" if _git(root, *_LOOK, *words) else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def clean_commit(root: Path, env: str) -> str:
    """The commit that is checked out at `root` without a change; DOD257 (exit 1) when there is none.

    Files that git was told not to look at are changes that nobody would see.
    """
    commit = commit_of(root)
    if not commit:
        raise no_evidence(env, "there is no commit to prove anything about")
    if commit.endswith("+"):
        raise no_evidence(env, "it has changes that are not committed")
    hidden = [line[2:] for line in _git(root, "ls-files", "-v").splitlines() if line[0].islower() or line[0] == "S"]
    if hidden:
        raise no_evidence(env, f"`{hidden[0]}` is hidden from `git status`")
    return commit


def no_evidence(env: str, why: str) -> DodaiError:
    """DOD257: the working tree proves nothing about a release for `env`."""
    said = f"this working tree gives no evidence for `{env}`: {why}"
    return DodaiError(EVIDENCE_NEEDED, said, EVIDENCE_NEEDED.fix.en.replace("ENV", env), exit_code=1)


def _git(root: Path, *words: str) -> str:
    answer = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, timeout=20, check=True)
    return answer.stdout.strip()
