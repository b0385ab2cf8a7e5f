"""Snapshots of the Neon stand-in: the data of branches at rest, and a restore in two phases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Protocol

from dodai.core.dataclass import dataclass
from dodai.standins.branch_server import BranchServer
from dodai.standins.neon_branch import StandInBranch, StandInOperation
from dodai.standins.standin_server import Asked, Reply, StandInRefusal, StandInRoute, route

WRITE = "write"


@dataclass(slots=True)
class StandInSnapshot:
    """The data of a branch, at rest."""

    id: str
    name: str
    server: BranchServer
    source_branch_id: str
    created_at: str


@dataclass(frozen=True, slots=True)
class _AskedSnapshotRestore:
    name: str = ""
    target_branch_id: str = ""
    finalize_restore: bool = False


@dataclass(frozen=True, slots=True)
class _AskedFinalize:
    name: str = ""


class NeonProjectHere(Protocol):
    """What snapshots ask of the project that they are of."""

    branches: dict[str, StandInBranch]
    restores: int

    @property
    def alone(self) -> AbstractContextManager[bool | None]: ...
    def in_project(self, asked: Asked) -> None: ...
    def branch_of(self, asked: Asked, branch_id: str = "") -> StandInBranch: ...
    def named(self, name: str) -> StandInBranch | None: ...
    def grow(self, name: str, server: BranchServer, replaces: str) -> StandInBranch: ...
    def new_id(self, kind: str) -> str: ...
    def refuse_locked(self) -> None: ...
    def refuse_one_more_root(self) -> None: ...
    def begin(self, action: str, branch: StandInBranch) -> StandInOperation: ...
    def shown(self, branch: StandInBranch) -> dict[str, Any]: ...
    def worked(self, operation: StandInOperation) -> dict[str, Any]: ...
    def error(self, status: int, text: str) -> Reply: ...


class NeonSnapshots:
    """Those of one project: `kept` by id, at most `most` as its plan has it."""

    def __init__(self, standin: NeonProjectHere, most: int) -> None:
        self.standin, self.most = standin, most
        self.kept: dict[str, StandInSnapshot] = {}

    def routes(self, project: str, branch: str) -> Iterator[StandInRoute]:
        yield route("POST", f"{branch}/snapshot", self._take, WRITE)
        yield route("POST", f"{branch}/finalize_restore", self._finalize, WRITE)
        yield route("GET", f"{project}/snapshots", self._list, "")
        yield route("DELETE", f"{project}/snapshots/{{snapshot}}", self._drop, WRITE)
        yield route("POST", f"{project}/snapshots/{{snapshot}}/restore", self._restore, WRITE)

    def _named(self, asked: Asked) -> StandInSnapshot:
        self.standin.in_project(asked)
        found = self.kept.get(asked.params["snapshot"])
        if found is None:
            raise StandInRefusal(self.standin.error(404, "snapshot not found"))
        return found

    def _list(self, asked: Asked) -> Reply:
        self.standin.in_project(asked)
        return Reply(200, {"snapshots": [_snapshot_shown(one) for one in self.kept.values()]})

    def _take(self, asked: Asked) -> Reply:
        with self.standin.alone:
            self.standin.refuse_locked()
            branch = self.standin.branch_of(asked)
            if branch.parent_id:
                raise StandInRefusal(self.standin.error(422, "snapshots can only be created from root branches"))
            if len(self.kept) >= self.most:
                raise StandInRefusal(self.standin.error(422, "snapshots limit exceeded"))
            at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
            number = self.standin.new_id("snap")
            made = StandInSnapshot(number, asked.query.get("name") or number, branch.server.copy(), branch.id, at)
            self.kept[made.id] = made
            operation = self.standin.begin("create_timeline", branch)
        return Reply(200, {"snapshot": _snapshot_shown(made), "operations": [self.standin.worked(operation)]})

    def _drop(self, asked: Asked) -> Reply:
        with self.standin.alone:
            snapshot = self._named(asked)
            del self.kept[snapshot.id]
            snapshot.server.discard()
        return Reply(202, {"operations": []})

    def _restore(self, asked: Asked) -> Reply:
        """A new branch without a compute; the one that it is to replace is not touched before it is finalized."""
        with self.standin.alone:
            self.standin.refuse_locked()
            snapshot, request = self._named(asked), asked.read(_AskedSnapshotRestore)
            target = self.standin.branch_of(asked, request.target_branch_id or snapshot.source_branch_id)
            name = request.name or asked.query.get("name") or self.standin.new_id("restored")
            if self.standin.named(name):
                raise StandInRefusal(self.standin.error(409, f"branch {name} already exists"))
            self.standin.refuse_one_more_root()
            made = self.standin.grow(name, snapshot.server.copy(), replaces=target.id)
            if request.finalize_restore:
                self._take_place(made, "")
            operation = self.standin.begin("create_branch", made)
        return Reply(200, {"branch": self.standin.shown(made), "operations": [self.standin.worked(operation)]})

    def _finalize(self, asked: Asked) -> Reply:
        with self.standin.alone:
            self.standin.refuse_locked()
            branch, request = self.standin.branch_of(asked), asked.read(_AskedFinalize)
            if branch.replaces not in self.standin.branches:
                raise StandInRefusal(self.standin.error(400, "the branch is not a restored snapshot that waits"))
            if request.name and self.standin.named(request.name):
                raise StandInRefusal(self.standin.error(409, f"branch {request.name} already exists"))
            self._take_place(branch, request.name)
            operation = self.standin.begin("start_compute", branch)
        return Reply(200, {"operations": [self.standin.worked(operation)]})

    def _take_place(self, branch: StandInBranch, keep_as: str) -> None:
        """Compute, name and rank of the branch that is replaced; the compute, so its address, stays and restarts."""
        old = self.standin.branches[branch.replaces]
        old.server.end()
        old.server.exchange(branch.server)
        old.server, branch.server = branch.server, old.server
        branch.name, old.name = old.name, keep_as or f"{old.name} (old)"
        branch.endpoint, old.endpoint = old.endpoint, ""
        branch.default, old.default = old.default, False
        branch.protected, old.protected, branch.replaces = old.protected, False, ""
        if branch.endpoint and not old.disabled:
            branch.server.start()
        self.standin.restores += 1


def _snapshot_shown(snapshot: StandInSnapshot) -> dict[str, Any]:
    return {
        "id": snapshot.id,
        "name": snapshot.name,
        "source_branch_id": snapshot.source_branch_id,
        "created_at": snapshot.created_at,
        "manual": True,
    }
