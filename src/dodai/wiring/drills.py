"""Every drill of every area, for one project."""

from __future__ import annotations

import difflib
import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

from dodai.core import codes
from dodai.core.errors import DodaiError
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.run import Request
from dodai.csrf.run import drills as csrf_drills
from dodai.engine.drill import Drill, Stage
from dodai.migrations.run.drills import drills as migration_drills
from dodai.observability.run import drills as observability_drills
from dodai.operations.journey import walk
from dodai.operations.policy import OperationsPolicy
from dodai.operations.run import drills as release_drills
from dodai.operations.run.connection_drills import drills as connection_drills
from dodai.operations.run.swap_drill import drills as swap_drills
from dodai.providers.local.browser import HttpBrowser
from dodai.wiring.migrations import policy_of, target
from dodai.wiring.project import Project
from dodai.wiring.stage_database import StageDatabase


def known_drills(project: Project, database_url: Callable[[], str]) -> tuple[Drill, ...]:
    """The drills this manifest allows, area by area; `database_url` is that of the stage, asked for late."""
    policy = project.policy
    public = policy.public_service
    found: list[Drill] = []
    if public is not None:
        csrf = CsrfPolicy.from_manifest(project.manifest.section("csrf") or {})
        found += csrf_drills(csrf, _posts(project) if public.app else (), partial(_people, policy))
    if policy_of(project) is not None:
        found += migration_drills(target(project, Path(project.root), database_url))
    database = _database(project, database_url)
    found += release_drills(policy)
    found += swap_drills(policy, HttpBrowser, database.rows if database else None)
    found += connection_drills(policy, HttpBrowser, database)
    if public is not None and public.app:
        needs = tuple(need for need in public.needs if not policy.services[need].local_only)
        found += observability_drills(public.name, needs)
    return tuple(found)


def _database(project: Project, url: Callable[[], str]) -> StageDatabase | None:
    """The application's database on the stage; None when no service uses one."""
    if not project.policy.database.used_by:
        return None
    migrations = policy_of(project)
    return StageDatabase(url, (migrations.ledger_parts[1],) if migrations else ())


async def _people(policy: OperationsPolicy, stage: Stage) -> AsyncIterator[tuple[str, Request]]:
    """Whoever walked each journey, with the cookies they have afterwards."""
    for journey in policy.journeys:
        async with HttpBrowser(stage.url) as browser:
            await walk(journey, browser)
            yield journey.name, browser.send


def _posts(project: Project) -> tuple[str, ...]:
    """The paths that the journeys post to, any saved value replaced by one that exists nowhere."""
    steps = [step for journey in project.policy.journeys for step in journey.steps if step.method.upper() == "POST"]
    return tuple(dict.fromkeys(re.sub(r"\{[^}]*\}", "0", step.path) for step in steps))


def choose_drills(known: tuple[Drill, ...], *, only: str = "", everything: bool = False) -> tuple[Drill, ...]:
    """The drills of one rehearsal: those that `only` names (`ID` or `ID,ID`), all, or the first of each area.

    Raises DOD051 for an id that does not exist.
    """
    if only:
        wanted = [_existing(id_.strip(), known) for id_ in only.split(",")]
        return tuple(drill for drill in known if drill.id in wanted)
    if everything:
        return known
    first = {drill.area: drill for drill in reversed(known)}
    return tuple(drill for drill in known if first[drill.area] is drill)


def _existing(id_: str, known: tuple[Drill, ...]) -> str:
    ids = [drill.id for drill in known]
    if id_ not in ids:
        nearest = difflib.get_close_matches(id_, ids, n=1)
        fix = f"did you mean `{nearest[0]}`?" if nearest else f"use one of {', '.join(ids) or 'none'}"
        raise DodaiError(codes.UNKNOWN_WORD, f"there is no drill `{id_}`", fix, exit_code=2)
    return id_
