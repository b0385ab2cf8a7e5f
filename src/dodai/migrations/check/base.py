"""The migrations of another commit, read through git without touching the working tree."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from dodai.core.fact import NotApplicable, Unknown
from dodai.migrations.check.facts import Base
from dodai.migrations.goose_file import Folder, read_files
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import Tool

FALLBACKS = ("origin/HEAD", "main", "master", "HEAD")


class GitError(Exception):
    """git said no; the message is its first line."""


def git(root: Path, *words: str, stdin: bytes = b"") -> bytes:
    """What git prints; raises `GitError`."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, input=stdin, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitError(f"git cannot be run: {error}") from error
    if done.returncode != 0:
        raise GitError(done.stderr.decode(errors="replace").strip().partition("\n")[0] or f"git {words[0]} failed")
    return done.stdout


def read_base(
    root: Path, policy: MigrationsPolicy, wanted: str = "", reader: Tool | None = None
) -> Base | Unknown | NotApplicable:
    """The migrations at the tip of the base and at the fork point.

    `wanted` (the `--base` of a command) must exist. Without it `[migrations].base` is taken if it is there, else the
    main branch, else the last commit: a young repository has no remote.
    """
    try:
        git(root, "rev-parse", "--git-dir")
    except GitError:
        return NotApplicable("this is not a git repository")
    ref = wanted or next((name for name in (policy.base, *FALLBACKS) if commit(root, name)), "")
    if not ref:
        return NotApplicable("the repository has no commit yet")
    if not commit(root, ref):
        return Unknown(f"the base `{ref}` is not known to git here", "fetch it, or name another with `--base`")
    try:
        fork = git(root, "merge-base", ref, "HEAD").decode().strip()
    except GitError:
        return Unknown(
            f"`{ref}` and HEAD have no common commit here", "fetch the whole history (`git fetch --unshallow`)"
        )
    at = reader.at if reader else partial(_folder, root, policy)
    return Base(ref, at(ref).migrations, at(fork).migrations)


def commit(root: Path, ref: str) -> str:
    """The commit a ref leads to, "" when there is none."""
    try:
        return git(root, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}").decode().strip()
    except GitError:
        return ""


def _folder(root: Path, policy: MigrationsPolicy, ref: str) -> Folder:
    return read_files(files_at(root, ref, policy.folder, ".sql"), layout=policy.format)


def files_at(root: Path, ref: str, folder: str, suffix: str, *, below: bool = False) -> Mapping[str, bytes]:
    """The files in `folder` (relative to `root`), and `below` it, at a commit, by path relative to `root`."""
    prefix = "" if folder in ("", ".") else folder.rstrip("/") + "/"
    try:
        listed = git(root, "ls-tree", "-z", "--full-tree", "-r", f"{ref}:./{folder}").split(b"\0")
    except GitError:
        return {}
    names = [row.split(b"\t", 1) for row in listed if row]
    wanted = [
        (name.decode(), meta.split()[2])
        for meta, name in names
        if name.endswith(suffix.encode()) and (below or b"/" not in name)
    ]
    blobs = _blobs(root, [blob for _, blob in wanted])
    return {prefix + name: blobs[blob] for name, blob in wanted}


def _blobs(root: Path, ids: list[bytes]) -> dict[bytes, bytes]:
    """The contents of many blobs through one process."""
    out = git(root, "cat-file", "--batch", stdin=b"".join(id_ + b"\n" for id_ in ids)) if ids else b""
    found: dict[bytes, bytes] = {}
    at = 0
    for id_ in ids:
        end = out.index(b"\n", at)
        size = int(out[at:end].split()[2])
        found[id_] = out[end + 1 : end + 1 + size]
        at = end + 1 + size + 1
    return found
