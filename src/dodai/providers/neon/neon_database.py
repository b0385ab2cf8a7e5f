"""`dodai.operations.ports.DatabaseService` on a Neon branch, its restore points and its copies for a rehearsal."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from dodai.core.database_url import Endpoint, pooled
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.migrations.ports import Copy
from dodai.operations.ports import DatabaseSeen, RestorePoint
from dodai.providers.neon import codes
from dodai.providers.neon.neon_api import GET_URI, AllowedIps, NeonBranch, NeonSnapshot
from dodai.providers.neon.neon_branches import ABSENT, NeonBranches
from dodai.vendor_api import VendorError

POINT, BEFORE, REHEARSAL = "dodai-point-", "dodai-before-", "dodai-rehearsal-"
RESTORED = "dodai-restored-"
"""A branch made of a snapshot, until it takes the name of the one that serves."""
KEPT_POINTS = 3
LEFT_BEHIND = timedelta(hours=6)
"""A rehearsal that began longer ago has ended, well or not."""


class ServerBehind(Protocol):
    """What is asked of the PostgreSQL behind a URL."""

    def answers(self, url: str, /) -> None:
        """Raises DOD784 or DOD785 when it does not take a connection."""

    def major(self, url: str, /) -> int: ...

    def clock_offset_s(self, url: str, /) -> float | None: ...

    def tokens(self, url: str, token: int, /) -> Mapping[str, int]:
        """The newest fencing token of each ledger; DOD351 when one is newer than `token`."""

    def carry(self, url: str, tokens: Mapping[str, int], /) -> None:
        """Write them down there, unless newer ones are."""


@dataclass(frozen=True, slots=True)
class NeonDatabase:
    """The database `name` of `role` on the branch `branch`. Addresses hold a password and are kept for this process."""

    branches: NeonBranches
    branch: str
    name: str
    role: str
    server: ServerBehind = field(repr=False)
    allowed_ips: tuple[str, ...] = ()
    points_are: Literal["branch", "snapshot"] = "branch"
    _known: dict[tuple[str, bool], str] = field(default_factory=dict, repr=False)

    @property
    def restore_points(self) -> BranchPoints | SnapshotPoints:
        return SnapshotPoints(self) if self.points_are == "snapshot" else BranchPoints(self)

    def url(self, *, direct: bool = True) -> str:
        return self.uri(self.branches.named(self.branch), direct=direct)

    def uri(self, branch: NeonBranch, *, direct: bool = True) -> str:
        """The address of the database on `branch`; DOD067 when Neon gives a pooler as the direct one."""
        if (branch.id, direct) not in self._known:
            query: dict[str, str | int] = {
                "branch_id": branch.id,
                "database_name": self.name,
                "role_name": self.role,
                "pooled": "false" if direct else "true",
            }
            try:
                answer = self.branches.api.call_now(GET_URI, path={"project": self.branches.project}, query=query).value
            except VendorError as error:
                if error.status != 404:
                    raise
                said = f"the branch `{branch.name}` has no database `{self.name}` of a role `{self.role}`"
                raise DodaiError(codes.MISSING, said, codes.MISSING.fix.en, exit_code=2, data=ABSENT) from None
            self._known[branch.id, direct] = verified(answer.uri)
        found = self._known[branch.id, direct]
        host = urlsplit(found).hostname or ""
        if direct and (place := Endpoint(host, "", "")).is_pooler:
            raise pooled(f"Neon gave `{host}`, a connection pooler, as the direct address", place)
        return found

    def forget(self) -> None:
        """A restore may bring back the password of then."""
        self._known.clear()

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        yield self.url()

    async def running(self) -> str:
        """The host of its compute, once that has taken a connection; raises where it takes none."""
        return await asyncio.to_thread(self._answers)

    def _answers(self) -> str:
        branch = self.branches.named(self.branch)
        endpoint = self.branches.endpoint(branch)
        self.server.answers(self.uri(branch))
        return endpoint.host

    async def start(self, token: int, /) -> None:  # noqa: ARG002 - a compute starts with a connection
        await self.running()

    async def clock_offset_s(self) -> float | None:
        return await asyncio.to_thread(lambda: self.server.clock_offset_s(self.url()))

    def inspect(self) -> DatabaseSeen:
        branch, project = self.branches.named(self.branch), self.branches.about()
        settings = project.settings
        allowed = (settings.allowed_ips if settings else None) or AllowedIps()
        holds = bool(allowed.ips) and (branch.protected or not allowed.protected_branches_only)
        closed, remarks, differs = bool(settings and settings.block_public_connections), list[str](), list[str]()
        if not branch.protected:
            remarks.append(f"the branch `{branch.name}` is not protected: whoever has the key may delete it")
        if allowed.ips and not holds:
            differs.append(f"the IP allow list holds for protected branches only, and `{branch.name}` is not protected")
        elif not allowed.ips and not closed and not self.allowed_ips:
            remarks.append("the project has no IP allow list: anybody who has the password may connect from anywhere")
        if self.allowed_ips:
            differs += differences(self.allowed_ips, allowed.ips)
        if self.points_are == "snapshot" and branch.parent_id:
            differs.append(f"`restore_points` is `snapshot`, and Neon takes none of `{branch.name}`: it has a parent")
        major, size = self.server.major(self.uri(branch)), branch.logical_size
        return DatabaseSeen(major, size, differs=tuple(differs), remarks=tuple(remarks))


@dataclass(frozen=True, slots=True)
class _Points:
    """What the two kinds of restore points share: whatever one is, a branch that is restored keeps its addresses."""

    database: NeonDatabase

    @property
    def _branches(self) -> NeonBranches:
        return self.database.branches

    async def make(self, name: str, /) -> str:
        return await asyncio.to_thread(self._make, name)

    async def put_back(self, name: str, mark: str, token: int, /) -> str:
        return await asyncio.to_thread(self._put_back, name, mark, token)

    def _put_back(self, name: str, mark: str, token: int) -> str:
        branch = self._branches.named(self.database.branch)
        restore = self._restore_of(name, branch, mark)
        known = self.database.server.tokens(self.database.uri(branch), token)
        restored = restore()
        self.database.forget()
        self.database.server.carry(self.database.uri(restored), {one: max(token, seen) for one, seen in known.items()})
        return f"the branch `{BEFORE}{mark}`"

    async def is_back(self, mark: str, /) -> bool:
        return await asyncio.to_thread(self._is_back, mark)

    def _is_back(self, mark: str) -> bool:
        """The old data stands under the name of this restore, and what has its name now can be used."""
        branches = {branch.name: branch for branch in self._branches.all()}
        restored = branches.get(self.database.branch)
        return BEFORE + mark in branches and restored is not None and restored.current_state == "ready"

    def _make(self, name: str) -> str:
        raise NotImplementedError

    def _restore_of(self, name: str, branch: NeonBranch, mark: str) -> Callable[[], NeonBranch]:
        """What restores the point `name`, which is looked for at once; `DodaiError` without it."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class BranchPoints(_Points):
    """`dodai.operations.ports.RestorePoints`: branches without a compute."""

    async def find(self, name: str, /) -> str:
        found = await asyncio.to_thread(self._branches.find, POINT + name)
        return _where(found) if found and found.current_state in ("ready", "archived") else ""

    def all(self) -> tuple[RestorePoint, ...]:
        return tuple(RestorePoint(one.name.removeprefix(POINT), _where(one)) for one in self._points())

    def _make(self, name: str) -> str:
        made = self._branches.make(POINT + name, self._branches.named(self.database.branch), compute=False)
        for old in self._branches.deletable(self._points()[KEPT_POINTS:]):
            self._branches.delete(old)
        return _where(made)

    def _restore_of(self, name: str, branch: NeonBranch, mark: str) -> Callable[[], NeonBranch]:
        return partial(self._branches.restore, branch, self._branches.named(POINT + name), BEFORE + mark)

    def _points(self) -> list[NeonBranch]:
        found = [branch for branch in self._branches.all() if branch.name.startswith(POINT)]
        return sorted(found, key=lambda branch: branch.created_at, reverse=True)


@dataclass(frozen=True, slots=True)
class SnapshotPoints(_Points):
    """`dodai.operations.ports.RestorePoints`: snapshots, which a plan counts apart from branches."""

    async def find(self, name: str, /) -> str:
        found = await asyncio.to_thread(self._branches.snapshot, POINT + name)
        return _snapshot_where(found) if found else ""

    def all(self) -> tuple[RestorePoint, ...]:
        return tuple(RestorePoint(one.name.removeprefix(POINT), _snapshot_where(one)) for one in self._points())

    async def possible(self) -> None:
        await asyncio.to_thread(self._source)

    def _source(self) -> NeonBranch:
        """The branch; DOD724 where it has a parent: manual snapshots are of root branches only
        (https://neon.com/docs/reference/api/snapshots).
        """
        branch = self._branches.named(self.database.branch)
        if branch.parent_id:
            said = f"`restore_points` is `snapshot`, and the branch `{branch.name}` has a parent"
            raise DodaiError(codes.NO_SNAPSHOT, said, codes.NO_SNAPSHOT.fix.en, exit_code=1, reply="rejected")
        return branch

    def _make(self, name: str) -> str:
        self._branches.take(POINT + name, self._source())
        made = self._branches.snapshot(POINT + name)  # as it is seen afterwards, not as it was answered
        if made is None:
            said = f"Neon took the snapshot `{POINT}{name}` and does not list it"
            raise DodaiError(codes.UNFINISHED, said, codes.UNFINISHED.fix.en, fault="provider")
        for old in self._points()[KEPT_POINTS:]:
            self._branches.drop(old)
        return _snapshot_where(made)

    def _restore_of(self, name: str, branch: NeonBranch, mark: str) -> Callable[[], NeonBranch]:
        point = self._branches.snapshot(POINT + name)
        if point is None:
            said = f"the project `{self._branches.project}` has no snapshot `{POINT}{name}`"
            raise DodaiError(codes.MISSING, said, codes.MISSING.fix.en, exit_code=2, data=ABSENT)
        return partial(self._branches.bring_back, point, branch, RESTORED + mark, BEFORE + mark)

    def _points(self) -> list[NeonSnapshot]:
        return [one for one in self._branches.snapshots() if one.name.startswith(POINT)]


@dataclass(frozen=True, slots=True)
class BranchCopies:
    """`dodai.migrations.ports.Copies`: a branch with a compute of its own, deleted after the block.

    `note` hears of branches that a killed rehearsal left behind; those that are old enough are deleted.
    """

    database: NeonDatabase
    note: Callable[[str], None] = lambda _: None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @contextlib.contextmanager
    def copied(self, run: str) -> Iterator[Copy]:
        branches, name = self.database.branches, REHEARSAL + run
        self._clear()
        parent = branches.named(self.database.branch)
        try:
            branch = branches.make(name, parent, compute=True)
            branches.endpoint(branch)
            url = self.database.uri(branch)
            self.database.server.answers(url)
            yield Copy(url, f"a branch of `{parent.name}`", production_data=True)
        finally:
            if left := branches.find(name):
                branches.delete(left)

    def _clear(self) -> None:
        for branch in self.database.branches.all():
            if not branch.name.startswith(REHEARSAL):
                continue
            age = self.now() - _moment(branch)
            if age > LEFT_BEHIND:
                self.database.branches.delete(branch)
                self.note(f"deleted the branch `{branch.name}`, which a rehearsal left behind {_hours(age)} ago")
            else:
                self.note(
                    f"the branch `{branch.name}` is of another rehearsal, begun {_hours(age)} ago; if that was killed,"
                    f" the branch is deleted by the first rehearsal after {_hours(LEFT_BEHIND)}"
                )


def _moment(branch: NeonBranch) -> datetime:
    try:
        return datetime.fromisoformat(branch.created_at)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)  # nobody can say how old it is, so it is nobody's to delete


def _hours(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    return f"{minutes // 60} h" if minutes >= 60 else f"{minutes} min"


def _where(branch: NeonBranch) -> str:
    """The last part is the name that `--restore` takes."""
    return f"Neon {branch.id}/{branch.name.removeprefix(POINT)}"


def _snapshot_where(snapshot: NeonSnapshot) -> str:
    return f"Neon {snapshot.id}/{snapshot.name.removeprefix(POINT)}"


def differences(wanted: Iterable[str], there: Iterable[str]) -> Iterator[str]:
    """How the IP allow list `there` differs from the one that is wanted; `10.0.0.1` and `10.0.0.1/32` are the same."""
    said, found = ({_network(one): one for one in addresses} for addresses in (wanted, there))
    if missing := [said[one] for one in said.keys() - found.keys()]:
        yield f"the IP allow list lacks {_listed(missing)}"
    if foreign := [found[one] for one in found.keys() - said.keys()]:
        yield f"the IP allow list lets in {_listed(foreign)} too, which the manifest does not name"


def _network(address: str) -> str:
    try:
        return str(ipaddress.ip_network(address.strip(), strict=False))
    except ValueError:
        return address.replace(" ", "")  # a range (`10.0.0.1-10.0.0.9`) is compared as it is written


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{one}`" for one in sorted(names))


def verified(uri: str) -> str:
    """`uri` with the certificate verified: Neon writes `sslmode=require`, which encrypts to whoever answers."""
    parts = urlsplit(uri)
    if not Endpoint(parts.hostname or "", "", "").is_remote():
        return uri
    words = dict(parse_qsl(parts.query))
    words |= {"sslmode": "verify-full", "sslrootcert": words.get("sslrootcert", "system")}
    return urlunsplit(parts._replace(query=urlencode(words)))
