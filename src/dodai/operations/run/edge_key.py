"""The steps that change the key by which services know their edge: no process is started anew for it.

Services read the key from a file, and the file again when it changed. So first every one of them accepts the new key,
each asked directly; then the edge sends it; the old one goes once no request that was sent with it can be under way.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Protocol

from dodai.core.errors import DodaiError
from dodai.core.page import Text
from dodai.engine.plan import Observed, Step, StepContext
from dodai.operations import codes
from dodai.operations.policy import Service
from dodai.operations.ports import REFUSED, Compute, Edge, EdgeSpec, KeptEdge
from dodai.operations.run.rotation import Rotation, as_before, behind, first_alone, in_front, new_alone
from dodai.operations.run.serving import running
from dodai.operations.secret import entries

AskWithKey = Callable[[str, str, str], Awaitable[int]]
"""The status that an address (`host:port`) gives for a path and an edge key; raises `OSError` without an answer."""
POLL_S = 0.1
PATIENCE_S = 10.0
ASKS = 8
"""In a row, each on a connection of its own: a service may be several processes, and each reads the keys itself."""
LIVENESS_PATH, GATED_PATH = "/healthz", "/readyz"
"""What every edge gate answers without a key, so that it tells nothing about keys; and what is asked for instead."""


class EdgeKeyPorts(Protocol):
    """What these steps act through."""

    @property
    def compute(self) -> Compute: ...
    @property
    def edge(self) -> Edge: ...
    @property
    def edge_spec(self) -> EdgeSpec: ...
    @property
    def ask_with_key(self) -> AskWithKey | None: ...


def edge_key_steps(rotation: Rotation, ports: EdgeKeyPorts, services: Iterable[Service]) -> list[Step]:
    """`overlap`: the edge sends a new key, both are accepted. `finish`: the old one is refused. `replace`: both."""
    asked = tuple(one for one in services if one.kind == "server" and one.protocol == "http")
    steps = [rotation.prepare(())]
    if rotation.change != "finish":
        steps += [
            rotation.forward(rotation.unless_signed(_recognise(rotation, ports, asked))),
            rotation.forward(_send(rotation, ports)),
        ]
    if rotation.change != "overlap":
        steps.append(_drop(rotation, ports, asked))
    return steps


def told_key_steps(rotation: Rotation, ports: EdgeKeyPorts, consumers: tuple[Service, ...]) -> list[Step]:
    """The same for services that are told their keys: they are started anew with both, then the edge sends the new one.

    What they are told has the key in front that the edge sends, so that they are started once more behind it.
    """
    steps = rotation.steps(consumers)
    return [rotation.forward(_send(rotation, ports)) if step.id == "sign" else step for step in steps]


def _recognise(rotation: Rotation, ports: EdgeKeyPorts, services: tuple[Service, ...]) -> Step:
    title = Text("services accept the edge's new key too", "サービスが新しいエッジ鍵も受け入れる")
    store = rotation.store_step("recognise", title, behind, (as_before,), later=(in_front, new_alone))

    async def verify(context: StepContext) -> Observed:
        state = rotation.state()
        if state is None or state.over:
            return await store.observe(context)
        await _until_all(ports, services, state.new, accepted=True, context=context)
        return await store.observe(context)

    return replace(store, verify=verify, timeout_s=PATIENCE_S + 10.0)


def _send(rotation: Rotation, ports: EdgeKeyPorts) -> Step:
    title = Text("the edge sends the new key", "エッジが新しい鍵を送る")
    store = rotation.store_step("sign", title, in_front, (behind,), later=(new_alone,))

    async def observe(context: StepContext) -> Observed:
        seen = await store.observe(context)
        if seen.state == "done" and (differs := (await ports.edge.observe()).differs):
            return Observed("needed", "; ".join(differs), partial=True)
        return seen

    async def serve(context: StepContext) -> None:
        edge = ports.edge.of_plan(context.plan_id) if isinstance(ports.edge, KeptEdge) else ports.edge
        await edge.under(context.fencing_token).apply(ports.edge_spec)

    async def apply(context: StepContext) -> None:
        if (await store.observe(context)).state != "done":
            await store.apply(context)
        await serve(context)

    async def undo(context: StepContext) -> None:
        rotation.put(behind)
        await serve(context)

    return replace(store, observe=observe, apply=rotation.marked(apply), verify=observe, undo=undo, timeout_s=120.0)


def _drop(rotation: Rotation, ports: EdgeKeyPorts, services: tuple[Service, ...]) -> Step:
    title = Text("services refuse the edge's old key", "サービスが古いエッジ鍵を拒否する")
    target = first_alone if rotation.change == "finish" else new_alone
    store = rotation.store_step("drop", title, target, (as_before if rotation.change == "finish" else in_front,))

    async def verify(context: StepContext) -> Observed:
        state = rotation.state()
        if state is not None and not state.over:
            for key in entries(state.old)[rotation.change == "finish" :]:  # of a finish the first one stays
                await _until_all(ports, services, key, accepted=False, context=context)
        return await store.observe(context)

    return replace(store, verify=verify, timeout_s=PATIENCE_S + 10.0)


async def _until_all(
    ports: EdgeKeyPorts, services: tuple[Service, ...], key: str, *, accepted: bool, context: StepContext
) -> None:
    """Return when every process that listens for http treats `key` as it should; raises DOD568 when one does not."""
    if ports.ask_with_key is None:
        return
    end = asyncio.get_running_loop().time() + min(PATIENCE_S, context.remaining_s())
    for service, address in await _addresses(ports.compute, services):
        gated = service.ready_path.startswith("/") and service.ready_path != LIVENESS_PATH
        ask = partial(ports.ask_with_key, address, service.ready_path if gated else GATED_PATH)
        while True:
            try:
                refused = {await ask(key) == REFUSED for _ in range(ASKS)}
                open_to_all = not accepted and True not in refused and await ask(secrets.token_urlsafe(16)) != REFUSED
                seen = " and ".join(word for on, word in ((False, "accepts it"), (True, "refuses it")) if on in refused)
            except OSError as error:
                refused, open_to_all, seen = set(), False, f"does not answer ({error})"
            if refused == {not accepted}:
                break
            if open_to_all:
                context.note(f"{service.name} asks for no edge key: it lets in whoever reaches it")
                break
            if asyncio.get_running_loop().time() >= end:
                which = "new" if accepted else "old"
                said = f"`{service.name}` at `{address}` was asked with the {which} edge key and {seen}"
                raise DodaiError(codes.EDGE_KEY_NOT_TAKEN, said, codes.EDGE_KEY_NOT_TAKEN.fix.en)
            await asyncio.sleep(POLL_S)


async def _addresses(compute: Compute, services: tuple[Service, ...]) -> list[tuple[Service, str]]:
    status = await running(compute)
    found = []
    for service in services:
        seen = status.service(service.name)
        found += [(service, one.address) for one in (seen.instances if seen else ()) if one.live and one.address]
    return found
