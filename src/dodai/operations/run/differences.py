"""What a plan would change, seen from what serves now: read before a person agrees to it."""

from __future__ import annotations

from collections.abc import Mapping

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.plan import PlanRequest
from dodai.operations.environment import Environment
from dodai.operations.release import find
from dodai.operations.run.preflight import previous_releases
from dodai.operations.run.release_log import ReleaseLog
from dodai.operations.run.schema import ReleaseSchema

NAMED = 3


@dataclass(frozen=True, slots=True)
class PlanDifference:
    """One thing that would not be as it is: `what` (release, files, migrations, secrets) and how it changes."""

    what: str
    change: str


async def differences(environment: Environment, request: PlanRequest) -> tuple[PlanDifference, ...]:
    """What carrying `request` out would change; nothing is written. What cannot be known is named as unknown."""
    found = [
        PlanDifference("release", _releases(environment, request)),
        PlanDifference("files", _files(environment, request)),
        PlanDifference("migrations", await _migrations(environment, request)),
        PlanDifference("secrets", await _secrets(environment, request)),
    ]
    return tuple(one for one in found if one.change)


def _releases(environment: Environment, request: PlanRequest) -> str:
    """Services by the release they leave: usually all of them the same one."""
    before = previous_releases(request.arguments)
    left: dict[str, list[str]] = {}
    for name in environment.project.policy.services:
        left.setdefault(before.get(name, ""), []).append(name)
    gone = [
        f"{name}: {old} -> stopped" for name, old in before.items() if name not in environment.project.policy.services
    ]
    moves = [f"{', '.join(names)}: {old or 'nothing'}" for old, names in left.items() if old != request.release]
    return "; ".join(([f"{'; '.join(moves)} -> {request.release}"] if moves else []) + gone)


def _files(environment: Environment, request: PlanRequest) -> str:
    trees, old = environment.artifacts, set(previous_releases(request.arguments).values())
    if len(old) != 1:
        return ""
    try:
        before = {entry.path: entry for entry in trees.entries(old.pop())}
        after = {entry.path: entry for entry in trees.entries(request.release)}
    except (DodaiError, OSError) as error:
        return f"unknown: {error.message if isinstance(error, DodaiError) else error}"
    kinds: Mapping[str, list[str]] = {
        "changed": [path for path, entry in after.items() if path in before and before[path] != entry],
        "added": [path for path in after if path not in before],
        "removed": [path for path in before if path not in after],
    }
    return "; ".join(f"{len(paths)} {kind} ({_some(paths)})" for kind, paths in kinds.items() if paths)


async def _migrations(environment: Environment, request: PlanRequest) -> str:
    if request.kind == "rollback" or environment.project.manifest.section("migrations") is None:
        return ""
    pending = await ReleaseSchema(environment).pending(environment.released(request.release))
    if pending is None:
        return "unknown: the database does not run" if environment.project.policy.database.used_by else ""
    return f"{len(pending)} to apply ({_some(list(pending))})" if pending else ""


async def _secrets(environment: Environment, request: PlanRequest) -> str:
    """Against the digests of the record of what serves; values are never read out."""
    if not environment.control.exists:
        return ""
    try:
        record = find(await ReleaseLog(environment).records(), await environment.live())
    except DodaiError as error:
        return f"unknown: {error.message}"
    if record is None:
        return ""
    names = sorted({*record.secrets, *request.secret_versions})
    return _some([name for name in names if record.secrets.get(name) != request.secret_versions.get(name)], len(names))


def _some(names: list[str], limit: int = NAMED) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
