"""Where the processes of an environment are: there is one such place at a time."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.codes import LIVES_ELSEWHERE
from dodai.engine.lease import boot_id


@dataclass(frozen=True, slots=True)
class StatePlace:
    """A machine by its name, its boot, and the folder that keeps the state of the environment there."""

    host: str
    boot: str
    folder: str

    @classmethod
    def here(cls, folder: Path) -> StatePlace:
        return cls(platform.node(), boot_id(), str(folder.resolve()))

    @classmethod
    def from_text(cls, text: str) -> StatePlace:
        return cls(**json.loads(text))

    def as_text(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    def is_same(self, other: StatePlace) -> bool:
        """Whether both are one folder of one machine, rebooted or not."""
        return (self.host, self.folder) == (other.host, other.folder)

    @property
    def is_on_this_machine(self) -> bool:
        return self.host == platform.node()

    def __str__(self) -> str:
        return f"`{self.folder}` on `{self.host}`"


@dataclass(frozen=True, slots=True)
class Claim:
    """Who changes what runs does so at this place; `take_over`: the environment lives here from now on."""

    place: StatePlace
    take_over: bool = False


def lives_elsewhere(env: str, place: StatePlace) -> DodaiError:
    """DOD382 (exit 1) for an environment whose processes are at another place."""
    said = f"`{env}` lives in {place}, not here"
    fix = (
        f"give the command there, or set `folder` of `[env.{env}]` to that folder;"
        f" if that place is gone for good: `{proposal.TAKE_OVER(env=env)}`"
    )
    return DodaiError(LIVES_ELSEWHERE, said, fix, exit_code=1)
