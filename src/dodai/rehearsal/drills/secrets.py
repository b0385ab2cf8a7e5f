"""The drill of secrets: they are rotated by the plan of `dodai secrets rotate`, under load.

Old values that overlap stay recognised afterwards, but for that of the edge's key; that those of services can be
dropped is shown by the drill of the CSRF keys.
"""

from __future__ import annotations

from functools import partial

from dodai.core.page import Text
from dodai.core.text import counted
from dodai.operations.policy import OperationsPolicy
from dodai.operations.secret import CSRF_KEYS, DATABASE_LOGIN, EDGE_KEY, inventory
from dodai.rehearsal.drill import Drill, DrillFile, DrillResult
from dodai.rehearsal.load import load, people, repeatable
from dodai.rehearsal.ports import Stage, Subject, Visit

QUICK, PAUSE_S = 4, 0.05
MOST = 2
"""The keys of identity and one secret of the manifest: each takes two rounds of restarts."""
OF_DODAI = (EDGE_KEY, DATABASE_LOGIN)
"""What only some environments have, and dodai makes."""


def drills(policy: OperationsPolicy, visit: Visit) -> tuple[Drill, ...]:
    """The drill, for a public service with journeys. The keys of CSRF have one of their own, with forms left open."""
    persons = people(policy.journeys)
    known = inventory(policy, 0.0).values()
    names = tuple(one.name for one in known if one.rotation == "overlap" and one.used_by and one.name != CSRF_KEYS)
    names = names[:MOST]
    if policy.public_service is None or not persons:
        return ()
    return (
        Drill(
            "secrets-rotated-under-load",
            "operations",
            Text(
                "Secrets are rotated while people use the application",
                "利用中にシークレットをローテーションしても、誰の操作も失敗しない",
            ),
            f"0 failed requests while {', '.join(names)} change, and where dodai makes them the edge's key and the "
            "login at the database, also of people who signed in before; what serves has the new values afterwards",
            partial(_rotated, policy, visit, names),
        ),
    )


async def _rotated(policy: OperationsPolicy, visit: Visit, names: tuple[str, ...], stage: Stage) -> DrillResult:
    persons, _ = await repeatable(stage.url, visit, people(policy.journeys))
    seconds = dict[str, float]()
    async with load(stage.url, visit, persons, quick=QUICK, slow=0, upload_s=0.0, pause_s=PAUSE_S) as met:
        for name in (*names, *(one.name for one in stage.rotates() if one.name in OF_DODAI)):
            seconds[name] = await _changed(stage, name)
        if EDGE_KEY in seconds:
            await _changed(stage, EDGE_KEY, finish=True)
    users = any(person.sign_in for person in persons)
    ok = met.failed == 0 and met.requests > 0 and (met.signed_in > 0 or not users)
    observed = (
        f"{met.failed} of {met.requests} requests failed while {counted(len(seconds), 'secret')} changed, "
        f"{met.signed_in} by somebody signed in"
    )
    details = {
        "rotationSeconds": {name: round(took, 1) for name, took in seconds.items()},
        "problems": met.problems[:5],
    }
    return DrillResult(observed, ok, tuple(met.request_ids[-3:]), details)


async def _changed(stage: Stage, name: str, *, finish: bool = False) -> float:
    """The seconds it took; raises when the plan did not come to its end."""
    outcome = await stage.rotate(name, finish=finish)
    error = outcome.error()
    if error is not None:
        raise error
    return outcome.seconds


def _of(subject: Subject) -> tuple[Drill, ...]:
    return drills(subject.policy, subject.visit)


DRILLS = DrillFile("operations", _of, position=60)
