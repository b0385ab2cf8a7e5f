"""What a service without a port must not have, and what it needs."""

from __future__ import annotations

from collections.abc import Iterator

from dodai.core.errors import DodaiError
from dodai.operations import codes
from dodai.operations.policy import OperationsPolicy, Service
from dodai.operations.service_reference import referred


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
