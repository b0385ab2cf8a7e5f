"""The part of Neon's API that is used: https://api-docs.neon.tech/reference, version 2."""

from __future__ import annotations

from dataclasses import field

from dodai.core.dataclass import dataclass
from dodai.vendor_api import DriverFacts, Operation, Rate, Scope, Vendor, one

BASE_URL = "https://console.neon.tech/api/v2"
TOKEN, ADDRESS = "NEON_API_KEY", "NEON_API_URL"
PAGE = 100


def neon() -> Vendor:
    """Neon answers 423 while another operation of the project runs: nothing was done, and it may be asked again.

    About 700 requests a minute are taken from one account (https://neon.com/docs/reference/api-reference).
    """
    return Vendor(name="Neon", throttled=frozenset({423, 429}), rates={"": Rate(10, 40)}, lag_s=3.0)


@dataclass(frozen=True, slots=True)
class NeonOperation:
    """Something that Neon does after it has answered."""

    id: str
    action: str
    status: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class NeonBranch:
    """`current_state` is init, resetting, ready or archived; `logical_size` are bytes."""

    id: str
    name: str
    current_state: str
    created_at: str
    default: bool
    protected: bool
    parent_id: str = ""
    logical_size: int = 0


@dataclass(frozen=True, slots=True)
class NeonEndpoint:
    """A compute of a branch. `current_state` is init, active or idle: an idle one starts with the next connection."""

    id: str
    host: str
    type: str
    current_state: str
    disabled: bool


@dataclass(frozen=True, slots=True)
class AllowedIps:
    """Who may connect; no address at all means everybody."""

    ips: tuple[str, ...] = ()
    protected_branches_only: bool = False


@dataclass(frozen=True, slots=True)
class NeonSettings:
    """Of a project, what concerns who gets in."""

    allowed_ips: AllowedIps | None = None
    block_public_connections: bool = False


@dataclass(frozen=True, slots=True)
class NeonProject:
    """`pg_version` is the major version, `history_retention_seconds` how far back a branch can be made."""

    id: str
    name: str
    pg_version: int
    history_retention_seconds: int
    settings: NeonSettings | None = None


@dataclass(frozen=True, slots=True)
class NeonPage:
    """Where the next page begins."""

    next: str = ""


@dataclass(frozen=True, slots=True)
class ProjectAnswer:
    """Of `getProject`."""

    project: NeonProject


@dataclass(frozen=True, slots=True)
class BranchesAnswer:
    """Of `listProjectBranches`."""

    branches: tuple[NeonBranch, ...]
    pagination: NeonPage = field(default_factory=NeonPage)


@dataclass(frozen=True, slots=True)
class BranchAnswer:
    """Of every call that makes, changes, deletes or reads one branch."""

    branch: NeonBranch
    operations: tuple[NeonOperation, ...] = ()


@dataclass(frozen=True, slots=True)
class EndpointsAnswer:
    """Of `listProjectBranchEndpoints`."""

    endpoints: tuple[NeonEndpoint, ...]


@dataclass(frozen=True, slots=True)
class OperationAnswer:
    """Of `getProjectOperation`."""

    operation: NeonOperation


@dataclass(frozen=True, slots=True)
class NeonSnapshot:
    """The data of a branch as it was; it counts for no branch, and has no compute."""

    id: str
    name: str
    created_at: str
    source_branch_id: str = ""


@dataclass(frozen=True, slots=True)
class SnapshotAnswer:
    """Of `createSnapshot`."""

    snapshot: NeonSnapshot
    operations: tuple[NeonOperation, ...] = ()


@dataclass(frozen=True, slots=True)
class SnapshotsAnswer:
    """Of `listSnapshots`: all of them, in one answer."""

    snapshots: tuple[NeonSnapshot, ...]


@dataclass(frozen=True, slots=True)
class OperationsAnswer:
    """Of calls that only begin something."""

    operations: tuple[NeonOperation, ...] = ()


@dataclass(frozen=True, slots=True)
class UriAnswer:
    """Of `getConnectionURI`; it holds a password."""

    uri: str = field(repr=False)


_PROJECT = "/projects/{project}"
_BRANCH = f"{_PROJECT}/branches/{{branch}}"

GET_PROJECT = Operation(name="getProject", method="GET", path=_PROJECT, reply=one(ProjectAnswer))
LIST_BRANCHES = Operation(
    name="listProjectBranches", method="GET", path=f"{_PROJECT}/branches", reply=one(BranchesAnswer)
)
CREATE_BRANCH = Operation(
    name="createProjectBranch", method="POST", path=f"{_PROJECT}/branches", reply=one(BranchAnswer)
)
GET_BRANCH = Operation(name="getProjectBranch", method="GET", path=_BRANCH, reply=one(BranchAnswer))
DELETE_BRANCH = Operation(
    name="deleteProjectBranch",
    method="DELETE",
    path=_BRANCH,
    reply=lambda value: None if value is None else one(BranchAnswer)(value),
)
RESTORE_BRANCH = Operation(
    name="restoreProjectBranch", method="POST", path=f"{_BRANCH}/restore", reply=one(BranchAnswer)
)
LIST_ENDPOINTS = Operation(
    name="listProjectBranchEndpoints", method="GET", path=f"{_BRANCH}/endpoints", reply=one(EndpointsAnswer)
)
GET_OPERATION = Operation(
    name="getProjectOperation", method="GET", path=f"{_PROJECT}/operations/{{operation}}", reply=one(OperationAnswer)
)
GET_URI = Operation(
    name="getConnectionURI", method="GET", path=f"{_PROJECT}/connection_uri", reply=one(UriAnswer), confidential=True
)
CREATE_SNAPSHOT = Operation(name="createSnapshot", method="POST", path=f"{_BRANCH}/snapshot", reply=one(SnapshotAnswer))
LIST_SNAPSHOTS = Operation(name="listSnapshots", method="GET", path=f"{_PROJECT}/snapshots", reply=one(SnapshotsAnswer))
DELETE_SNAPSHOT = Operation(
    name="deleteSnapshot",
    method="DELETE",
    path=f"{_PROJECT}/snapshots/{{snapshot}}",
    reply=one(OperationsAnswer),
)
RESTORE_SNAPSHOT = Operation(
    name="restoreSnapshot",
    method="POST",
    path=f"{_PROJECT}/snapshots/{{snapshot}}/restore",
    reply=one(BranchAnswer),
)
FINALIZE_RESTORE = Operation(
    name="finalizeRestoreBranch", method="POST", path=f"{_BRANCH}/finalize_restore", reply=one(OperationsAnswer)
)
FACTS = DriverFacts(
    vendor="Neon",
    guide="neon",
    variable=TOKEN,
    credential="a key of the project (Settings, API keys), not of the person: Neon has no narrower one",
    specification="version 2, October 2025",
    scopes=(
        Scope(
            "read the project",
            "the branch that serves, its compute and addresses, who may connect, and whether an operation has ended",
            (GET_PROJECT, LIST_BRANCHES, GET_BRANCH, LIST_ENDPOINTS, GET_OPERATION, GET_URI, LIST_SNAPSHOTS),
            looks=True,
        ),
        Scope("create branches", "a restore point before migrations, a copy to rehearse on", (CREATE_BRANCH,)),
        Scope(
            "create, restore and delete snapshots",
            "restore points where `restore_points` is `snapshot`, and going back to one",
            (CREATE_SNAPSHOT, RESTORE_SNAPSHOT, FINALIZE_RESTORE, DELETE_SNAPSHOT),
        ),
        Scope("restore branches", "`rollback --restore`", (RESTORE_BRANCH,)),
        Scope("delete branches", "restore points beyond the last three, copies of rehearsals", (DELETE_BRANCH,)),
    ),
)
