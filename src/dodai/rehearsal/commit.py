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
    if other := _not_as_committed(root):
        raise no_evidence(env, f"`{other}` is not what a checkout would write: a filter of git hides that")
    return commit


def _not_as_committed(root: Path) -> str:
    """The first file that is compared with its commit through a filter, and is not what a checkout writes; else `""`.

    `git status` believes what the filter makes of a file; Git LFS is such a filter, and passes.
    """
    listed = _run(root, "ls-files", "-z", "--", ".")
    told = _run(root, "check-attr", "-z", "--stdin", "filter", given=listed).decode("utf-8", "surrogateescape")
    fields = told.split("\0")
    filtered = [
        path for path, value in zip(fields[::3], fields[2::3], strict=False) if value not in ("unspecified", "unset")
    ]
    for path in filtered:
        file = root / path
        if file.is_file() and file.read_bytes() != _run(root, "cat-file", "--filters", f"HEAD:./{path}"):
            return path
    return ""


def no_evidence(env: str, why: str) -> DodaiError:
    """DOD257: the working tree proves nothing about a release for `env`."""
    said = f"this working tree gives no evidence for `{env}`: {why}"
    return DodaiError(EVIDENCE_NEEDED, said, EVIDENCE_NEEDED.fix.en.replace("ENV", env), exit_code=1)


def _git(root: Path, *words: str) -> str:
    return _run(root, *words).decode("utf-8", "surrogateescape").strip()


def _run(root: Path, *words: str, given: bytes | None = None) -> bytes:
    """What git printed, of the objects that are there: replaced ones are for whoever reads history."""
    argv = ["git", "--no-replace-objects", *words]
    return subprocess.run(argv, cwd=root, input=given, capture_output=True, timeout=20, check=True).stdout
