"""What may come back to an environment: a release on the schema of now, or on the data of a restore point."""

from __future__ import annotations

from pathlib import PurePath

from dodai.core import proposal
from dodai.core.codes import UNKNOWN_WORD
from dodai.core.errors import DodaiError
from dodai.operations.codes import NO_SUCH_RELEASE
from dodai.operations.environment import Environment
from dodai.operations.release import ReleaseRecord, Verdict, before, evaluate_rollback, find
from dodai.operations.run.description import in_service
from dodai.operations.run.release_log import ReleaseLog
from dodai.operations.run.restore import fitting
from dodai.operations.run.schema import ReleaseSchema
from dodai.operations.run.schema_steps import refusal, rollback_compatibility


async def find_release(environment: Environment, word: str) -> str:
    """The release that `word` begins or is; DOD368 when there is none, or more than one."""
    recorded = await ReleaseLog(environment).records() if environment.control.exists else ()
    known = dict.fromkeys((*(record.release for record in recorded), *environment.artifacts.published()))
    found = [name for name in known if name.startswith(word)] if word not in known else [word]
    if len(found) == 1:
        return found[0]
    said = f"`{word}` begins {len(found)} releases" if found else f"`{environment.name}` knows no `{word}`"
    raise DodaiError(NO_SUCH_RELEASE, said, f"see `{proposal.RELEASES(env=environment.name)}`", exit_code=2)


async def rollback_target(environment: Environment, word: str) -> str:
    """The release to go back to: the one named, else the newest that was in service before the present one."""
    if word:
        return await find_release(environment, word)
    records = await ReleaseLog(environment).records() if environment.control.exists else ()
    live = await environment.live() or (records[0].release if records else "")
    if found := before(records, live):
        return found
    env = environment.name
    deploy = f"`{proposal.DEPLOY(env=env)}`"
    message, fix = f"`{env}` has no release before `{live}`", f"roll forward: write the fix, then {deploy}"
    if not live:
        message, fix = f"`{env}` has no release on record", f"{deploy} brings the first one"
    raise DodaiError(NO_SUCH_RELEASE, message, fix, exit_code=1)


async def verdict(environment: Environment, record: ReleaseRecord) -> Verdict:
    """Whether a recorded release may come back on the schema of now."""
    schema = ReleaseSchema(environment)
    try:
        return evaluate_rollback(record, await schema.applied(), await schema.trial(record.release))
    except DodaiError as error:
        return Verdict(False, f"whether it fits is unknown: {error.message}")


async def refuse_misfit(environment: Environment, release: str) -> None:
    """DOD367 when `release` may not come back; asked again under the lock, only there while the database rests."""
    environment.artifacts.path(release)
    environment = await in_service(environment, environment.project)
    if environment.project.policy.database.used_by and not await environment.database.running():
        return
    found, record = await rollback_compatibility(release, ReleaseLog(environment), ReleaseSchema(environment))
    if not found.allowed:
        point = fitting(_points(environment), await ReleaseLog(environment).records(), record) if record else ""
        raise refusal(environment.name, release, found, point)


async def last_release(environment: Environment) -> str:
    """The release that serves, or last did; empty before the first one."""
    records = await ReleaseLog(environment).records() if environment.control.exists else ()
    return records[0].release if records else ""


async def recorded(environment: Environment, service: str = "") -> str:
    """The release that serves, or last did; DOD368 when there is none, DOD051 for no such `service`."""
    env, release = environment.name, await last_release(environment)
    if not release:
        message = f"`{env}` has no release on record"
        raise DodaiError(NO_SUCH_RELEASE, message, f"`{proposal.DEPLOY(env=env)}` brings the first one", exit_code=1)
    known = environment.released(release).policy.services
    if service and service not in known:
        fix = f"one of {', '.join(f'`{name}`' for name in known)}"
        raise DodaiError(UNKNOWN_WORD, f"`{release}` has no service `{service}`", fix, exit_code=2)
    return release


async def restore_target(environment: Environment, release: str, word: str) -> str:
    """The restore point that `word` begins or is the path of; DOD051 for none, DOD367 when `release` does not fit."""
    env = environment.name
    environment.artifacts.path(release)
    begins = PurePath(word).name
    found = [name for name in _points(environment) if begins and name.startswith(begins)]
    if len(found) != 1:
        message = f"`{word}` names {len(found)} restore points of `{env}`"
        raise DodaiError(UNKNOWN_WORD, message, f"see `{proposal.RELEASES(env=env)}`", exit_code=2)
    records = await ReleaseLog(environment).records()
    record = find(records, release)
    if record is None or not fitting(found, records, record):
        raise refusal(env, release, Verdict(False, f"the data of `{found[0]}` has not the schema it ran on"))
    return found[0]


def _points(environment: Environment) -> list[str]:
    return [point.name for point in environment.database.restore_points.all()]
