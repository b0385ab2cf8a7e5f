"""What may come back to an environment: a release on the schema of now, or on the data of a restore point."""

from __future__ import annotations

from pathlib import PurePath

from dodai.core.codes import UNKNOWN_WORD
from dodai.core.errors import DodaiError
from dodai.operations.release import Verdict, find
from dodai.operations.run import border, fitting, refusal
from dodai.wiring.local import LocalEnvironment


async def refuse_misfit(environment: LocalEnvironment, release: str) -> None:
    """DOD367 when `release` may not come back; asked again under the lock, only there while the database rests."""
    environment.releases.path(release)
    if environment.project.policy.database.used_by and not await environment.database.running():
        return
    verdict, record = await border(release, environment.book, environment.schema)
    if not verdict.allowed:
        point = fitting(_points(environment), await environment.book.records(), record) if record else ""
        raise refusal(environment.environment.name, release, verdict, point)


async def restore_target(environment: LocalEnvironment, release: str, word: str) -> str:
    """The restore point that `word` begins or is the path of; DOD051 for none, DOD367 when `release` does not fit."""
    env = environment.environment.name
    environment.releases.path(release)
    found = [name for name in _points(environment) if name.startswith(PurePath(word).name)]
    if len(found) != 1:
        message = f"`{word}` names {len(found)} restore points of `{env}`"
        raise DodaiError(UNKNOWN_WORD, message, f"see `dodai releases {env}`", exit_code=2)
    records = await environment.book.records()
    record = find(records, release)
    if record is None or not fitting(found, records, record):
        raise refusal(env, release, Verdict(False, f"the data of `{found[0]}` has not the schema it ran on"))
    return found[0]


def _points(environment: LocalEnvironment) -> list[str]:
    return [path.name for path in environment.restore_points_there()]
