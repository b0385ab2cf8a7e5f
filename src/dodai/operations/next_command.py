"""What to type now: every state an environment is found in, what an exit code says of it, and the next command.

One table for `status`, for the end of a plan and for the documents. `find` names the state; nothing else decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

State = Literal[
    "problem",
    "locked",
    "elsewhere",
    "interrupted",
    "remainder",
    "unknown",
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

    `command` is what a person types, "" where none helps; `words` say it with what else is possible. Both have `{env}`
    and the words of the state in them.
    """

    exit_code: int
    command: str
    words: str = "{command}"


TABLE: Mapping[State, Next] = {
    "problem": Next(4, "", "{remedy}"),
    "locked": Next(1, "", "wait for {holder}, or ask them to stop it with Ctrl-C"),
    "elsewhere": Next(4, "", "ask where it lives: {elsewhere}"),
    "interrupted": Next(4, "dodai resume {env}", "{command}, or {command} --undo to take it back"),
    "remainder": Next(4, "dodai resume {env}", "{command}, or dodai deploy {env} with a fixed release"),
    "unknown": Next(4, "", "{unknown}"),
    "returning": Next(1, "dodai status {env} --wait", "{command}: it comes back by itself{trouble}"),
    "stopped": Next(4, "dodai restart {env}", "{command} serves {recorded} again"),
    "empty": Next(4, "dodai deploy {env}"),
    "partly serving": Next(1, "dodai restart {env}", "{command}, or wait: {unwell} is started again by itself"),
    "migrations pending": Next(1, "dodai deploy {env}"),
    "not ready": Next(1, "", "read the log of {unwell}, or of what it says it waits for{back}"),
    "serving": Next(0, "", "nothing to do"),
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen of an environment. Empty words mean: not so.

    `problem` and `remedy`: what could not be asked, and what fixes it. `holder`: who changes it now. `elsewhere`: the
    other place where its processes are, about which nothing can be said from here. `interrupted`: a
    plan that has not ended, `remainder` when only what cannot be undone is left of it. `unknown`: why nobody can say
    whether it runs. `returning`, `trouble`: as compute says. `recorded`: the release on record. `serving`: the services
    with a process that people reach, `silent` those without, `unwell` those that say they are not ready.
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
    return TABLE[state].command.format(env=env)


def words(state: State, env: str, facts: Facts) -> str:
    """The one line for a tired person."""
    first = [*facts.silent, *facts.unwell]
    return TABLE[state].words.format(
        env=env,
        command=command(state, env),
        remedy=facts.remedy,
        holder=facts.holder,
        unknown=facts.unknown,
        elsewhere=facts.elsewhere,
        recorded=facts.recorded,
        unwell=first[0] if first else "",
        trouble=f"; {facts.trouble}" if facts.trouble else "",
        back=f"; dodai rollback {env} brings {facts.earlier} back" if facts.earlier else "",
    )
