"""The application's database: where it is, copies to come back to, and the migrations it gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from dodai.core.dataclass import dataclass
from dodai.migrations.ports import MigrationTarget, SqlConnection

if TYPE_CHECKING:
    from dodai.migrations.run import MigrationRehearsal as TriedMigrations


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """A copy of the database; `where` is what a person finds it by."""

    name: str
    where: str


@dataclass(frozen=True, slots=True)
class DatabaseSeen:
    """`major` is the version of the server, `size_bytes` what a restore point takes, `free_bytes` what is free for one.

    `free_bytes` is None where nobody has to make room. `differs`: what is not as the manifest says, `remarks`: what
    the provider says that a person should know.
    """

    major: int
    size_bytes: int
    free_bytes: int | None = None
    differs: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class RestorePoints(Protocol):
    """Copies of the database to come back to: base backups here, branches or snapshots elsewhere."""

    async def find(self, name: str, /) -> str:
        """Where the copy is; `""` when there is none of that name."""
        ...

    async def make(self, name: str, /) -> str:
        """Where the new copy is, verified; old ones beyond the last few are removed."""
        ...

    async def put_back(self, name: str, mark: str, token: int, /) -> str:
        """End the database and put the copy in its place, marked; where the replaced data is kept."""
        ...

    async def is_back(self, mark: str, /) -> bool:
        """Whether the data there now was put back under that mark."""
        ...

    def all(self) -> Sequence[RestorePoint]:
        """The newest first."""
        ...


@runtime_checkable
class VendorPoints(RestorePoints, Protocol):
    """Copies that a vendor makes; it may have none of a database like this one."""

    async def possible(self) -> None:
        """Raises where `make` would be refused for good, found by looking alone."""
        ...


@dataclass(frozen=True, slots=True)
class ReplacedData:
    """Data that a restore has set aside: where it is, the restore point that took its place, by which plan and when."""

    path: str
    point: str
    plan: str
    at: str

    @property
    def name(self) -> str:
        return PurePath(self.path).name


@dataclass(frozen=True, slots=True)
class ReplacedRow:
    """A row of the replaced data beside the restore point: only there, another one there, or (`removed`) only here.

    `shared` are the columns that both have.
    """

    schema: str
    table: str
    change: Literal["added", "changed", "removed"]
    row: Mapping[str, Any]
    shared: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReplacedTable:
    """How many rows of a table there are of each kind."""

    schema: str
    table: str
    added: int = 0
    changed: int = 0
    removed: int = 0


@runtime_checkable
class KeepsReplacedData(Protocol):
    """Restore points that can say what going back to one of them replaced."""

    def replaced(self) -> Sequence[ReplacedData]:
        """The newest first."""
        ...

    def compare(
        self, one: ReplacedData, ledgers: tuple[str, ...], tell: Callable[[ReplacedRow], None], /
    ) -> Sequence[ReplacedTable]:
        """The tables that differ, without `ledgers`; `tell` hears of every row, those that others refer to first.

        Raises DOD783 when the restore point is not there any more.
        """
        ...


class DatabaseService(Protocol):
    """The PostgreSQL of the application in one environment."""

    @property
    def restore_points(self) -> RestorePoints: ...

    def url(self, *, direct: bool = True) -> str:
        """With its password: `direct` to the server, for migrations and locks; else what services use (a pooler).

        `""` while nobody knows it.
        """
        ...

    def serving(self) -> AbstractContextManager[str]:
        """The direct URL for the block. One that nobody runs is run for its length, where this machine can do that."""
        ...

    async def running(self) -> str:
        """Where it listens; `""` when it does not run and `start` can run it.

        Raises DOD784 or DOD785 when it does not answer and somebody else runs it.
        """
        ...

    async def start(self, token: int, /) -> None:
        """Run it, made when it is not there yet; refused under a token that was replaced."""
        ...

    async def clock_offset_s(self) -> float | None:
        """Seconds this machine is ahead of the server; None while it does not answer."""
        ...

    def inspect(self) -> DatabaseSeen:
        """What is there, nothing changed; DOD784 or DOD785 when it does not answer."""
        ...


@runtime_checkable
class ServiceRole(Protocol):
    """A database that makes the role which services sign in as."""

    def role_differs(self) -> str:
        """What services sign in as has too much or lacks; `""` when it is what `[database] role` says."""
        ...

    def make_role(self) -> None:
        """Make it so; processes that are started from now on sign in as it."""
        ...


@dataclass(frozen=True, slots=True)
class Login:
    """A role of the database and its password."""

    role: str
    password: str = field(repr=False)

    @classmethod
    def of(cls, value: str) -> Login:
        """As it stands in a store of secrets: `ROLE:PASSWORD`."""
        role, _, password = value.partition(":")
        return cls(role, password)


class Logins(Protocol):
    """The roles that services sign in as at the database, as its owner makes and closes them."""

    def refused(self, login: Login, /) -> str:
        """Why services cannot sign in with it, or do not act as the owner then; `""` when they can and do."""
        ...

    def make(self, login: Login, /) -> None:
        """The role can sign in, with this password; DOD569 when it is the role of somebody else."""
        ...

    def close(self, role: str, /) -> None:
        """It can sign in no more, and its sessions are ended; not there: nothing to do."""
        ...

    def is_closed(self, role: str, /) -> bool:
        """Whether it cannot sign in and has no session."""
        ...


class MigrationsService(Protocol):
    """The migrations of this project beside the database of one environment."""

    def target(self, root: Path, /) -> MigrationTarget:
        """The migrations below `root` and the database; both are looked at when they are used."""
        ...

    def connect(self) -> SqlConnection:
        """A session in autocommit on the database, for looking."""
        ...

    def newest_token(self) -> int:
        """The newest fencing token that the database has seen; 0 when it takes no connection or never saw one."""
        ...

    def announce(self, token: int, /) -> None:
        """From now on the database refuses migrations under an older token; DOD351 when it saw a newer one."""
        ...

    def try_on_copy(self, note: Callable[[str], None], /) -> TriedMigrations:
        """What is pending, tried on a copy of the database under load."""
        ...
