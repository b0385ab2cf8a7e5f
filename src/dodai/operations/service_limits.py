"""How services are named, installed and bounded, and what the edge lets in: what no machine could follow."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from dodai.core.errors import DodaiError
from dodai.operations import codes
from dodai.operations.policy import OperationsPolicy

LEAST_MEMORY_BYTES = 8 * 1024**2
"""No interpreter starts with less: a smaller number is a unit that was forgotten."""
LEAST_FILES = 16
PARTS = frozenset(("database", "edge"))
"""What an environment runs beside its services, under these names."""
TOLD = frozenset(("PORT", "DODAI_ENV", "DODAI_MANIFEST", "DODAI_RELEASE", "DODAI_SERVICE", "DODAI_STATE"))
"""Variables whose value dodai knows itself."""
ROLES = frozenset(("postgres", "public"))


def install_problems(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Lines of `[project] install` that install a link to files instead of what they are: no release could keep it."""
    for line in lines:
        if {"-e", "--editable"}.intersection(shlex.split(line)):
            said = f"`{line}` of `[project] install` installs a link to a folder, which no release could keep"
            yield said, "install it without `-e`"


def refuse_impossible_limits(policy: OperationsPolicy) -> None:
    """DOD316 (exit 2) for the first number that cannot be meant."""
    for said, fix in limit_problems(policy):
        raise DodaiError(codes.IMPOSSIBLE_LIMITS, said, fix, exit_code=2)


def refuse_taken_names(policy: OperationsPolicy) -> None:
    """DOD330 (exit 2) for the first name that something else has."""
    for said, fix in name_problems(policy):
        raise DodaiError(codes.NAME_TAKEN, said, fix, exit_code=2)


def name_problems(policy: OperationsPolicy) -> Iterator[tuple[str, str]]:
    """Names of the manifest under which something else runs, or is told; each with what to do."""
    for name in sorted(PARTS.intersection(policy.services)):
        yield f"`[service.{name}]` has the name of a part that every environment has", "give it another name"
    for name in sorted(TOLD.intersection(policy.secrets)):
        yield f"`[secret.{name}]` has the name of a variable that dodai sets itself", "give it another name"
    role = policy.database.role
    if role in ROLES or role.startswith("pg_"):
        said = f"`role` of `[database]` is `{role}`, which PostgreSQL keeps for itself"
        yield said, "a name of its own, which dodai makes"


def limit_problems(policy: OperationsPolicy) -> Iterator[tuple[str, str]]:
    """What is wrong with the numbers of services, each with what to write instead."""
    yield from _edge_limit_problems(policy)
    for service in policy.services.values():
        where, limits = f"[service.{service.name}]", service.limits
        within = f"`[service.{service.name}.limits]`"
        if service.instances < 1:
            yield f"`instances` of `{where}` is `{service.instances}`", "1 or more"
        if 0 < limits.memory_bytes < LEAST_MEMORY_BYTES or limits.memory_bytes < 0:
            yield f"`memory` of {within} is `{limits.memory_bytes}` bytes: nothing starts", "8MiB or more, 0B for none"
        if limits.cpus < 0:
            yield f"`cpus` of {within} is `{limits.cpus}`", "1 or more, 0 for all"
        if limits.open_files and limits.open_files < LEAST_FILES:
            yield f"`open_files` of {within} is `{limits.open_files}`: nothing starts", "16 or more, 0 for no limit"


def _edge_limit_problems(policy: OperationsPolicy) -> Iterator[tuple[str, str]]:
    for limit in policy.edge.limits.values():
        where = f"`[edge.limit.{limit.name}]`"
        if limit.requests < 1:
            yield f"`requests` of {where} is `{limit.requests}`: it lets nobody in", "1 or more"
        if limit.window_s < 1:
            yield f"`window` of {where} is `{limit.window_s:g}s`", "1s or more"
        if not limit.methods:
            yield f"`methods` of {where} is empty: it counts nothing", 'such as `["POST"]`'
        if not limit.path.startswith("/") or "*" in limit.path[:-1]:
            yield (
                f"`path` of {where} is `{limit.path}`: no request has it",
                "from `/` on, with a `*` only at its end",
            )
