"""The status of an environment, for whoever is woken up: what runs, who works on it, what is left half done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.journal import Journal, PlanEntry
from dodai.engine.place import StatePlace
from dodai.operations.environment import Environment
from dodai.operations.next_command import TABLE, Facts, State, command, find, words
from dodai.operations.ports import ComputeStatus, HostStatus, LockHolder, ServiceProbe
from dodai.operations.run.relief import standing_reliefs
from dodai.operations.run.schema import ReleaseSchema

LOOKED_BACK = 20
"""Records of releases that are read for one to go back to."""


@dataclass(frozen=True, slots=True)
class EnvironmentStatus:
    """`edge` is where visitors arrive, "" where nothing serves.

    `problem` says what could not be asked, and so nobody knows the holder; `remedy` what fixes it.
    `pending` is None where nobody knows. `answers` are what live services say to their readiness check, `ready` or why
    not; `answered` is the pid of the instance that said it, where there are several. `reliefs` are rate limits
    that hold nobody back, each with the moment until which.
    """

    env: str
    compute: ComputeStatus
    edge: str = ""
    holder: LockHolder | None = None
    last: PlanEntry | None = None
    unfinished: PlanEntry | None = None
    pending: int | None = None
    problem: str = ""
    remedy: str = ""
    recorded: str = ""
    earlier: str = ""
    elsewhere: StatePlace | None = None
    answers: Mapping[str, str] = field(default_factory=dict)
    answered: Mapping[str, int] = field(default_factory=dict)
    reliefs: Mapping[str, float] = field(default_factory=dict)

    @property
    def unknown(self) -> str:
        """Why nobody can tell whether anything runs; `""` when that is known."""
        return self.compute.unknown

    @property
    def facts(self) -> Facts:
        """What decides what to type next."""
        alive = self.holder is not None and self.holder.is_alive
        services = self.compute.services if self.compute.running else ()
        serving = tuple(s.name for s in services if any(one.live and one.state == "running" for one in s.instances))
        return Facts(
            problem=self.problem,
            remedy=self.remedy,
            holder=self.holder.holder.actor if self.holder and alive else "",
            elsewhere=str(self.elsewhere or ""),
            interrupted=self.unfinished is not None,
            remainder=self.unfinished is not None and self.unfinished.settled,
            unknown=self.unknown,
            returning=self.compute.returning,
            trouble=self.compute.trouble,
            stuck=self.compute.stuck,
            recorded=self.recorded,
            earlier=self.earlier,
            serving=serving,
            silent=tuple(one.name for one in services if one.name not in serving),
            unwell=tuple(name for name, answer in self.answers.items() if answer != "ready"),
            pending=self.pending or 0,
        )

    @property
    def state(self) -> State:
        return find(self.facts)

    @property
    def exit_code(self) -> int:
        """0 it serves, 1 less than it should, 4 a person must act; that somebody works there is no fault."""
        if self.state == "locked":
            return TABLE[find(replace(self.facts, holder="", interrupted=False))].exit_code
        return TABLE[self.state].exit_code

    @property
    def next_command(self) -> str:
        """What to type now; `""` when there is nothing to do, somebody is doing it, or the problem has to go first."""
        return command(self.state, self.env)

    @property
    def next_step(self) -> str:
        """The one line for a tired person: a command, whom to wait for, or what to fix first."""
        return words(self.state, self.env, self.facts)


async def status_of(environment: Environment) -> EnvironmentStatus:
    """The status of `environment`. Nothing is created or changed, and what is unreachable is named."""
    env, status = environment.name, await environment.compute.status()
    # A local edge ends with its Host, and the status of both is one call.
    edge = status.edge if isinstance(status, HostStatus) else (await environment.edge.observe()).url
    pending, probes = await _pending(environment), await _answers(environment, status)
    answers = {name: "ready" if one.ready else one.detail or one.state for name, one in probes.items()}
    answered = {name: one.pid for name, one in probes.items() if not one.ready}
    seen = EnvironmentStatus(env, status, edge, pending=pending, answers=answers, answered=answered)
    seen = replace(seen, reliefs=standing_reliefs(environment.folder))
    if not environment.control.exists:
        return seen
    try:
        with environment.journal() as journal:
            last, unfinished = await _plans(journal, env)
            recorded, earlier = await _recorded(journal)
            seen = replace(seen, recorded=recorded, earlier=earlier)
            holder = await environment.control.holder()
            seen = replace(seen, elsewhere=await environment.elsewhere())
            await journal.verify_chain()
        return replace(seen, holder=holder, last=last, unfinished=unfinished)
    except DodaiError as error:
        seen = replace(seen, problem=error.message, remedy=error.fix)
    try:
        copy = environment.control.copy()
        if copy is None:
            return seen
        with copy as journal:
            last, unfinished = await _plans(journal, env)
    except DodaiError:
        return seen
    said = f"{seen.problem}; plans are from this machine's copy"
    return replace(seen, last=last, unfinished=unfinished, problem=said)


async def _answers(environment: Environment, status: ComputeStatus) -> dict[str, ServiceProbe]:
    """What each live service answers now: a process that runs may still fail everybody."""
    found = dict[str, ServiceProbe]()
    for service in status.services if status.running else ():
        if live := next((one for one in service.instances if one.live), None):
            found[service.name] = await environment.compute.probe(service.name, live.release, settings=live.settings)
    return found


async def _plans(journal: Journal, env: str) -> tuple[PlanEntry | None, PlanEntry | None]:
    history = await journal.history(env, 1)
    return (history[0] if history else None), await journal.unfinished(env)


async def _recorded(journal: Journal) -> tuple[str, str]:
    """The release in service by the record, and the newest other one; each `""` for none."""
    releases = dict.fromkeys(str(entry.data["release"]) for entry in await journal.of_kind("released", LOOKED_BACK))
    newest, earlier = [*releases, "", ""][:2]
    return newest, earlier


async def _pending(environment: Environment) -> int | None:
    """Migrations of the live release that are not applied: a person has to know before anything else."""
    try:
        live = await environment.live()
        seen = await ReleaseSchema(environment).pending(environment.released(live)) if live else None
    except DodaiError:
        return None
    return None if seen is None else len(seen)
