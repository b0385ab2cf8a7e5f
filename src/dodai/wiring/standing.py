"""How an environment stands, for whoever is woken up: what runs, who works on it, what is left half done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from dodai.core.errors import DodaiError
from dodai.engine.journal import Journal, PlanEntry, SqliteJournal
from dodai.engine.lease import FileLease, Holder
from dodai.engine.plan import PlanRequest
from dodai.operations.ports import HostStatus
from dodai.wiring.local import LocalEnvironment, actor


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
    """`problem` says what could not be asked, and so nobody knows the holder; `remedy` what mends it.

    `pending` is None where nobody knows. `answers` are what live services say to their readiness check, `ready` or why
    not.
    """

    env: str
    host: HostStatus
    holder: HolderNow | None = None
    last: PlanEntry | None = None
    unfinished: PlanEntry | None = None
    pending: int | None = None
    problem: str = ""
    remedy: str = ""
    answers: Mapping[str, str] = field(default_factory=dict)

    @property
    def next_command(self) -> str:
        """What to type now; `""` when there is nothing to do, somebody is doing it, or the problem has to go first."""
        if self.problem or (self.holder and self.holder.alive):
            return ""
        if self.unfinished:
            return f"dodai resume {self.env}"
        serves = self.host.running and all(service.release for service in self.host.services)
        return "" if serves and not self.pending else f"dodai deploy {self.env}"

    @property
    def next_step(self) -> str:
        """The one line for a tired person: a command, whom to wait for, or what to mend first."""
        if self.problem:
            return self.remedy
        if self.holder and self.holder.alive:
            return f"wait for {self.holder.actor}, or ask them to stop it with Ctrl-C"
        if self.unfinished:
            other = f"dodai deploy {self.env} with a mended release" if self.unfinished.settled else ""
            return f"{self.next_command}, or {other or f'{self.next_command} --undo to take it back'}"
        if self.next_command:
            return self.next_command
        unwell = [name for name, answer in self.answers.items() if answer != "ready"]
        if not unwell:
            return "nothing to do"
        return f"read the log of {unwell[0]}; dodai rollback {self.env} brings the release before back"


async def look(environment: LocalEnvironment) -> Standing:
    """How `environment` stands. Nothing is created or changed, and what is unreachable is named."""
    env, status = environment.environment.name, await environment.host.status()
    seen = Standing(env, status, pending=await _pending(environment), answers=await _answers(environment, status))
    if not environment.has_journal:
        return seen
    try:
        with environment.journal() as journal:
            last, unfinished = await _plans(journal, env)
            holder = await _holder(environment)
            await journal.verify_chain()
        return replace(seen, holder=holder, last=last, unfinished=unfinished)
    except DodaiError as error:
        seen = replace(seen, problem=error.message, remedy=error.fix)
    if not (environment.environment.control_url and environment.copy_path.exists()):
        return seen
    try:
        with SqliteJournal(environment.copy_path) as copy:
            last, unfinished = await _plans(copy, env)
    except DodaiError:
        return seen
    said = f"{seen.problem}; plans are from this machine's copy"
    return replace(seen, last=last, unfinished=unfinished, problem=said)


async def _answers(environment: LocalEnvironment, status: HostStatus) -> dict[str, str]:
    """What each live service answers now: a process that runs may still fail everybody."""
    found = dict[str, str]()
    for service in status.services if status.running else ():
        if service.release:
            probe = await environment.host.probe(service.name, service.release)
            found[service.name] = "ready" if probe.ready else probe.detail or probe.state
    return found


async def _plans(journal: Journal, env: str) -> tuple[PlanEntry | None, PlanEntry | None]:
    history = await journal.history(env, 1)
    return (history[0] if history else None), await journal.unfinished(env)


async def _holder(environment: LocalEnvironment) -> HolderNow | None:
    lease = environment.lease(PlanRequest("status", environment.environment.name, actor=actor()))
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
