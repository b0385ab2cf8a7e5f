"""The drills of releases: bad ones that must not survive, going back, and what people meet meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dodai.core.page import Text
from dodai.engine.outcome import Outcome
from dodai.operations.policy import OperationsPolicy, Service
from dodai.rehearsal.drill import Drill, DrillFile, DrillResult
from dodai.rehearsal.ports import Stage

NEVER_READY = """

# --- written by a rehearsal: this release never becomes ready, everything else works ---
def _never_ready(inner):
    async def app(scope, receive, send):
        if scope["type"] == "http" and scope["path"] == {path!r}:
            await send({{"type": "http.response.start", "status": 503, "headers": []}})
            await send({{"type": "http.response.body", "body": b"written by a rehearsal"}})
        else:
            await inner(scope, receive, send)

    return app


{name} = _never_ready({name})
"""
NEVER_READY_IN_NODE = """

// --- written by a rehearsal: this release never becomes ready, everything else works ---
const {{ Server: RehearsedServer }} = process.getBuiltinModule("node:http");
const rehearsedEmit = RehearsedServer.prototype.emit;
RehearsedServer.prototype.emit = function (event, request, response, ...rest) {{
  if (event !== "request" || request.url.split("?")[0] !== {path})
    return rehearsedEmit.call(this, event, request, response, ...rest);
  response.writeHead(503).end("written by a rehearsal");
  return true;
}};
"""
EXITS_AT_BOOT_IN_NODE = (
    '\n\nprocess.stderr.write("written by a rehearsal: this release ends at boot\\n");\nprocess.exit(1);\n'
)
MODULES = (".js", ".mjs", ".cjs")
EXITS_AT_BOOT = '\n\nraise SystemExit("written by a rehearsal: this release ends at boot")\n'


def drills(policy: OperationsPolicy) -> tuple[Drill, ...]:
    """The drills this manifest allows: bad releases need the file that the public service starts with."""
    service = policy.public_service
    if service is None or not app_file(service):
        return ()
    return (
        Drill(
            "bad-release-is-undone",
            "operations",
            Text("A release whose health check fails is undone", "正常にならないリリースは自動で取り消される"),
            "exit 3, everything restored, the old release answers every request meanwhile",
            partial(_bad_release, service, partial(_never_ready, service)),
        ),
        Drill(
            "release-exits-at-boot",
            "operations",
            Text("A release that ends at boot is noticed at once", "起動直後に終了するリリースは即座に検知される"),
            "exit 3, everything restored, well before the health deadline",
            partial(_bad_release, service, partial(_exits_at_boot, service)),
        ),
        Drill(
            "going-back",
            "operations",
            Text("Going back to the release before loses no request", "直前のリリースへ戻しても要求は失われない"),
            "a newer release serves, then the one before serves again; every request is answered meanwhile",
            partial(_going_back, service),
        ),
    )


def app_file(service: Service) -> str:
    """The file below the tree that the service starts with, when it is a plain one; empty when that is not known.

    The module of `[service.NAME].app`; for another web tier the last module that its command names.
    """
    if service.client:
        path = next((word for word in reversed(service.command) if word.endswith(MODULES)), "")
    else:
        module, colon, _ = service.app.partition(":")
        path = f"{module.replace('.', '/')}.py" if colon else ""
    return path if not path or service.cwd in ("", ".") else f"{service.cwd.rstrip('/')}/{path}"


def _never_ready(service: Service, source: bytes) -> bytes:
    if service.client:
        return source + NEVER_READY_IN_NODE.format(path=json.dumps(service.ready_path)).encode()
    name = service.app.partition(":")[2]
    return source + NEVER_READY.format(path=service.ready_path, name=name).encode()


def _exits_at_boot(service: Service, source: bytes) -> bytes:
    return source + (EXITS_AT_BOOT_IN_NODE if service.client else EXITS_AT_BOOT).encode()


async def _bad_release(service: Service, spoil: Callable[[bytes], bytes], stage: Stage) -> DrillResult:
    before = (await stage.host.status()).service(service.name)
    bad = await _spoiled(service, spoil, stage)
    async with visitors(stage) as seen:
        outcome: Outcome = await stage.deploy(bad)
    after = (await stage.host.status()).service(service.name)
    still = bool(before and after and before.release == after.release)
    left = [one.release for one in (after.instances if after else ()) if one.release == bad and one.state != "exited"]
    ok = outcome.exit_code == 3 and outcome.state == "restored" and still and not left and seen.failed == 0
    observed = (
        f"exit {outcome.exit_code}, {outcome.state}, serves {after.release if after else 'nothing'}, "
        f"{seen.answered} of {seen.answered + seen.failed} requests answered meanwhile"
    )
    cause = outcome.cause.message if outcome.cause else ""
    details: dict[str, Any] = {"badRelease": bad, "cause": cause, "failures": seen.failures[:5], "leftRunning": left}
    return DrillResult(observed, ok and seen.answered > 0, tuple(seen.request_ids[:3]), details)


async def _going_back(service: Service, stage: Stage) -> DrillResult:
    """Deploy a release that differs by a comment, then go back, while people keep asking."""
    before = (await stage.host.status()).service(service.name)
    newer = await _spoiled(service, partial(_marked, service), stage)
    async with visitors(stage) as seen:
        there: Outcome = await stage.deploy(newer)
        between = (await stage.host.status()).service(service.name)
        back: Outcome = await stage.deploy(before.release if before else "", kind="rollback")
    after = (await stage.host.status()).service(service.name)
    served = [one.release if one else "" for one in (before, between, after)]
    ok = served == [served[0], newer, served[0]] and (there.exit_code, back.exit_code) == (0, 0)
    observed = (
        f"{' -> '.join(served)}, exit {there.exit_code} and {back.exit_code}, "
        f"{seen.answered} of {seen.answered + seen.failed} requests answered meanwhile"
    )
    details: dict[str, Any] = {"kind": back.plan.request.kind, "failures": seen.failures[:5]}
    return DrillResult(observed, ok and seen.failed == 0 and seen.answered > 0, tuple(seen.request_ids[:3]), details)


def _marked(service: Service, source: bytes) -> bytes:
    return source + (b"\n//" if service.client else b"\n#") + b" a newer release, made by a rehearsal\n"


async def _spoiled(service: Service, spoil: Callable[[bytes], bytes], stage: Stage) -> str:
    """A release made of the one that serves with one file changed; no real release contains rehearsal code."""
    status = (await stage.host.status()).service(service.name)
    path = app_file(service)
    source = await stage.read_file(status.release if status else "", path)
    return await stage.derive(status.release if status else "", {path: spoil(source)})


@dataclass(slots=True)
class VisitorTally:
    """What visitors met: answers below 500 count, everything else is a failure."""

    answered: int = 0
    failed: int = 0
    request_ids: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@asynccontextmanager
async def visitors(stage: Stage, *, pause_s: float = 0.02) -> AsyncIterator[VisitorTally]:
    """People who keep asking for the front page, one after the other, until the block ends."""
    seen = VisitorTally()
    over = asyncio.Event()

    async def ask() -> None:
        while not over.is_set():
            try:
                response = await stage.request("GET", "/")
            except OSError as error:
                seen.failed += 1
                seen.failures.append(str(error))
            else:
                good = response.status_code < 500
                seen.answered += good
                seen.failed += not good
                seen.request_ids.append(response.headers.get("x-request-id", ""))
                if not good:
                    seen.failures.append(f"status {response.status_code}")
            await asyncio.sleep(pause_s)

    asking = asyncio.create_task(ask())
    try:
        yield seen
    finally:
        over.set()
        await asking


DRILLS = DrillFile("operations", lambda subject: drills(subject.policy), position=10)
