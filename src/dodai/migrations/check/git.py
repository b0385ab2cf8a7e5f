"""Commits and files of a repository, read through git without touching the working tree."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path


class GitError(Exception):
    """git refused or cannot be run; the message is its first line."""


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


def commit(root: Path, ref: str) -> str:
    """The commit a ref leads to, "" when there is none."""
    try:
        return git(root, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}").decode().strip()
    except GitError:
        return ""


def files_at(root: Path, ref: str, folder: str, suffix: str, *, below: bool = False) -> Mapping[str, bytes]:
    """The files in `folder` (relative to `root`), and `below` it, at a commit, by path relative to `root`.

    None when the folder was not there yet; raises `GitError` for anything that git cannot give, because a file that
    is missing by mistake would count as new.
    """
    prefix = "" if folder in ("", ".") else folder.rstrip("/") + "/"
    listed = git(root, "ls-tree", "-z", "-r", ref, "--", prefix or ".").split(b"\0")
    names = [row.split(b"\t", 1) for row in listed if row]
    wanted = [
        (name.decode(), meta.split()[2])
        for meta, name in names
        if meta.split()[1] == b"blob"
        and name.endswith(suffix.encode())
        and (below or b"/" not in name.removeprefix(prefix.encode()))
    ]
    blobs = _blobs(root, [blob for _, blob in wanted])
    return {name: blobs[blob] for name, blob in wanted}


def _blobs(root: Path, ids: list[bytes]) -> dict[bytes, bytes]:
    """The contents of many blobs through one process."""
    out = git(root, "cat-file", "--batch", stdin=b"".join(id_ + b"\n" for id_ in ids)) if ids else b""
    found: dict[bytes, bytes] = {}
    at = 0
    for id_ in ids:
        end = out.index(b"\n", at)
        head = out[at:end].split()
        if len(head) != 3:
            raise GitError(f"the content of `{id_.decode()}` is not in this clone")
        size = int(head[2])
        found[id_] = out[end + 1 : end + 1 + size]
        at = end + 1 + size + 1
    return found
