"""A stand-in for Neon: its API version 2 over branches that are real PostgreSQL servers."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from dodai.core.dataclass import dataclass
from dodai.standins.branch_server import BranchServer
from dodai.standins.neon_branch import STAMP, StandInBranch, StandInOperation
from dodai.standins.neon_snapshots import NeonSnapshots
from dodai.standins.standin_server import Asked, Reply, StandIn, StandInRefusal, StandInRoute, route

PREFIX = "/api/v2"
WRITE = "write"
_USAGE = ("cpu_used_sec", "active_time_seconds", "compute_time_seconds", "written_data_bytes", "data_transfer_bytes")


@dataclass(frozen=True, slots=True)
class _AskedWantedBranch:
    name: str = ""
    parent_id: str = ""


@dataclass(frozen=True, slots=True)
class _AskedCreateBranch:
    branch: _AskedWantedBranch = _AskedWantedBranch()
    endpoints: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class _AskedRestore:
    source_branch_id: str
    preserve_under_name: str = ""


class NeonStandIn(StandIn):
    """One project, whose branch `main` has the database `database` of the role `role`; `settings` as Neon writes them.

    `work_s` is how long every operation takes, and meanwhile the project is locked (423). `most_branches`, `most_roots`
    and `most_snapshots` are limits of the plan, `fail` what the next operation of an action ends with. A branch that
    was deleted can be looked at as long as it could be recovered, and stands in no list.
    """

    def __init__(
        self,
        tokens: Mapping[str, frozenset[str]],
        *,
        project: str = "quiet-river-123456",
        database: str = "quiz",
        role: str = "quiz_owner",
        work_s: float = 0.0,
        most_branches: int = 10,
        most_snapshots: int = 10,
        limited: bool = False,
    ) -> None:
        super().__init__(tokens, limited=limited)
        self.project, self.database, self.role = project, database, role
        self.work_s, self.most_branches, self.most_roots = work_s, most_branches, 25
        self.fail: dict[str, str] = {}
        self.settings: dict[str, Any] = {}
        self.branches: dict[str, StandInBranch] = {}
        self.deleted: dict[str, StandInBranch] = {}
        self.snapshots = NeonSnapshots(self, most_snapshots)
        self.operations: dict[str, StandInOperation] = {}
        self.restores = 0
        self._numbers = itertools.count(1)
        self.alone = threading.RLock()
        self.routes = tuple(self._routes())

    @property
    def url(self) -> str:
        return f"{super().url}{PREFIX}"

    def start(self) -> NeonStandIn:
        server = BranchServer.empty()
        server.start()
        server.passwords[self.role] = f"npg_{secrets.token_hex(8)}"
        server.cluster.create_owned_database(self.database, self.role, server.passwords[self.role])
        main = StandInBranch(self.new_id("br"), "main", server, default=True, endpoint=self.new_id("ep"))
        self.branches[main.id] = main
        super().start()
        return self

    def close(self) -> None:
        super().close()
        for server in (one.server for some in (self.branches, self.snapshots.kept) for one in some.values()):
            server.discard()

    def error(self, status: int, text: str) -> Reply:
        return Reply(status, {"code": text.upper().replace(" ", "_")[:40], "message": text, "request_id": "r-1"})

    def grow(self, name: str, server: BranchServer, replaces: str) -> StandInBranch:
        """A new branch without a compute, to take the place of another one."""
        made = StandInBranch(self.new_id("br"), name, server, replaces=replaces)
        self.branches[made.id] = made
        return made

    def named(self, name: str) -> StandInBranch | None:
        """The branch of that name."""
        return next((branch for branch in self.branches.values() if branch.name == name), None)

    # --- routes ---

    def _routes(self) -> list[StandInRoute]:
        project = f"{PREFIX}/projects/{{project}}"
        branch = f"{project}/branches/{{branch}}"
        table = (
            ("GET", project, self._project, ""),
            ("GET", f"{project}/branches", self._list, ""),
            ("POST", f"{project}/branches", self._create, WRITE),
            ("GET", branch, self._read, ""),
            ("DELETE", branch, self._delete, WRITE),
            ("POST", f"{branch}/restore", self._restore, WRITE),
            ("GET", f"{branch}/endpoints", self._endpoints, ""),
            ("GET", f"{project}/operations/{{operation}}", self._operation, ""),
            ("GET", f"{project}/connection_uri", self._uri, ""),
        )
        made = [route(method, path, handler, scope) for method, path, handler, scope in table]
        return [*made, *self.snapshots.routes(project, branch)]

    def new_id(self, kind: str) -> str:
        return f"{kind}-quiet-{next(self._numbers):06d}"

    def in_project(self, asked: Asked) -> None:
        if asked.params["project"] != self.project:
            raise StandInRefusal(self.error(404, "project not found"))

    def branch_of(self, asked: Asked, branch_id: str = "") -> StandInBranch:
        self.in_project(asked)
        found = self.branches.get(branch_id or asked.params["branch"])
        if found is None:
            raise StandInRefusal(self.error(404, "branch not found"))
        return found

    def refuse_locked(self) -> None:
        if any(each.status == "running" for each in self.operations.values()):
            raise StandInRefusal(self.error(423, "project already has running conflicting operations"))

    def refuse_one_more_root(self) -> None:
        if sum(not branch.parent_id for branch in self.branches.values()) >= self.most_roots:
            raise StandInRefusal(self.error(422, "root branches limit exceeded"))

    def begin(self, action: str, branch: StandInBranch) -> StandInOperation:
        begun = StandInOperation(
            str(uuid.uuid4()), action, branch.id, time.monotonic() + self.work_s, self.fail.pop(action, "")
        )
        self.operations[begun.id] = begun
        return begun

    # --- what each does ---

    def _project(self, asked: Asked) -> Reply:
        self.in_project(asked)
        numbers = ("data_storage_bytes_hour", "branch_logical_size_limit", "branch_logical_size_limit_bytes")
        main = next(iter(self.branches.values()))
        body = {
            **dict.fromkeys((*numbers, *_USAGE), 0),
            "id": self.project,
            "name": self.database,
            "platform_id": "aws",
            "region_id": "aws-ap-southeast-1",
            "provisioner": "k8s-neonvm",
            "pg_version": main.server.cluster.binaries.major,
            "proxy_host": "localhost",
            "store_passwords": True,
            "creation_source": "console",
            "history_retention_seconds": 86400,
            "consumption_period_start": main.created_at,
            "consumption_period_end": main.created_at,
            "created_at": main.created_at,
            "updated_at": main.created_at,
            "owner_id": "org-quiet-1",
            "settings": self.settings,
        }
        return Reply(200, {"project": body})

    def _list(self, asked: Asked) -> Reply:
        """Pages by the position of the branch that comes next."""
        self.in_project(asked)
        begin, limit = asked.number("cursor", 0), asked.number("limit", 100, 1)
        ordered = list(self.branches.values())
        body: dict[str, Any] = {
            "branches": [self.shown(one) for one in ordered[begin : begin + limit]],
            "annotations": {},
        }
        if begin + limit < len(ordered):
            body["pagination"] = {"next": str(begin + limit)}
        return Reply(200, body)

    def _create(self, asked: Asked) -> Reply:
        self.in_project(asked)
        request = asked.read(_AskedCreateBranch)
        with self.alone:
            self.refuse_locked()
            parent_id = request.branch.parent_id or next(b.id for b in self.branches.values() if b.default)
            parent = self.branch_of(asked, parent_id)
            name = request.branch.name or self.new_id("branch")
            if self.named(name):
                raise StandInRefusal(self.error(409, f"branch {name} already exists"))
            if len(self.branches) >= self.most_branches:
                raise StandInRefusal(self.error(422, "branches limit exceeded"))
            made = StandInBranch(self.new_id("br"), name, parent.server.copy(), parent_id=parent.id)
            operations = [self.begin("create_branch", made)]
            if request.endpoints:
                made.endpoint = self.new_id("ep")
                made.server.start()
                operations.append(self.begin("start_compute", made))
            self.branches[made.id] = made
        body = {
            "branch": self.shown(made),
            "endpoints": self._computes(made),
            "operations": [self.worked(each) for each in operations],
            "roles": [self._role(made, role) for role in made.server.passwords],
            "databases": [],
        }
        return Reply(201, body)

    def _read(self, asked: Asked) -> Reply:
        branch = self.deleted.get(asked.params["branch"]) or self.branch_of(asked)
        noted = {"object": {"type": "console/branch", "id": branch.id}, "value": {}}
        return Reply(200, {"branch": self.shown(branch), "annotation": noted})

    def _delete(self, asked: Asked) -> Reply:
        with self.alone:
            self.refuse_locked()
            branch = self.branch_of(asked)
            if branch.default or branch.protected or any(b.parent_id == branch.id for b in self.branches.values()):
                raise StandInRefusal(self.error(422, "cannot delete the default, a protected or a parent branch"))
            if branch.stays:
                raise StandInRefusal(self.error(422, "cannot delete a root branch"))
            shown = self.shown(branch)
            self.deleted[branch.id] = self.branches.pop(branch.id)
            branch.server.discard()
            operation = self.begin("delete_timeline", branch)
        return Reply(200, {"branch": shown, "operations": [self.worked(operation)]})

    def _restore(self, asked: Asked) -> Reply:
        """The data of the source in the place of the branch's own, which becomes another branch with its children.

        Of a root both are roots then, and the old one cannot be deleted; of another branch the old one is the parent.
        """
        with self.alone:
            self.refuse_locked()
            request = asked.read(_AskedRestore)
            branch, source = self.branch_of(asked), self.branch_of(asked, request.source_branch_id)
            keep_as = request.preserve_under_name
            if not keep_as:
                raise StandInRefusal(self.error(422, "preserve_under_name is required: the branch has children"))
            if self.named(keep_as):
                raise StandInRefusal(self.error(409, f"branch {keep_as} already exists"))
            if is_root := not branch.parent_id:
                self.refuse_one_more_root()
            kept = StandInBranch(
                self.new_id("br"), keep_as, source.server.copy(), parent_id=branch.parent_id, stays=is_root
            )
            branch.server.end()
            branch.server.exchange(kept.server)
            if branch.endpoint and not branch.disabled:
                branch.server.start()
            for other in self.branches.values():
                other.parent_id = kept.id if other.parent_id == branch.id else other.parent_id
            branch.parent_id = "" if is_root else kept.id
            self.branches[kept.id] = kept
            self.restores += 1
            operations = [self.begin("create_branch", branch), self.begin("start_compute", branch)]
        return Reply(200, {"branch": self.shown(branch), "operations": [self.worked(each) for each in operations]})

    def _endpoints(self, asked: Asked) -> Reply:
        return Reply(200, {"endpoints": self._computes(self.branch_of(asked))})

    def _operation(self, asked: Asked) -> Reply:
        self.in_project(asked)
        found = self.operations.get(asked.params["operation"])
        return Reply(200, {"operation": self.worked(found)}) if found else self.error(404, "operation not found")

    def _uri(self, asked: Asked) -> Reply:
        branch = self.branch_of(asked, asked.query.get("branch_id") or next(iter(self.branches)))
        role, database = asked.query.get("role_name", ""), asked.query.get("database_name", "")
        if role not in branch.server.passwords or database != self.database:
            return self.error(404, "role or database not found")
        if not branch.endpoint:
            return self.error(404, "the branch has no compute endpoint")
        with self.alone:
            uri = branch.server.login(quote(role), quote(database), pooled=asked.query.get("pooled") == "true")
        return Reply(200, {"uri": uri})

    # --- as Neon writes them ---

    def shown(self, branch: StandInBranch) -> dict[str, Any]:
        busy = any(each.branch_id == branch.id and each.status == "running" for each in self.operations.values())
        return {
            **dict.fromkeys(_USAGE, 0),
            **({"parent_id": branch.parent_id} if branch.parent_id else {}),
            "id": branch.id,
            "project_id": self.project,
            "name": branch.name,
            "current_state": "init" if busy else "ready",
            "state_changed_at": branch.created_at,
            "logical_size": 30 * 2**20,
            "creation_source": "console",
            "default": branch.default,
            "primary": branch.default,
            "protected": branch.protected,
            "created_at": branch.created_at,
            "updated_at": branch.created_at,
        }

    def _computes(self, branch: StandInBranch) -> list[dict[str, Any]]:
        if not branch.endpoint:
            return []
        body: dict[str, Any] = {
            "id": branch.endpoint,
            "host": f"127.0.0.1:{branch.server.cluster.port}",
            "proxy_host": "127.0.0.1",
            "project_id": self.project,
            "branch_id": branch.id,
            "region_id": "aws-ap-southeast-1",
            "type": "read_write",
            "current_state": "active" if branch.server.running else "idle",
            "disabled": branch.disabled,
            "pooler_enabled": True,
            "pooler_mode": "transaction",
            "passwordless_access": True,
            "autoscaling_limit_min_cu": 0.25,
            "autoscaling_limit_max_cu": 0.25,
            "suspend_timeout_seconds": 0,
            "provisioner": "k8s-neonvm",
            "creation_source": "console",
            "settings": {},
            "created_at": branch.created_at,
            "updated_at": branch.created_at,
        }
        return [body]

    def _role(self, branch: StandInBranch, role: str) -> dict[str, Any]:
        return {
            "branch_id": branch.id,
            "name": role,
            "protected": False,
            "created_at": branch.created_at,
            "updated_at": branch.created_at,
        }

    def worked(self, operation: StandInOperation) -> dict[str, Any]:
        now = datetime.now(UTC).strftime(STAMP)
        return {
            **({"error": operation.fails} if operation.status == "failed" else {}),
            "id": operation.id,
            "project_id": self.project,
            "branch_id": operation.branch_id,
            "action": operation.action,
            "status": operation.status,
            "failures_count": 0,
            "created_at": now,
            "updated_at": now,
            "total_duration_ms": 0,
        }
