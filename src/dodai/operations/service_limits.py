"""What no machine could follow in a manifest: names, references, bounds and workers of services, limits of the edge."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

from dodai.core.errors import DodaiError
from dodai.core.suggestion import nearest
from dodai.operations import codes
from dodai.operations.policy import OperationsPolicy, Service

LEAST_MEMORY_BYTES = 8 * 1024**2
"""No interpreter starts with less: a smaller number is a unit that was forgotten."""
LEAST_FILES = 16
PARTS = frozenset(("database", "edge"))
"""What an environment runs beside its services, under these names."""
TOLD = frozenset(
    (
        "PORT",
        "DODAI_ENV",
        "DODAI_MANIFEST",
        "DODAI_RELEASE",
        "DODAI_SERVICE",
        "DODAI_STATE",
        "DODAI_EDGE_KEY",
        "DODAI_HEALTH_PATH",
    )
)
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


_REFERENCE = re.compile(r"\{([A-Za-z0-9][A-Za-z0-9_-]*)\.(address|host|port|url)\}")


def referred(service: Service) -> Iterator[tuple[str, str]]:
    """Each variable of `service` with the name of a service that its value refers to."""
    for variable, value in service.env.items():
        for match in _REFERENCE.finditer(value):
            yield variable, match[1]


def filled(value: str, addresses: Mapping[str, str]) -> str:
    """`value` with `address`, `host`, `port` and `url` of the services in `addresses` (`host:port` by name)."""

    def part(match: re.Match[str]) -> str:
        address = addresses[match[1]]
        host, _, port = address.rpartition(":")
        return {"address": address, "host": host, "port": port, "url": f"http://{address}"}[match[2]]

    return _REFERENCE.sub(part, value)


def require_services(service: Service, known: Sequence[str]) -> None:
    """DOD311 when a variable of `service` refers to a service that is not there."""
    for variable, name in referred(service):
        if name not in known:
            raise unknown_reference(service.name, variable, name, known)


def unknown_reference(service: str, variable: str, name: str, known: Sequence[str]) -> DodaiError:
    """DOD311 for a variable of `service` that refers to `name`."""
    near = nearest(name, known)
    return DodaiError(
        codes.UNKNOWN_REFERENCE,
        f"`{variable}` in `[service.{service}.env]` refers to `{name}`, and there is no `[service.{name}]`",
        f"did you mean `{near}`?" if near else codes.UNKNOWN_REFERENCE.fix.en,
        exit_code=2,
    )


def refuse_impossible_workers(policy: OperationsPolicy) -> None:
    """DOD315 (exit 2) for the first thing that cannot be of a worker."""
    for said, fix in worker_problems(policy):
        raise DodaiError(codes.IMPOSSIBLE_WORKER, said, fix, exit_code=2)


def worker_problems(policy: OperationsPolicy) -> Iterator[tuple[str, str]]:
    """What is wrong with the workers of a manifest, each with what to write instead."""
    workers = {service.name for service in policy.services.values() if service.kind == "worker"}
    for service in policy.services.values():
        if service.name in workers:
            yield from _of_worker(service)
        elif service.ready_kind == "heartbeat" and not service.health.heartbeat:
            yield _no_words(service)
        for variable, name in referred(service):
            if name in workers:
                where = f"`{variable}` in `[service.{service.name}.env]`"
                said = f"{where} refers to the worker `{name}`, which has no address"
                yield said, f'remove it, or `kind = "server"` in `[service.{name}]`'


def _of_worker(service: Service) -> Iterator[tuple[str, str]]:
    where = f"`[service.{service.name}]`"
    if service.public:
        yield f"the worker {where} is `public`, and nobody can connect to it", "remove `public`"
    if any("{port}" in word for word in (*service.command, *service.health.command, *service.env.values())):
        yield f"the worker {where} asks for `{{port}}`, and it gets none", 'remove it, or `kind = "server"`'
    if service.health.liveness:
        yield f"the worker {where} has `liveness`, a path nobody could ask it for", "use `heartbeat` in its `health`"
    if service.ready_kind == "heartbeat" and not service.health.heartbeat:
        yield _no_words(service)
    elif service.ready_kind not in ("heartbeat", "command"):
        said = f"nothing says whether the worker {where} works"
        yield said, f"`heartbeat` or `command` in `[service.{service.name}.health]`"


def _no_words(service: Service) -> tuple[str, str]:
    where = f"[service.{service.name}.health]"
    return f"`{where}` waits for a heartbeat, and has no words to know it by", f'`heartbeat = "…"` in `{where}`'
