"""The instances of a service of one release: started, asked, switched to and stopped together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from dodai.core.errors import DodaiError
from dodai.operations.ports import Instance, ServiceProbe, ServiceSpec
from dodai.providers.local.codes import NO_INSTANCE
from dodai.providers.local.fault_proxy import FaultProxy
from dodai.providers.local.host.instance import OUTPUT_LINES, ServiceProcess

WORST = ("exited", "absent", "not_served", "no_answer", "not_ready", "ready")


class InstanceGroup:
    """As many processes as the service has instances, behind its one stable address, which takes them in turn.

    One that crashes does not take connections, so the others get them until it does again.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        release: str,
        tree: str,
        given: Mapping[str, str],
        folder: Path,
        proxy: FaultProxy,
        settings: str = "",
    ) -> None:
        self.spec = spec
        self.release = release
        self.settings = settings
        self.tree = tree
        self.given = dict(given)
        self.proxy = proxy
        self.live = False
        numbers = range(1, spec.instances + 1)
        self.members = [ServiceProcess(spec, release, tree, given, folder, settings, number) for number in numbers]

    @property
    def label(self) -> str:
        return f"{self.release}@{self.settings}"

    @property
    def alive(self) -> bool:
        """Whether every one of them runs, or is about to again."""
        return all(one.alive for one in self.members)

    @property
    def exit_code(self) -> int | None:
        return next((one.exit_code for one in self.members if not one.alive), None)

    def has(self, settings: str) -> bool:
        """Whether it was started with these settings, once or anew; `""` for whatever it was started with."""
        return settings in ("", self.settings) or self.settings.startswith(f"{settings}-")

    def same(self, spec: ServiceSpec, tree: str, given: Mapping[str, str]) -> bool:
        return (self.spec, self.tree, self.given) == (spec, tree, dict(given))

    async def start(
        self, base: Mapping[str, str], edge_key: Callable[[], Mapping[str, str]], tell: Callable[[str], None]
    ) -> None:
        """`base` is what every process gets, `tell` hears of restarts."""
        for one in self.members:
            one.base, one.edge_key, one.tell, one.moved = base, edge_key, tell, self._aim
        for one in self.members:
            await one.start()

    async def probe(self, headers: Mapping[str, str], *, wait_s: float, consecutive: int) -> ServiceProbe:
        """The answer of the least ready one; of several ready ones that of a release that is not this."""
        every = (one.probe(headers, wait_s=wait_s, consecutive=consecutive) for one in self.members)
        answers = zip(self.members, await asyncio.gather(*every), strict=True)
        told = [replace(probe, pid=one.child.pid if one.child else 0) for one, probe in answers]
        return min(told, key=self._worth)

    def _worth(self, probe: ServiceProbe) -> tuple[int, bool]:
        return WORST.index(probe.state), probe.version in ("", self.release)

    def go_live(self) -> None:
        self.live = True
        for one in self.members:
            one.go_live()
        self._aim()
        self.proxy.move_on(self.label, but=True)

    def _aim(self) -> None:
        """Send connections to where the instances listen now."""
        if self.spec.listens and self.live:
            self.proxy.point(*(("127.0.0.1", one.port) for one in self.members), label=self.label)

    def leave(self) -> None:
        """Another release gets the traffic from now on."""
        self.live = False
        for one in self.members:
            one.live = False

    async def stop(self, drain_s: float | None) -> None:
        """Let what is under way finish, then SIGTERM, then SIGKILL, all within `drain_s`."""
        began = time.monotonic()
        drain_s = self.spec.drain_s if drain_s is None else drain_s
        if self.live:
            self.leave()
            self.proxy.point()
        for one in self.members:
            one.stopping = True
        self.proxy.move_on(self.label)
        if any(one.child is not None and one.child.running for one in self.members):
            # Servers differ in what they do to requests that arrive while they end; so none should be on its way.
            await self.proxy.drained(self.label, drain_s / 2)
        left_s = max(0.0, drain_s - (time.monotonic() - began))
        await asyncio.gather(*(one.end(left_s) for one in self.members))

    def signal(self, name: str) -> None:
        for one in self.members:
            one.signal(name)

    def tail(self, lines: int) -> tuple[str, ...]:
        """Of one that has ended, if there is one: its last words say why."""
        return min(self.members, key=lambda one: one.alive).tail(lines)

    def describe(self) -> tuple[Instance, ...]:
        connections = self.proxy.open_connections(self.label)
        return tuple(one.describe(connections=connections) for one in self.members)


def stop_order(started: Iterable[str], services: Iterable[InstanceGroup]) -> list[str]:
    """Started last is stopped first; who is needed by somebody is stopped after them."""
    needs = {one.spec.name: set(one.spec.needs) for one in services}
    order, left = list[str](), list(reversed(list(started)))
    while left:
        free = next(
            (one for one in left if not any(one in needs.get(other, ()) for other in left if other != one)), left[0]
        )
        order.append(free)
        left.remove(free)
    return order


def not_running(service: str, release: str, found: InstanceGroup | None) -> DodaiError:
    """DOD393; where no process is known any more, all there is to do is to carry out the plan again."""
    if found is None:
        return DodaiError(NO_INSTANCE, f"`{service}` `{release}` ended with the Host that started it", "", "provider")
    said, fix = f"`{service}` `{release}` exited with code `{found.exit_code}`", "read the last lines of its log above"
    return DodaiError(NO_INSTANCE, said, fix, details=found.tail(OUTPUT_LINES))
