"""Every drill of every area, for one project."""

from __future__ import annotations

import difflib

from dodai.core import codes
from dodai.core.errors import DodaiError
from dodai.engine.drill import Drill
from dodai.wiring.project import Project


def known_drills(project: Project) -> tuple[Drill, ...]:
    """The drills this manifest allows, area by area."""
    from dodai.operations.run import drills as operations

    return operations(project.policy)


def all_drills(project: Project, *, only: str = "", everything: bool = False) -> tuple[Drill, ...]:
    """The drills of one rehearsal: `only` one, all of them, or by default the first of each area."""
    known = known_drills(project)
    if only:
        chosen = tuple(drill for drill in known if drill.id == only)
        if not chosen:
            ids = [drill.id for drill in known]
            nearest = difflib.get_close_matches(only, ids, n=1)
            fix = f"did you mean `{nearest[0]}`?" if nearest else f"use one of {', '.join(ids)}"
            raise DodaiError(codes.UNKNOWN_WORD, f"there is no drill `{only}`", fix, exit_code=2)
        return chosen
    if everything:
        return known
    return tuple({drill.area: drill for drill in reversed(known)}.values())[::-1]
