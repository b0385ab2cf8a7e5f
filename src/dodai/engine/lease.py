"""One holder at a time may change an environment: who it is, since when, and the token that fences the others off."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import platform
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine import codes
from dodai.engine.journal import Journal
from dodai.engine.state_folder import make_folder


class Lease(Protocol):
    """The right to change one environment. Every grant has a higher fencing token than all before it."""

    @property
    def actor(self) -> str:
        """Who holds it, as the audit log names them."""
        ...

    @property
    def token(self) -> int:
        """The token of the present grant, 0 while not held."""
        ...

    @property
    def interval_s(self) -> float:
        """Seconds between heartbeats."""
        ...

    async def acquire(self, floor: int = 0) -> int:
        """The token, higher than `floor` (what the journal has seen); DOD350 with exit 75 while another holds it."""
        ...

    async def heartbeat(self) -> None: ...

    async def held(self) -> bool:
        """Whether this holder may still change anything; asked before every change."""
        ...

    async def release(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease; `boot` and `started` make a process id mean one process only."""

    actor: str
    command: str
    pid: int
    started: str
    boot: str
    host: str
    since: str
    token: int

    @classmethod
    def here(cls, actor: str, command: str, token: int) -> Holder:
        """The present process, holding from now."""
        pid, now = os.getpid(), datetime.now(UTC).isoformat(timespec="seconds")
        return cls(actor, command, pid, process_start(pid), boot_id(), platform.node(), now, token)

    @classmethod
    def from_text(cls, text: str) -> Holder | None:
        """What the record beside a lock says; None when it says nothing that can be read."""
        try:
            found = cls(**json.loads(text))
            found.age(datetime.now(UTC))
        except (ValueError, TypeError):
            return None
        numbers, words = (found.pid, found.token), (found.actor, found.command, found.host)
        whole = all(isinstance(one, int) for one in numbers) and all(isinstance(one, str) for one in words)
        return found if whole else None

    @property
    def is_dead(self) -> bool:
        """True when it certainly runs no more: same boot, and its pid is gone or is another process now."""
        return bool(self.boot) and self.boot == boot_id() and process_start(self.pid) != self.started

    def age(self, now: datetime) -> str:
        seconds = max(0, round((now - datetime.fromisoformat(self.since)).total_seconds()))
        minutes, rest = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


@dataclass(slots=True)
class FileLease:
    """A lease for one machine: the kernel's lock on a file, with a record of the holder beside it.

    The kernel drops the lock with the process, so a dead holder is taken over at once. Where a child of a dead holder
    inherited the lock, the record shows that the holder is gone and the lock file is replaced. `least` is the newest
    token that what is protected has seen. `fence` tells it the new one, where others could have a lock of their own.
    Raises DOD350 (exit 75) naming the holder, DOD352 when the files cannot be written.
    """

    path: Path
    actor: str
    command: str = ""
    interval_s: float = 15.0
    least: int = 0
    fence: Callable[[int], Awaitable[None]] | None = None
    token: int = field(default=0, init=False)
    _fd: int = field(default=-1, init=False)

    async def acquire(self, floor: int = 0) -> int:
        if self._fd < 0:
            with self._coded(), self._doorway():
                self._take()
                self.token = max(floor, self.least, self._last_token()) + 1
                self._write(Holder.here(self.actor, self.command, self.token))
            try:
                if self.fence is not None:
                    await self.fence(self.token)
            except BaseException:
                await self.release()
                raise
        return self.token

    async def heartbeat(self) -> None:
        """Nothing to do: the kernel knows that this process lives."""

    async def held(self) -> bool:
        if self._fd < 0 or not self._is_current(self._fd):
            return False
        holder = self.holder()
        return holder is not None and holder.token == self.token and holder.pid == os.getpid()

    async def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd, self.token = -1, 0

    def holder(self) -> Holder | None:
        """The last known holder, dead or alive; None when there never was one or its record is unreadable."""
        try:
            return Holder.from_text(self._record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def is_taken(self) -> bool:
        """Whether somebody holds it now; nobody who wants it is in the way of the look, nor the look in theirs."""
        if not self.path.exists():
            return False
        with self._coded(), self._doorway():
            fd = self._try()
            if fd >= 0:
                os.close(fd)
            return fd < 0

    @property
    def _record(self) -> Path:
        return self.path.with_name(self.path.name + ".holder")

    def _take(self) -> None:
        fd = self._try()
        holder = self.holder()
        if fd < 0 and holder is not None and holder.is_dead:
            self.path.unlink(missing_ok=True)
            fd = self._try()
        if fd < 0:
            raise _held(self.path, holder)
        self._fd = fd

    def _try(self) -> int:
        """A descriptor with the lock, or -1."""
        fd = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return -1
        return fd

    def _is_current(self, fd: int) -> bool:
        """Whether the file we locked is still the one at that path."""
        with suppress(OSError):
            return os.path.samestat(os.fstat(fd), self.path.stat())
        return False

    def _last_token(self) -> int:
        holder = self.holder()
        return holder.token if holder else 0

    def _write(self, holder: Holder) -> None:
        fresh = self._record.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(asdict(holder), file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._record)

    @contextmanager
    def _doorway(self) -> Iterator[None]:
        """Only one process at a time looks at the holder and replaces the lock file; held for microseconds."""
        make_folder(self.path.parent)
        door = os.open(self.path.with_name(self.path.name + ".door"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(door, fcntl.LOCK_EX)
            yield
        finally:
            os.close(door)

    @contextmanager
    def _coded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DodaiError(
                codes.JOURNAL_UNWRITABLE,
                f"lock `{self.path}` cannot be taken: {error}",
                f"free space or fix permissions of `{self.path.parent}`, then run the command again",
                exit_code=1,
            ) from error


def boot_id() -> str:
    """What names this boot and process table (a container has its own); `""` where the system does not say."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return ""


def this_process() -> str:
    """12 hex digits that no other process has, on this machine or elsewhere."""
    pid = os.getpid()
    said = f"{platform.node()} {boot_id()} {pid} {process_start(pid)}"
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def process_start(pid: int) -> str:
    """The start time of a process in clock ticks since boot; `""` when it is gone or unknown."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    return ""


def _held(path: Path, holder: Holder | None) -> DodaiError:
    if holder is None:
        return DodaiError(
            codes.LEASE_HELD, f"`{path}` is locked by an unknown process", "wait for it to end", exit_code=75
        )
    where = f"pid {holder.pid} on `{holder.host}`"
    running = f" running `{holder.command}`" if holder.command else ""
    return DodaiError(
        codes.LEASE_HELD,
        f"`{holder.actor}` ({where}){running} has held the lock for {holder.age(datetime.now(UTC))}",
        "wait until it ends, or ask them to stop it with Ctrl-C; do not delete the lock file",
        exit_code=75,
        data=asdict(holder),
    )


@asynccontextmanager
async def holding(journal: Journal, lease: Lease) -> AsyncIterator[None]:
    """The lease, kept alive, over a journal that is whole; given back unless the caller already had it."""
    mine = not await lease.held()
    if mine:
        await lease.acquire(await journal.highest_token())
    beating = asyncio.create_task(_heartbeats(lease))
    try:
        await journal.verify_chain()
        yield
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
        if mine:
            await lease.release()


async def _heartbeats(lease: Lease) -> None:
    """A failed heartbeat is tried again: `held()` is asked before every change and says what it means."""
    while True:
        await asyncio.sleep(lease.interval_s)
        with suppress(Exception):
            await lease.heartbeat()
