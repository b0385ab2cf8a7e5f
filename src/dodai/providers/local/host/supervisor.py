"""The host itself: owns every process, every stable address and the edge of one local environment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Mapping
from functools import partial

from dodai.core import proposal
from dodai.core.errors import DodaiError
from dodai.operations.ports import (
    EdgeSpec,
    Fault,
    HostStatus,
    Instance,
    ProcessSpec,
    ProcessStatus,
    ServiceProbe,
    ServiceSpec,
    ServiceStatus,
)
from dodai.providers.local.codes import (
    EXITED_AT_BOOT,
    HOST_GONE,
    NEVER_LISTENED,
    NO_INSTANCE,
    OTHER_SETTINGS,
    STALE_TOKEN,
)
from dodai.providers.local.edge import EdgeServer
from dodai.providers.local.fault_proxy import FaultProxy
from dodai.providers.local.host import account, kept, state
from dodai.providers.local.host.instance import OUTPUT_LINES, SimpleProcess
from dodai.providers.local.host.instance_group import InstanceGroup, not_running, stop_order
from dodai.providers.local.host.kept import KeptRelease, Serving
from dodai.providers.local.host.state import Known, StateFolder
from dodai.providers.local.host.upkeep import Events


class Supervisor:
    """`Compute`, `Host` and the edge of one environment, in this process.

    It needs the folder's lock; `stopped` is set after `down`.
    """

    def __init__(self, folder: StateFolder, env: str, *, bound: bool) -> None:
        self.folder = folder
        self.env = env
        self.bound = bound
        self.since = time.time()
        self.stopped = asyncio.Event()
        self._before = state.read_known(folder)
        self._token = self._before.fencing_token
        self._ports: dict[str, int] = dict(self._before.ports)
        self._proxies: dict[str, FaultProxy] = {}
        self._services: dict[tuple[str, str, str], InstanceGroup] = {}  # by service, release and settings
        self._kept: dict[str, str] = {}
        self._order: list[str] = []
        self._processes: dict[str, SimpleProcess] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._edge: EdgeServer | None = None
        self._edge_spec: EdgeSpec | None = None
        self._ending = False
        self.returning = not bound and kept.is_kept(folder.path)
        self.trouble, self.stuck = "", False
        self.events = Events(folder.path, env)
        self.remember()

    def under(self, token: int) -> Supervisor:
        """The host, once `token` has been checked: one older than the newest seen is DOD399."""
        if token < self._token:
            raise DodaiError(
                STALE_TOKEN,
                f"fencing token `{token}` is older than `{self._token}`",
                f"look at `{proposal.STATUS(env=self.env)}`; somebody else took over",
                exit_code=75,
            )
        if token > self._token:
            self._token = token
            self.remember()
        return self

    # -- addresses ---------------------------------------------------------------------------------------------

    async def address(self, service: str, port: int = 0) -> str:
        return (await self._proxy(service, port)).address

    async def _proxy(self, name: str, port: int = 0) -> FaultProxy:
        proxy = self._proxies.get(name) or FaultProxy(name)
        if proxy.port and port in (0, proxy.port):
            return proxy
        if proxy.port:
            raise self._other_address(name, proxy.address, port)
        await self._listen(proxy, port or self._ports.get(name, 0), chosen=port != 0)
        self._proxies[name] = proxy
        self._keep_port(name, proxy.port)
        return proxy

    def _nowhere(self, name: str) -> FaultProxy:
        """What a worker has in the place of an address: nobody can connect to it."""
        return self._proxies.setdefault(name, FaultProxy(name))

    async def _listen(self, proxy: FaultProxy, port: int, *, chosen: bool) -> None:
        try:
            await proxy.listen(port)
        except DodaiError:
            if chosen or port == 0:
                raise
            await proxy.listen(0)  # the port of last time is taken, and nobody asked for that one

    def _keep_port(self, name: str, port: int) -> None:
        self._ports[name] = port
        self.remember()

    # -- processes without releases ----------------------------------------------------------------------------

    async def run(self, spec: ProcessSpec) -> ProcessStatus:
        async with self._only(spec.name):
            process = self._processes.get(spec.name)
            if process is None or not process.alive:
                if process is not None:
                    await process.stop()
                process = SimpleProcess(spec, self.base_environment(), self.folder.path)
                process.tell = partial(self.events.tell, "process_restarted", process=spec.name)
                self._processes[spec.name] = process
                await process.start()
            elif process.spec != spec:
                raise self._other_settings(spec.name)
            await self._until_listening(process)
            kept.follow(self.folder.path, spec)
            if spec.forward:
                proxy = await self._proxy(spec.name, spec.port)
                proxy.point(process.target, label=spec.name)
            return self._process_status(spec.name)

    async def _until_listening(self, process: SimpleProcess) -> None:
        if await process.listening(process.spec.ready_timeout_s):
            return
        spec, output = process.spec, process.tail(OUTPUT_LINES)
        exited = not process.alive
        if not exited:
            await process.stop()
        code, what = (EXITED_AT_BOOT, "ended at once") if exited else (NEVER_LISTENED, "does not listen")
        where = (
            f" with code `{process.exit_code}`" if exited else f" on `{spec.listens}` after {spec.ready_timeout_s:g} s"
        )
        fix = "read the last lines of its output" if output else f"try its command by hand: `{spec.command[0]}`"
        raise DodaiError(code, f"`{spec.name}` {what}{where}", fix, "provider", details=output)

    async def end(self, process: str) -> None:
        async with self._only(process):
            if (found := self._processes.pop(process, None)) is not None:
                await found.stop()
            if process in self._proxies:
                self._proxies[process].point()

    # -- services ----------------------------------------------------------------------------------------------

    async def start(
        self, spec: ServiceSpec, release: str, tree: str, env: Mapping[str, str], *, settings: str = ""
    ) -> Instance:
        async with self._only(spec.name):
            known = self._services.get((spec.name, release, settings))
            if known is not None and known.alive:
                if not known.same(spec, tree, env):
                    raise self._other_settings(f"{spec.name} {release}")
                return known.describe()[0]
            proxy = await self._proxy(spec.name, spec.port) if spec.listens else self._nowhere(spec.name)
            proxy.http2 = spec.protocol == "grpc"
            base = state.service_environment(self.folder, self.env, spec.name, release)
            account.refuse_others(spec.user, {one.spec.uid for one in self._processes.values()})
            account.open_to(spec.user, self.folder.edge_key, self.folder.path / "lines")
            if known is not None:
                await known.stop(0.0)
            group = InstanceGroup(spec, release, tree, env, self.folder.path, proxy, settings)
            self._services[spec.name, release, settings] = group  # before it exists: a deadline must not lose it
            if spec.name not in self._order:
                self._order.append(spec.name)
            tell = partial(self.events.tell, "service_restarted", service=spec.name, release=release)
            await group.start(base, lambda: {"x-edge-key": state.edge_key(self.folder)}, tell)
            return group.describe()[0]

    async def probe(
        self, service: str, release: str, *, settings: str = "", wait_s: float = 0.0, consecutive: int = 1
    ) -> ServiceProbe:
        found = self._one(service, release, settings)
        if found is None:
            return ServiceProbe(state="absent", detail=f"`{service}` `{release}` was never started here")
        key = state.edge_key(self.folder)
        return await found.probe({"x-edge-key": key}, wait_s=wait_s, consecutive=consecutive)

    async def switch(self, service: str, release: str, *, settings: str = "") -> None:
        async with self._only(service):
            found = self._one(service, release, settings)
            if found is None or not found.alive:
                raise not_running(service, release, found)
            for other in self._of(service):
                if other is not found:
                    other.leave()
            found.go_live()
            if self._edge is not None:
                self._edge.kept.forget()  # they lead to where traffic went before
            self.remember()

    async def stop(self, service: str, release: str, drain_s: float | None = None, *, settings: str = "") -> None:
        async with self._only(service):
            found = self._one(service, release, settings)
            if found is None:
                return
            await found.stop(drain_s)
            del self._services[service, release, found.settings]
            self.remember()

    def _of(self, service: str) -> list[InstanceGroup]:
        return [one for (name, _, _), one in self._services.items() if name == service]

    def _one(self, service: str, release: str, settings: str) -> InstanceGroup | None:
        """The newest of that release; with `settings` only one that was started with them, at best under that name."""
        exact = self._services.get((service, release, settings)) if settings else None
        found = [one for one in self._of(service) if one.release == release and one.has(settings)]
        return exact or (found[-1] if found else None)

    def live_release(self, service: str) -> str:
        """The release that the stable address of `service` leads to; `""` for none."""
        return next((one.release for one in self._of(service) if one.live), "")

    async def keep(self) -> None:
        """What serves now is what comes back after a crash; nothing comes back after a host that is somebody's own."""
        live = [one for name in self._order for one in self._of(name) if one.live]
        self._kept = {one.spec.name: f"{one.release}@{one.settings}" for one in live}
        for name in [name for name in self._proxies if name not in self._processes and not self._of(name)]:
            await self._proxies.pop(name).close()  # of a service that is no more; its port is remembered
            self._order.remove(name)
        if self.bound:
            return
        served = [
            KeptRelease(spec=one.spec, release=one.release, settings=one.settings, tree=one.tree, env=one.given)
            for one in live
        ]
        processes = tuple(one.spec for one in self._processes.values() if one.alive)
        kept.keep(self.folder.path, Serving(processes=processes, edge=self._edge_spec, services=tuple(served)))

    async def tail(self, name: str, release: str = "", lines: int = OUTPUT_LINES) -> tuple[str, ...]:
        found = self._find(name, release)
        return found.tail(lines) if found is not None else ()

    # -- edge, faults, signals ---------------------------------------------------------------------------------

    async def edge(self, spec: EdgeSpec) -> str:
        async with self._only("edge"):
            key = state.edge_key(self.folder)
            upstreams = {service: (await self._proxy(service)).port for _, service in spec.routes}
            if self._edge is None:
                self._edge = EdgeServer(self.folder.path, self.env)
                port = spec.port or self._ports.get("edge", 0)
                try:
                    await self._edge.listen(port)
                except DodaiError:
                    if spec.port or not port:
                        self._edge = None
                        raise
                    await self._edge.listen(0)
                self._keep_port("edge", self._edge.port)
            elif spec.port not in (0, self._edge.port):
                raise self._other_address("edge", self._edge.url, spec.port)
            self._edge.serve(spec, key, upstreams)
            self._edge_spec = spec
            return self._edge.url

    async def fault(self, name: str, fault: Fault) -> None:
        proxy = self._proxies.get(name)
        if proxy is None:
            raise DodaiError(NO_INSTANCE, f"nothing has the stable address `{name}`", NO_INSTANCE.fix.en)
        await proxy.stand(fault)
        if self._edge is not None:
            self._edge.kept.forget()

    async def signal(self, name: str, signal: str, release: str = "") -> None:
        found = self._find(name, release)
        if found is None:
            raise DodaiError(NO_INSTANCE, f"`{name}` does not run", NO_INSTANCE.fix.en)
        found.signal(signal)

    def _find(self, name: str, release: str) -> InstanceGroup | SimpleProcess | None:
        if release:
            return self._one(name, release, "")
        return next((one for one in self._of(name) if one.live), None) or self._processes.get(name)

    # -- status and end ----------------------------------------------------------------------------------------

    async def status(self) -> HostStatus:
        names = [name for name in self._proxies if name not in self._processes]
        return HostStatus(
            env=self.env,
            running=True,
            comes_back=kept.is_kept(self.folder.path),
            pid=os.getpid(),
            since=self.since,
            bound=self.bound,
            edge=self._edge.url if self._edge else "",
            edge_serves=self._edge_spec if self._edge else None,
            edge_key_file=str(self.folder.edge_key),
            edge_key=state.edge_key_version(self._edge.key) if self._edge and self._edge.key else "",
            returning=self.returning,
            trouble=self.trouble,
            stuck=self.stuck,
            kept=dict(self._kept),
            services=tuple(self._service_status(name) for name in names),
            processes=tuple(self._process_status(name) for name in self._processes),
            fencing_token=self._token,
        )

    async def down(self) -> None:
        """Edge first, then services against the order of their needs, then what they stand on; nothing comes back."""
        kept.forget(self.folder.path)
        await self.end_all()

    async def end_all(self) -> None:
        """The same for a host that was told to end by the system: what served comes back with the next one."""
        self._ending = True
        for lock in self._locks.values():  # what has begun is finished first
            async with lock:
                pass
        if self._edge is not None:
            await self._edge.close()
        for name in stop_order(self._order, self._services.values()):
            await asyncio.gather(*(one.stop(None) for one in self._of(name)))
        for process in reversed(self._processes.values()):
            await process.stop()
        for proxy in self._proxies.values():
            await proxy.close()
        self._services.clear()
        self._processes.clear()
        self.events.close()
        self.stopped.set()

    def remember(self) -> None:
        live = {name: one.release for (name, _, _), one in self._services.items() if one.live}
        known = Known(
            env=self.env,
            pid=os.getpid(),
            started=state.start_ticks(os.getpid()),
            since=self.since,
            bound=self.bound,
            ports=dict(self._ports),
            live=live,
            fencing_token=self._token,
        )
        state.write_known(self.folder, known)

    # -- details -----------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _only(self, name: str) -> AsyncIterator[None]:
        """One change of a part at a time, in the order they came; none once the end has begun."""
        async with self._locks.setdefault(name, asyncio.Lock()):
            if self._ending:
                raise DodaiError(
                    HOST_GONE,
                    f"the host of `{self.env}` is stopping",
                    f"start it again: `{proposal.UP(env=self.env)}`",
                    "provider",
                )
            yield

    def base_environment(self) -> dict[str, str]:
        return state.base_environment(self.folder)

    def _other_settings(self, name: str) -> DodaiError:
        return DodaiError(
            OTHER_SETTINGS,
            f"`{name}` runs already, with other settings",
            "stop it first, or start the new settings as a release of their own",
        )

    def _other_address(self, name: str, address: str, port: int) -> DodaiError:
        return DodaiError(
            OTHER_SETTINGS,
            f"`{name}` has the address `{address}`, not port `{port}`",
            f"`{proposal.DOWN(env=self.env)}` first, then start with the new port",
        )

    def _service_status(self, name: str) -> ServiceStatus:
        proxy = self._proxies[name]
        groups = self._of(name)
        return ServiceStatus(
            name=name,
            address=proxy.address,
            release=next((one.release for one in groups if one.live), ""),
            fault=proxy.fault.mode,
            instances=tuple(one for group in groups for one in group.describe()),
        )

    def _process_status(self, name: str) -> ProcessStatus:
        proxy = self._proxies.get(name)
        return self._processes[name].describe(address=proxy.address if proxy else "")
