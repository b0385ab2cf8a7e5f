"""A drill: one thing that goes wrong on the stage, and what must be seen then; and which drills there are."""

from __future__ import annotations

import pkgutil
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import field
from importlib import import_module
from typing import Any

from dodai.core import codes
from dodai.core.dataclass import dataclass
from dodai.core.errors import AREAS, DodaiError
from dodai.core.page import Text
from dodai.core.suggestion import did_you_mean
from dodai.rehearsal.ports import Stage, Subject


@dataclass(frozen=True, slots=True)
class DrillResult:
    """What was seen; `ok` when it is what the drill expects. `request_ids` lead into the lines of the run."""

    observed: str
    ok: bool
    request_ids: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drill:
    """`expected` is the sentence a report shows beside `DrillResult.observed`. A drill leaves the stage as it was.

    One that is `apart` is carried out when it is asked for by its id, never by `--all`.
    """

    id: str
    area: str
    title: Text
    expected: str
    run: Callable[[Stage], Awaitable[DrillResult]]
    apart: bool = False


@dataclass(frozen=True, slots=True)
class DrillFile:
    """What a file of `rehearsal/drills/` declares as `DRILLS`; that makes its drills known, no other file names them.

    `drills` are those that a subject allows. Files run area by area, those of one area by `position`; the first drill
    of each area is the one that a rehearsal without `--all` carries out.
    """

    area: str
    drills: Callable[[Subject], Iterable[Drill]]
    position: int = 50


def drill_files(package: str = "dodai.rehearsal.drills") -> tuple[DrillFile, ...]:
    """Every file of drills, in the order they run."""
    folder = import_module(package)
    names = sorted(module.name for module in pkgutil.iter_modules(folder.__path__))
    found = [import_module(f"{package}.{name}").DRILLS for name in names]
    return tuple(sorted(found, key=lambda file: (AREAS.index(file.area), file.position)))


def known_drills(subject: Subject) -> tuple[Drill, ...]:
    """The drills that the subject allows, area by area."""
    return tuple(drill for file in drill_files() for drill in file.drills(subject))


def choose_drills(known: Sequence[Drill], *, only: str = "", everything: bool = False) -> tuple[Drill, ...]:
    """The drills of one rehearsal: those that `only` names (`ID` or `ID,ID`), all, or the first of each area.

    Raises DOD051 for an id that does not exist.
    """
    if only:
        wanted = [_existing(id_.strip(), known) for id_ in only.split(",")]
        return tuple(drill for drill in known if drill.id in wanted)
    known = [drill for drill in known if not drill.apart]
    if everything:
        return tuple(known)
    first = {drill.area: drill for drill in reversed(known)}
    return tuple(drill for drill in known if first[drill.area] is drill)


def _existing(id_: str, known: Sequence[Drill]) -> str:
    ids = [drill.id for drill in known]
    if id_ not in ids:
        raise DodaiError(codes.UNKNOWN_WORD, f"there is no drill `{id_}`", did_you_mean(id_, ids), exit_code=2)
    return id_
