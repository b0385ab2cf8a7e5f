"""How an environment stands, for whoever is woken up: what runs, who works on it, what is left half done."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from dodai.core.errors import DodaiError
from dodai.engine.journal import Journal, PlanEntry, SqliteJournal
from dodai.engine.lease import FileLease, Holder
from dodai.operations.ports import HostStatus
from dodai.wiring.local import LocalEnvironment


@dataclass(frozen=True, slots=True)
class HolderNow:
    """Who holds the lock; `takeover_s` is when silence would end it, None where the kernel watches instead."""

    actor: str
    command: str
    pid: int
    host: str
    age: str
    alive: bool
    takeover_s: float | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """`problem` says what could not be asked; `pending` is None where nobody knows."""

    env: str
    host: HostStatus
    holder: HolderNow | None = None
    last: PlanEntry | None = None
    unfinished: PlanEntry | None = None
    pending: int | None = None
    problem: str = ""

    @property
    def next_command(self) -> str:
        """What to type now; `""` when there is nothing to do, or somebody is doing it."""
        if self.holder and self.holder.alive:
            return ""
        if self.unfinished:
            return f"dodai resume {self.env}"
        if self.pending:
            return f"dodai deploy {self.env}"
        return "" if self.host.running else f"dodai deploy {self.env}"


async def look(environment: LocalEnvironment) -> Standing:
    """How `environment` stands. Nothing is created or changed, and what is unreachable is named."""
    env, status = environment.environment.name, await environment.host.status()
    pending = await _pending(environment)
    if not environment.has_journal:
        return Standing(env, status, pending=pending)
    try:
        with environment.journal() as journal:
            last, unfinished = await _plans(journal, env)
        return Standing(env, status, await _holder(environment), last, unfinished, pending)
    except DodaiError as error:
        problem = error.message
    if not environment.copy_path.exists():
        return Standing(env, status, pending=pending, problem=problem)
    with SqliteJournal(environment.copy_path) as copy:
        last, unfinished = await _plans(copy, env)
    return Standing(env, status, None, last, unfinished, pending, f"{problem}; plans are from this machine's copy")


async def _plans(journal: Journal, env: str) -> tuple[PlanEntry | None, PlanEntry | None]:
    history = await journal.history(env, 1)
    return (history[0] if history else None), await journal.unfinished(env)


async def _holder(environment: LocalEnvironment) -> HolderNow | None:
    lease = environment.lease(await environment.request("status", ""))
    if isinstance(lease, FileLease):
        holder = lease.holder()
        if holder is None or not lease.is_taken():
            return None
        return _now(holder, holder.age(datetime.now(UTC)), None)
    try:
        standing = lease.standing()
    finally:
        lease.session.close()
    return _now(standing.holder, standing.age, standing.left_s) if standing else None


def _now(holder: Holder, age: str, takeover_s: float | None) -> HolderNow:
    alive = not holder.is_dead and (takeover_s is None or takeover_s > 0)
    return HolderNow(holder.actor, holder.command, holder.pid, holder.host, age, alive, takeover_s)


async def _pending(environment: LocalEnvironment) -> int | None:
    """Migrations of the live release that are not applied: a person has to know before anything else."""
    try:
        live = await environment.live()
        seen = await environment.surroundings(live).pending() if live else None
    except DodaiError:
        return None
    return None if seen is None else len(seen)
