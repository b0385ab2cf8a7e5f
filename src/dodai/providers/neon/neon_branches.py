"""The branches of one Neon project: found by name, made once, settled when every operation of Neon's has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from typing import Any, NoReturn, TypeVar

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.providers.neon import codes
from dodai.providers.neon.neon_api import (
    CREATE_BRANCH,
    CREATE_SNAPSHOT,
    DELETE_BRANCH,
    DELETE_SNAPSHOT,
    FINALIZE_RESTORE,
    GET_BRANCH,
    GET_OPERATION,
    GET_PROJECT,
    LIST_BRANCHES,
    LIST_ENDPOINTS,
    LIST_SNAPSHOTS,
    PAGE,
    RESTORE_BRANCH,
    RESTORE_SNAPSHOT,
    BranchAnswer,
    NeonBranch,
    NeonEndpoint,
    NeonOperation,
    NeonProject,
    NeonSnapshot,
    OperationsAnswer,
    SnapshotAnswer,
)
from dodai.vendor_api import Api, Operation, VendorError

A = TypeVar("A", BranchAnswer, SnapshotAnswer, OperationsAnswer)

POLL_S, SETTLE_S = 0.5, 600.0
_ENDED = frozenset({"finished", "skipped"})
_FAILED = frozenset({"failed", "error", "cancelled"})
_LIMIT_STATUSES = frozenset({402, 412, 422})
ABSENT = {"absent": True}
"""With an error: the project could be seen, and this is not there."""


@dataclass(frozen=True, slots=True)
class NeonBranches:
    """The branches of `project`; `settle_s` bounds the wait for what Neon does after it has answered."""

    connect: Callable[[], Api] = field(repr=False)
    project: str
    poll_s: float = POLL_S
    settle_s: float = SETTLE_S

    @property
    def api(self) -> Api:
        """The client; DOD700 without a token, and nobody is asked for one before something is asked of Neon."""
        return self.connect()

    def about(self) -> NeonProject:
        """The project; DOD720 when this key sees none of that id."""
        try:
            return self.api.call_now(GET_PROJECT, path={"project": self.project}).value.project
        except VendorError as error:
            raise self._missing(error, f"Neon has no project `{self.project}` for this key") from None

    def all(self) -> tuple[NeonBranch, ...]:
        """Every branch, page by page; DOD720 when there is no such project."""
        found: dict[str, NeonBranch] = {}
        query: dict[str, str | int] = {"limit": PAGE}
        while True:
            try:
                page = self.api.call_now(LIST_BRANCHES, path={"project": self.project}, query=query).value
            except VendorError as error:
                raise self._missing(error, f"Neon has no project `{self.project}` for this key") from None
            before = len(found)
            found |= {branch.id: branch for branch in page.branches}
            if not page.pagination.next or len(found) == before:
                return tuple(found.values())
            query = {"limit": PAGE, "cursor": page.pagination.next}

    def find(self, name: str) -> NeonBranch | None:
        """The branch of that name."""
        return next((branch for branch in self.all() if branch.name == name), None)

    def named(self, name: str) -> NeonBranch:
        """The branch of that name; DOD720 (exit 2) for none."""
        branches = self.all()
        found = next((branch for branch in branches if branch.name == name), None)
        if found is None:
            known = ", ".join(f"`{branch.name}`" for branch in branches[:8])
            said = f"the project `{self.project}` has no branch `{name}`"
            raise DodaiError(codes.MISSING, said, f"name one of {known}", exit_code=2, data=ABSENT)
        return found

    def endpoint(self, branch: NeonBranch) -> NeonEndpoint:
        """The compute that writes; DOD721 when the branch has none, or it was disabled."""
        path = {"project": self.project, "branch": branch.id}
        endpoints = self.api.call_now(LIST_ENDPOINTS, path=path).value.endpoints
        found = next((one for one in endpoints if one.type == "read_write"), None)
        if found is None or found.disabled:
            lacks = "is disabled" if found else "does not exist"
            said = f"the read-write compute of the branch `{branch.name}` {lacks}"
            fix = codes.NO_COMPUTE.fix.en
            raise DodaiError(codes.NO_COMPUTE, said, fix, fault="provider", reply="rejected", data=ABSENT)
        return found

    def make(self, name: str, parent: NeonBranch, *, compute: bool) -> NeonBranch:
        """The branch `name` of what `parent` holds now, ready; one of that name that is there already is it.

        With `compute` it can be connected to. DOD722 when Neon did not finish it, DOD723 for a limit of the plan.
        """
        known = self.find(name)
        if known is None:
            body: dict[str, Any] = {"branch": {"name": name, "parent_id": parent.id}}
            if compute:
                body["endpoints"] = [{"type": "read_write"}]
            known = self._change(CREATE_BRANCH, {"project": self.project}, body, lambda: self._seen(name)).branch
        return self.ready(known)

    def restore(self, branch: NeonBranch, source: NeonBranch, keep_as: str) -> NeonBranch:
        """`branch` with the data of `source`; what it had is the new branch `keep_as`. Asked for once only."""
        if self.find(keep_as) is None:
            body = {"source_branch_id": source.id, "preserve_under_name": keep_as}
            path = {"project": self.project, "branch": branch.id}
            self._change(RESTORE_BRANCH, path, body, lambda: self._seen(keep_as))
        return self.ready(branch)

    # --- snapshots: they count for no branch, and a restore leaves the branch it replaces whole ---

    def snapshots(self) -> tuple[NeonSnapshot, ...]:
        """All of them, the newest first."""
        try:
            found = self.api.call_now(LIST_SNAPSHOTS, path={"project": self.project}).value.snapshots
        except VendorError as error:
            raise self._missing(error, f"Neon has no project `{self.project}` for this key") from None
        return tuple(sorted(found, key=lambda one: one.created_at, reverse=True))

    def snapshot(self, name: str) -> NeonSnapshot | None:
        return next((one for one in self.snapshots() if one.name == name), None)

    def take(self, name: str, branch: NeonBranch) -> NeonSnapshot:
        """The snapshot `name` of what `branch` holds now; one of that name that is there already is it."""
        known = self.snapshot(name)
        if known is None:
            path = {"project": self.project, "branch": branch.id}

            def seen() -> SnapshotAnswer | None:
                found = self.snapshot(name)
                return SnapshotAnswer(found) if found else None

            known = self._change(CREATE_SNAPSHOT, path, None, seen, {"name": name}).snapshot
        return known

    def drop(self, snapshot: NeonSnapshot) -> None:
        """Gone when this returns; one that was gone already is no error."""
        try:
            path = {"project": self.project, "snapshot": snapshot.id}
            self._settle(self.api.call_now(DELETE_SNAPSHOT, path=path).value.operations)
        except VendorError as error:
            if error.status != 404:
                raise
        self._until(lambda: self.snapshot(snapshot.name) is None, f"the snapshot `{snapshot.name}` is still there")

    def bring_back(self, snapshot: NeonSnapshot, branch: NeonBranch, as_name: str, keep_as: str) -> NeonBranch:
        """The data of `snapshot` behind the compute of `branch`, under its name; what it was is the branch `keep_as`.

        In two phases, each asked for once: a new branch `as_name` is made, and only when it is ready it takes the
        compute and the name. Whoever comes after a crash goes on where it ended.
        """
        if self.find(keep_as) is None:
            made = self.find(as_name)
            if made is None:
                path = {"project": self.project, "snapshot": snapshot.id}
                body = {"name": as_name, "target_branch_id": branch.id, "finalize_restore": False}
                made = self._change(RESTORE_SNAPSHOT, path, body, lambda: self._seen(as_name)).branch
            made = self.ready(made)
            path = {"project": self.project, "branch": made.id}
            self._change(FINALIZE_RESTORE, path, {"name": keep_as}, lambda: self._finalized(keep_as))
        return self.ready(self.named(branch.name))

    def _finalized(self, keep_as: str) -> OperationsAnswer | None:
        return OperationsAnswer() if self.find(keep_as) else None

    def delete(self, branch: NeonBranch) -> None:
        """Gone when this returns; one that was gone already is no error."""
        try:
            path = {"project": self.project, "branch": branch.id}
            answer = self.api.call_now(DELETE_BRANCH, path=path).value
        except VendorError as error:
            if error.status == 404:
                return
            raise
        self._settle(answer.operations if answer else ())
        # By the list: one that was deleted can be recovered for seven days, and may be shown until then
        # (https://neon.com/docs/reference/api/branches/delete-project-branch).
        self._until(
            lambda: all(one.id != branch.id for one in self.all()), f"the branch `{branch.name}` is still there"
        )

    def deletable(self, branches: Iterable[NeonBranch]) -> list[NeonBranch]:
        """Those of `branches` that Neon would delete: the parent of another one stays, as does a protected one."""
        parents = {branch.parent_id for branch in self.all()}
        return [one for one in branches if one.id not in parents and not (one.default or one.protected)]

    def ready(self, branch: NeonBranch) -> NeonBranch:
        """The branch as it is once it can be used; DOD722 when that takes too long."""
        self._until(
            lambda: self._state(branch) in ("ready", "archived"), f"the branch `{branch.name}` is not ready to use"
        )
        path = {"project": self.project, "branch": branch.id}
        return self.api.call_now(GET_BRANCH, path=path).value.branch

    def _seen(self, name: str) -> BranchAnswer | None:
        found = self.find(name)
        return BranchAnswer(found) if found else None

    def _state(self, branch: NeonBranch) -> str:
        """`""` while it is not shown."""
        try:
            path = {"project": self.project, "branch": branch.id}
            return self.api.call_now(GET_BRANCH, path=path).value.branch.current_state
        except VendorError as error:
            if error.status == 404:
                return ""
            raise

    def _change(
        self,
        operation: Operation[A],
        path: dict[str, str],
        body: object,
        effect: Callable[[], A | None],
        query: Mapping[str, str | int] | None = None,
    ) -> A:
        """Send it, look where the reply was lost, and wait for Neon to finish."""
        try:
            answer = self.api.call_now(operation, path=path, body=body, query=query, effect=effect, deadline_s=60).value
        except VendorError as error:
            if error.status in _LIMIT_STATUSES and "limit" in error.message.lower():
                raise DodaiError(
                    codes.LIMIT, error.message, codes.LIMIT.fix.en, fault="provider", reply="rejected"
                ) from None
            seen = effect() if error.status in (400, 409) else None  # asked twice: the name is taken by the first
            if seen is None:
                raise
            answer = seen
        self._settle(answer.operations)
        return answer

    def _settle(self, operations: Iterable[NeonOperation]) -> None:
        """Wait for each of them to end; DOD722 for one that failed, or that did not end in time."""
        for operation in operations:
            state = operation
            end = time.monotonic() + self.settle_s
            while state.status not in _ENDED:
                if state.status in _FAILED:
                    self._unfinished(f"Neon's operation `{state.action}` ended as {state.status}", state)
                if time.monotonic() > end:
                    self._unfinished(
                        f"Neon's operation `{state.action}` is {state.status} after {self.settle_s:g} s", state
                    )
                time.sleep(self.poll_s)
                path = {"project": self.project, "operation": state.id}
                state = self.api.call_now(GET_OPERATION, path=path).value.operation

    def _unfinished(self, said: str, operation: NeonOperation) -> NoReturn:
        details = tuple(line for line in (operation.error, f"operation {operation.id}") if line)
        raise DodaiError(codes.UNFINISHED, said, codes.UNFINISHED.fix.en, fault="provider", details=details)

    def _until(self, holds: Callable[[], bool], lacks: str) -> None:
        end = time.monotonic() + self.settle_s
        while not holds():
            if time.monotonic() > end:
                said = f"{lacks} after {self.settle_s:g} s"
                raise DodaiError(codes.UNFINISHED, said, codes.UNFINISHED.fix.en, fault="provider")
            time.sleep(self.poll_s)

    def _missing(self, error: VendorError, said: str) -> DodaiError:
        if error.status != 404:
            return error
        return DodaiError(codes.MISSING, said, codes.MISSING.fix.en, exit_code=2)
