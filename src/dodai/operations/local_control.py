"""The journal and the lock of an environment as files on this machine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from dodai.core.dataclass import dataclass
from dodai.engine.journal import Head, Journal, SqliteJournal
from dodai.engine.lease import FileLease, Lease
from dodai.engine.place import Claim, StatePlace
from dodai.engine.plan import PlanRequest
from dodai.operations.ports import ControlSeen, Fence, LockHolder

JOURNAL = "journal.sqlite"


@dataclass(frozen=True, slots=True)
class FileControl:
    """`dodai.operations.ports.Control` in `folder`: the truth for environments of one machine.

    `shared`: what is changed can be reached from other machines too, whose folders know nothing of this one; it is told
    each new fencing token before anything else.
    """

    folder: Path
    shared: bool = False

    @property
    def _path(self) -> Path:
        return self.folder / JOURNAL

    @property
    def exists(self) -> bool:
        """Also where only the head is left: records that are gone were there."""
        return self._path.exists() or self._path.with_name(f"{JOURNAL}.head").exists()

    def journal(self) -> AbstractContextManager[Journal]:
        return SqliteJournal(self._path)

    def first_journal(self) -> AbstractContextManager[Journal]:
        return self.journal()

    def copy(self) -> AbstractContextManager[Journal] | None:
        return None

    def copied_head(self) -> Head:
        return head_beside(self._path)

    def lease(
        self,
        request: PlanRequest,
        /,
        *,
        least: int,
        fence: Fence,
        claim: Claim | None = None,  # noqa: ARG002 - the folder is the place
    ) -> Lease:
        return self._lease(request.actor, request.command, least, fence if self.shared else None)

    def watch_lease(self, actor: str, /) -> Lease | None:  # noqa: ARG002 - nobody else reaches these files
        return None

    async def place(self) -> StatePlace | None:
        return None

    def _lease(self, actor: str = "", command: str = "", least: int = 0, fence: Fence | None = None) -> FileLease:
        return FileLease(self.folder / "lease", actor=actor, command=command, least=least, fence=fence)

    async def holder(self) -> LockHolder | None:
        lease = self._lease()
        found = lease.holder()
        if found is None or not lease.is_taken():
            return None
        return LockHolder(found, found.age(datetime.now(UTC)))

    async def trust(self, which: str, /) -> str:
        del which
        return "there is one journal only"

    async def clock_offset_s(self) -> float | None:
        return None

    def inspect(self) -> ControlSeen:
        return ControlSeen(head=self.copied_head())


def head_beside(path: Path) -> Head:
    """The newest record of the journal at `path`, as the file beside it says; without opening the journal."""
    try:
        seq, digest = path.with_name(path.name + ".head").read_text("ascii").split()
        return Head(int(seq), digest)
    except (OSError, ValueError):
        return Head()
