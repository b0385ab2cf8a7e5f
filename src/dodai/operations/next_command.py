"""What to type now: every state an environment is found in, what an exit code says of it, and the next command.

One table for `status`, for the end of a plan and for the documents. `find` names the state; nothing else decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from dodai.core.dataclass import dataclass
from dodai.core.proposal import DEPLOY, LOGS_SERVICE, RESTART, RESUME, RESUME_UNDO, ROLLBACK, STATUS_WAIT, Proposal

State = Literal[
    "problem",
    "locked",
    "elsewhere",
    "interrupted",
    "remainder",
    "unknown",
    "stuck",
    "returning",
    "stopped",
    "empty",
    "partly serving",
    "migrations pending",
    "not ready",
    "serving",
]


@dataclass(frozen=True, slots=True)
class Next:
    """`exit_code` of `status`: 0 it serves, 1 it serves less than it should, or not yet, 4 a person must act.

    `command` is what a person types, None where nothing helps; `words` say it with what else is possible. `others` are
    the further commands that `words` name.
    """

    exit_code: int
    command: Proposal | None = None
    words: str = "`{command}`"
    others: Mapping[str, Proposal] = field(default_factory=dict)


TABLE: Mapping[State, Next] = {
    "problem": Next(4, words="{remedy}"),
    "locked": Next(1, words="wait for {holder}, or ask them to stop it with Ctrl-C"),
    "elsewhere": Next(4, words="ask where it lives: {elsewhere}"),
    "interrupted": Next(4, RESUME, "`{command}`, or `{undo}` to take it back", {"undo": RESUME_UNDO}),
    "remainder": Next(4, RESUME, "`{command}`, or `{deploy}` with a fixed release", {"deploy": DEPLOY}),
    "unknown": Next(4, words="{unknown}"),
    "stuck": Next(4, words="{said}"),
    "returning": Next(1, STATUS_WAIT, "`{command}`: it comes back by itself{trouble}"),
    "stopped": Next(4, RESTART, "`{command}` serves {recorded} again"),
    "empty": Next(4, DEPLOY),
    "partly serving": Next(1, RESTART, "`{command}`, or wait: {unwell} is started again by itself"),
    "migrations pending": Next(1, DEPLOY),
    "not ready": Next(1, words="read `{logs}`, then the log of what it says it waits for{back}"),
    "serving": Next(0, words="nothing to do"),
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen of an environment. Empty words mean: not so.

    `problem` and `remedy`: what could not be asked, and what fixes it. `holder`: who changes it now. `elsewhere`: the
    other place where its processes are, about which nothing can be said from here. `interrupted`: a
    plan that has not ended, `remainder` when only what cannot be undone is left of it. `unknown`: why nobody can say
    whether it runs. `returning`, `trouble`, `stuck`: as compute says. `recorded`: the release on record. `serving`: the
    services with a process that people reach, `silent` those without, `unwell` those that say they are not ready.
    `earlier`: a release on record that could be gone back to.
    """

    problem: str = ""
    remedy: str = ""
    holder: str = ""
    elsewhere: str = ""
    interrupted: bool = False
    remainder: bool = False
    unknown: str = ""
    returning: bool = False
    trouble: str = ""
    stuck: bool = False
    recorded: str = ""
    serving: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    unwell: tuple[str, ...] = ()
    earlier: str = ""
    pending: int = 0


def find(facts: Facts) -> State:
    """The one state that decides: what has to go first comes first."""
    asked: tuple[tuple[State, bool], ...] = (
        ("problem", bool(facts.problem)),
        ("locked", bool(facts.holder)),
        ("elsewhere", bool(facts.elsewhere)),
        ("remainder", facts.interrupted and facts.remainder),
        ("interrupted", facts.interrupted),
        ("unknown", bool(facts.unknown)),
        ("stuck", facts.returning and facts.stuck),
        ("returning", facts.returning),
        ("empty", not facts.serving and not facts.recorded),
        ("stopped", not facts.serving),
        ("partly serving", bool(facts.silent)),
        ("migrations pending", facts.pending > 0),
        ("not ready", bool(facts.unwell)),
    )
    return next((state for state, is_so in asked if is_so), "serving")


def command(state: State, env: str) -> str:
    """What to type in that state; `""` where no command helps."""
    proposed = TABLE[state].command
    return proposed(env=env) if proposed else ""


def words(state: State, env: str, facts: Facts) -> str:
    """The one line for a tired person."""
    first = [*facts.silent, *facts.unwell]
    others = {name: one(env=env) for name, one in TABLE[state].others.items()}
    return TABLE[state].words.format(
        **others,
        logs=LOGS_SERVICE(env=env, service=first[0]) if first else "",
        command=command(state, env),
        remedy=facts.remedy,
        holder=facts.holder,
        unknown=facts.unknown,
        elsewhere=facts.elsewhere,
        recorded=facts.recorded,
        unwell=first[0] if first else "",
        said=facts.trouble,
        trouble=f"; {facts.trouble}" if facts.trouble else "",
        back=f"; `{ROLLBACK(env=env)}` brings {facts.earlier} back" if facts.earlier else "",
    )
