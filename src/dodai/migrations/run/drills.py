"""The drills of migrations: a file that must not get through, and a history that must stay true."""

from __future__ import annotations

import asyncio
from functools import partial

from dodai.core.page import Text
from dodai.engine.drill import Drill, DrillResult, Stage
from dodai.engine.outcome import Outcome
from dodai.migrations.apply import status
from dodai.migrations.ports import Target
from dodai.migrations.run.database_drills import database_drills

BROKEN = b"""-- +goose Up
CREATE TABLE rehearsal_first (id int);
CREATE TABEL rehearsal_second (id int);

-- +goose Down
DROP TABLE rehearsal_first;
"""


def drills(target: Target) -> tuple[Drill, ...]:
    """The drills for a tree with migrations; `target` is the database of the stage."""
    return (
        Drill(
            "broken-migration-stops-the-deploy",
            "migrations",
            Text(
                "A migration with a syntax error stops the deploy before any service",
                "構文エラーのあるマイグレーションは、サービスに触れる前にデプロイを止める",
            ),
            "the deploy fails at `migrate`, nothing of the file is applied, the old release serves",
            partial(_broken, target),
        ),
        *database_drills(target),
    )


async def _broken(target: Target, stage: Stage) -> DrillResult:
    before = await asyncio.to_thread(status, target)
    releases = {service.name: service.release for service in (await stage.host.status()).services}
    live = next(filter(None, releases.values()), "")
    path = f"{target.policy.folder}/99991231235959_rehearsal.sql"
    bad = await stage.derive(live, {path: BROKEN})
    outcome: Outcome = await stage.deploy(bad)
    after = await asyncio.to_thread(status, target)
    same = before.applied == after.applied
    still = releases == {service.name: service.release for service in (await stage.host.status()).services}
    named = path in (outcome.cause.message if outcome.cause else "")
    ok = outcome.exit_code == 3 and outcome.cause is not None and outcome.cause.step_id == "migrate"
    observed = (
        f"exit {outcome.exit_code} at `{outcome.cause.step_id if outcome.cause else 'nothing'}`, "
        f"{len(after.applied)} of {len(before.applied)} migrations applied, "
        f"{'the old release serves' if still else 'another release serves'}"
    )
    details = {"fileNamed": named, "ledgerUnchanged": same, "cause": outcome.cause.message if outcome.cause else ""}
    return DrillResult(observed, ok and same and still and named, (), details)
