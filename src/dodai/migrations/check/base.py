"""The base: the branch that new migrations are compared with, what it holds, and where this branch left it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from dodai.core.fact import NotApplicable, Unknown
from dodai.migrations.check.facts import Base, Unversioned
from dodai.migrations.check.git import GitError, commit, files_at, git
from dodai.migrations.goose_file import NESTED, MigrationFolder, read_files
from dodai.migrations.policy import NO_BASE, MigrationsPolicy
from dodai.migrations.ports import Tool
from dodai.migrations.queries import Query, queries

REMOTE = ("origin/main", "origin/HEAD")
LOCAL = ("main", "master")


def read_base(
    root: Path,
    policy: MigrationsPolicy,
    wanted: str = "",
    reader: Tool | None = None,
    environment: Mapping[str, str] | None = None,
) -> Base | Unknown | NotApplicable:
    """The migrations at the tip of the base and at the fork point.

    `wanted` (the `--base` of a command), else `[migrations].base`, must exist. Without either it is the main branch of
    the remote, in a repository without a remote the local main branch. Nothing else stands in for it: compared with
    the branch itself nothing would ever be new or edited.
    """
    named = wanted or policy.base
    if named == NO_BASE:
        return NotApplicable("`base` is `none`")
    try:
        git(root, "rev-parse", "--git-dir")
    except GitError as error:
        fix = f'run it in the git clone, or say `[migrations] base = "{NO_BASE}"`'
        return Unversioned(f"there is no base to compare with: {error}", fix)
    if not commit(root, "HEAD"):
        return NotApplicable("the repository has no commit yet")
    ref = named or _main_branch(root)
    at = commit(root, ref) if ref else ""
    if not at:
        said = f"the base `{ref}` is not in this clone" if ref else "the main branch is not in this clone"
        return Unknown(said, _fetch(root, ref))
    try:
        fork = git(root, "merge-base", at, "HEAD").decode().strip()
    except GitError:
        return Unknown(f"`{ref}` and HEAD have no common commit in this clone", _fetch(root, ref))
    read = reader.at if reader else partial(_folder, root, policy, environment)
    try:
        tip = read(at).migrations
        return Base(ref, tip, tip if at == fork else read(fork).migrations, at, fork)
    except GitError as error:
        return Unknown(f"the migrations of `{ref}` cannot be read: {error}", _fetch(root, ref))


def _main_branch(root: Path) -> str:
    """The branch that everybody's work goes to; "" when this clone does not have it."""
    if found := next((name for name in REMOTE if commit(root, name)), ""):
        return found
    if _lines(root, "remote"):
        # Branches of a remote without its main one: a clone of one branch. Without any nothing was pushed yet.
        tracked = _lines(root, "for-each-ref", "refs/remotes") or _shallow(root)
        return "" if tracked else next((name for name in LOCAL if commit(root, name)), "")
    branches = _lines(root, "for-each-ref", "--format=%(refname:short)", "refs/heads")
    return next((name for name in LOCAL if name in branches), branches[0] if len(branches) == 1 else "")


def _fetch(root: Path, ref: str) -> str:
    """The command that brings the base, and its history where this clone was cut short."""
    deepen = " --unshallow" if _shallow(root) else ""
    remotes = _lines(root, "remote")
    remote, _, branch = (ref or "origin/main").partition("/")
    if remote not in remotes:
        remote, branch = ("origin" if "origin" in remotes else next(iter(remotes), "")), ref
    if not remote:
        return "name the branch that new migrations are compared with: `--base REF`, or `[migrations].base`"
    if branch == "HEAD" or commit(root, ref):
        command = f"git fetch{deepen} {remote}"
    else:
        command = f"git fetch{deepen} {remote} +refs/heads/{branch}:refs/remotes/{remote}/{branch}"
    return f"`{command}` (GitHub Actions: `fetch-depth: 0`), or name another with `--base REF`"


def _shallow(root: Path) -> bool:
    return _lines(root, "rev-parse", "--is-shallow-repository") == ["true"]


def _lines(root: Path, *words: str) -> list[str]:
    try:
        return git(root, *words).decode(errors="replace").split()
    except GitError:
        return []


def _folder(root: Path, policy: MigrationsPolicy, environment: Mapping[str, str] | None, ref: str) -> MigrationFolder:
    files = files_at(root, ref, policy.folder, ".sql", below=policy.format in NESTED)
    folder = policy.folder.rstrip("/")
    return read_files(files, environment=environment, layout=policy.format, folder=folder)


def queries_at(root: Path, ref: str, patterns: Sequence[str]) -> tuple[Query, ...]:
    """The queries at a commit; a pattern's folder is taken literally, only its last part may have a `*`."""
    files: dict[str, bytes] = {}
    for pattern in patterns:
        folder, _, last = pattern.rpartition("/")
        files |= files_at(root, ref, folder or ".", last.rpartition("*")[2])
    return queries(files)
