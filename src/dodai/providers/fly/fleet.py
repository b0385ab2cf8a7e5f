"""Fleet: the machines of one Fly app, looked at and changed, each change under the machine's lease."""

from __future__ import annotations

import asyncio
import copy
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.providers.fly import codes
from dodai.providers.fly.machines_api import (
    CORDON,
    CREATE,
    CURSOR,
    DELETE,
    DROP_LEASE,
    LIST,
    LIST_SECRETS,
    NONCE,
    PROXY_LAG_S,
    SET_SECRETS,
    SHOW,
    STOP,
    TAG,
    TAKE_LEASE,
    UNCORDON,
    UPDATE,
    WAITS,
    FlySecrets,
    Machine,
    MachineLease,
)
from dodai.vendor_api import Api, Operation, VendorError
from dodai.vendor_api.codes import UNCLEAR

LEASE_S, LEASE_RETRY_S, RECENT_S = 13, 1.0, 1.0
"""As long as flyctl takes one for: an operator that dies holds a machine up for no longer."""
PAGE, AT_ONCE, FEW, LOOK_S = 1000, 16, 4, 0.5
RELEASE, SETTINGS, SERVICE, IMAGE, IMAGE_CHILD, TOKEN, HOLDER, VARIABLES, COUNT, KEPT, SECRETS = (
    *("dodai_release", "dodai_settings", "dodai_service", "dodai_image", "dodai_image_child"),
    *("dodai_token", "dodai_holder", "dodai_env", "dodai_count", "dodai_kept", "dodai_secrets"),
)
"""Metadata of a machine that dodai made: what it runs (of an index also the manifest in it), under which fencing token
and whose, which of its variables are ours, how many machines were to be made with it, whether it is stopped for good
and only kept to be cloned, and the start of Fly's digest of each secret that it was made with."""
DIGEST = 8
_FULL = re.compile(r"insufficient (CPUs|memory|IPs|resources) available to fulfill request")


@dataclass(frozen=True, slots=True)
class Fleet:
    """The machines of `app`. A change with a fencing token older than the newest one seen there is DOD717.

    `holder` tells two operators apart whose locks know nothing of each other and gave them the same token.
    """

    api: Api
    app: str
    token: int | None = None
    holder: str = ""
    lease_s: int = LEASE_S
    proxy_lag_s: float = PROXY_LAG_S
    seen: dict[str, tuple[float, tuple[Machine, ...]]] = field(default_factory=dict, repr=False)

    @property
    def _here(self) -> dict[str, str]:
        return {"app": self.app}

    async def machines(self, deadline_s: float = 30.0, *, recent: bool = False) -> tuple[Machine, ...]:
        """All of them, oldest first; what is being destroyed, or made to run one command, is not among them.

        `recent`: what was seen within the last second will do, unless something was changed here or machines were
        looked at one by one since. Fly takes one such request per second, so nothing newer could be had sooner.
        """
        at, known = self.seen.get(self.app, (0.0, ()))
        if recent and time.monotonic() - at < RECENT_S:
            return known
        began = time.monotonic()
        found: list[Machine] = []
        query: dict[str, str | int] = {"limit": PAGE}
        while True:
            page = await self.api.call(LIST, path=self._here, query=query, deadline_s=deadline_s)
            found += page.value
            cursor = page.headers.get(CURSOR, "")
            if not cursor:
                break
            query = {"limit": PAGE, "cursor": cursor}
        there = (one for one in found if one.state not in ("destroyed", "destroying") and not one.is_reserved)
        machines = tuple(sorted(there, key=lambda one: (one.created_at, one.id)))
        self.seen[self.app] = (began, machines)
        return machines

    async def current(self) -> tuple[Machine, ...]:
        """All machines, for somebody who is about to change them: DOD717 when a newer operator was there.

        Each change looks once more, under the lease of its machine.
        """
        machines = await self.machines(recent=True)
        self._refuse_newer(machines)
        return machines

    async def announce(self) -> None:
        """From now on older operators are refused: every machine carries the token, those to come do anyway."""
        machines = await self.current()
        if self.token is None:
            return
        mine = {TOKEN: str(self.token), HOLDER: self.holder}
        await together(self.tag(one, mine) for one in machines if token_of(one) != self.token)

    async def standing(self, machine: Machine) -> Machine | None:
        """The machine as it is now, None when it is gone: DOD717 when a newer operator was there."""
        found = await self.show(machine)
        self._refuse_newer([found] if found else [])
        return found

    def _refuse_newer(self, machines: Iterable[Machine]) -> None:
        if self.token is None:
            return
        for one in machines:
            theirs, holder = token_of(one), one.metadata.get(HOLDER, "")
            if theirs > self.token or (theirs == self.token and holder not in ("", self.holder)):
                said = f"`{self.app}` was changed under lock {theirs} since, this command has lock {self.token}"
                said += " of another place" if theirs == self.token else ""
                raise DodaiError(codes.SUPERSEDED, said, codes.SUPERSEDED.fix.en, exit_code=75)

    async def create(
        self, name: str, region: str, config: Mapping[str, Any], min_secrets_version: int, *, launch: bool = True
    ) -> Machine:
        """A machine that gets no traffic yet; the one of that name when there is one. DOD715 without capacity."""
        body = {
            "name": name,
            "region": region,
            "config": config,
            "skip_service_registration": True,
            **({} if launch else {"skip_launch": True}),
            **({"min_secrets_version": min_secrets_version} if min_secrets_version else {}),
        }
        self.seen.pop(self.app, None)
        try:
            # The name is taken by this very request when its reply was lost.
            return (await self.api.call(CREATE, path=self._here, body=body, deadline_s=60.0)).value
        except VendorError as error:
            if _is_capacity(error):
                raise self._no_room(region, error) from None
            if error.status == 409 and (found := await self._named(name)):
                return found
            raise

    def _no_room(self, region: str, error: VendorError) -> VendorError:
        said = f"Fly has no room in `{region}` for another machine of `{self.app}`: {error.message}"
        return self.api.error(codes.NO_CAPACITY, said, "unavailable", error.status)

    async def _named(self, name: str) -> Machine | None:
        """The machine of that name; a list that lags may show it only later."""
        end = time.monotonic() + self.api.vendor.lag_s
        while True:
            found = next((one for one in await self.machines() if one.name == name), None)
            if found or time.monotonic() >= end:
                return found
            await asyncio.sleep(LEASE_RETRY_S)

    async def apply(self, operation: Operation[Any], machine: Machine, **options: Any) -> None:
        """One change of one machine, under its lease."""
        await self.change(machine, lambda nonce: self._send(operation, machine, nonce, **options))

    async def tag(self, machine: Machine, metadata: Mapping[str, str]) -> None:
        """Add to what it says of itself."""
        await self.apply(TAG, machine, body={"metadata": dict(metadata)})

    async def replace(self, machine: Machine, config: Mapping[str, Any], min_secrets_version: int) -> None:
        """The same machine with another configuration, started without traffic; 409 where somebody changed it since."""
        version = {"min_secrets_version": min_secrets_version} if min_secrets_version else {}
        body = {"config": config, "current_version": machine.instance_id, "skip_service_registration": True, **version}

        def changed() -> Machine | None:
            now = self.api.call_now(SHOW, path=self._one(machine)).value
            return now if now.instance_id != machine.instance_id else None

        await self.apply(UPDATE, machine, body=body, effect=changed)

    async def let_in(self, group: Sequence[Machine], instead_of: Sequence[Machine], *, last: bool = False) -> None:
        """Traffic for `group`; once every proxy of Fly knows of them, no more for the others.

        `last`: back when every proxy knows that, too, so that nobody is answered by the others any more.
        """
        coming = [one for one in group if one.cordoned]
        await together(self.apply(UNCORDON, one) for one in coming)
        leaving = [one for one in instead_of if not one.cordoned and not one.is_away]
        if coming or leaving:
            await asyncio.sleep(self.proxy_lag_s)
        await together(self.apply(CORDON, one) for one in leaving)
        if leaving and last:
            await asyncio.sleep(self.proxy_lag_s)

    async def stop(self, group: Sequence[Machine], wait_s: float) -> None:
        """SIGTERM, and whatever has not ended after `wait_s` is killed by Fly; back when all have ended.

        First every proxy of Fly has the time to know that they get no traffic any more.
        What is on a host that is away is not waited for: nobody can say when it ends.
        """
        body = {"signal": "SIGTERM", "timeout": f"{max(1, round(wait_s))}s"}
        if any(one.runs and not one.is_away for one in group):
            await asyncio.sleep(self.proxy_lag_s)
        await together(self.apply(STOP, one, body=body) for one in group if one.runs)
        end, ids = time.monotonic() + wait_s + 10, {one.id for one in group}
        while True:
            few = len(group) <= FEW  # one by one they may be asked more often than all together
            looks = await self.seen_again(group) if few else await self.machines()
            if not any(one.id in ids and one.runs and not one.is_away for one in looks):
                return
            if time.monotonic() >= end:
                said = f"a machine of `{self.app}` does not stop within {wait_s + 10:g} s"
                raise self.api.error(codes.LEASED, said, "unavailable")
            await asyncio.sleep(LOOK_S)

    async def destroy(self, machine: Machine) -> None:
        """Remove a stopped machine; gone already: nothing to do."""

        async def delete(nonce: str) -> None:
            await self._send(DELETE, machine, nonce, absent_is_done=True)

        await self.change(machine, delete, release=False)

    async def change(self, machine: Machine, act: Callable[[str], Awaitable[None]], *, release: bool = True) -> None:
        """`act` with the nonce of the machine's lease; a machine that is gone, or whose host is away, gets none.

        Under the lease it is looked at once more: who was held up before it, while a newer operator came, is refused.
        A lease that ended before its change arrived, as after a pause, is taken once more, with another look.
        """
        if machine.is_away:
            return
        try:
            await self._under_lease(machine, act, release=release)
        except VendorError as error:
            if error.status != 409 or error.code is codes.NO_CAPACITY:
                raise
            await self._under_lease(machine, act, release=release)

    async def _under_lease(self, machine: Machine, act: Callable[[str], Awaitable[None]], *, release: bool) -> None:
        lease = await self._lease(machine)
        if lease is None:
            return
        done = False
        try:
            if self.token is None or await self.standing(machine):
                await act(lease.nonce)
                done = True
        finally:
            self.seen.pop(self.app, None)
            if release or not done:
                await self._release(machine, lease)

    async def _lease(self, machine: Machine) -> MachineLease | None:
        """The lease, waited for as long as one lives; DOD718 when somebody keeps it. None: there is no such machine."""
        body = {"ttl": self.lease_s, "description": f"dodai {self.token or 0}"}
        end = time.monotonic() + self.lease_s + 2
        while True:
            try:
                return (await self.api.call(TAKE_LEASE, path=self._one(machine), body=body)).value
            except VendorError as error:
                if error.status == 404:
                    return None
                # Unclear: it may be ours now, without its nonce; like anybody else's it ends by itself.
                if error.status != 409 and error.code is not UNCLEAR:
                    raise
                if time.monotonic() >= end:
                    said = f"machine `{machine.id}` of `{self.app}` is held by somebody else: {error.message}"
                    raise self.api.error(codes.LEASED, said, "throttled", retry_after_s=float(self.lease_s)) from None
            await asyncio.sleep(LEASE_RETRY_S)

    async def _release(self, machine: Machine, lease: MachineLease) -> None:
        """Best effort: what is not given back ends by itself."""
        try:
            headers = {NONCE: lease.nonce}
            await self.api.call(DROP_LEASE, path=self._one(machine), headers=headers, deadline_s=5.0)
        except VendorError:
            return

    async def _send(
        self,
        operation: Operation[Any],
        machine: Machine,
        nonce: str,
        *,
        absent_is_done: bool = False,
        **options: Any,
    ) -> None:
        try:
            await self.api.call(operation, path=self._one(machine), headers={NONCE: nonce}, **options)
        except VendorError as error:
            if _is_capacity(error):
                raise self._no_room(machine.region, error) from None
            if not (absent_is_done and error.status == 404):
                raise

    def _one(self, machine: Machine) -> dict[str, str]:
        return {"app": self.app, "machine": machine.id}

    async def show(self, machine: Machine) -> Machine | None:
        """One machine as it is now; None when it is gone."""
        try:
            return (await self.api.call(SHOW, path=self._one(machine))).value
        except VendorError as error:
            if error.status != 404:
                raise
            return None

    async def seen_again(self, group: Sequence[Machine]) -> list[Machine]:
        """Those of `group` that are still there, as they are now: a few may be asked more often than the whole list."""
        found = await asyncio.gather(*(self.show(one) for one in group))
        self.seen.pop(self.app, None)  # the list is older than this: a release that failed since was well in it
        return [one for one in found if one and one.state not in ("destroyed", "destroying")]

    async def set_secrets(self, values: Mapping[str, str]) -> tuple[int, str]:
        """The version from which on machines see `values`, and their digests; DOD716 when Fly then lists other ones."""
        if not values:
            return 0, ""
        told = (await self.api.call(SET_SECRETS, path=self._here, body={"values": dict(values)})).value
        wanted = {one.name: one.digest for one in told.secrets if one.name in values}
        end = time.monotonic() + self.api.vendor.lag_s
        while True:
            listed = {one.name: one.digest for one in (await self.secrets()).secrets}
            wrong = sorted(name for name in values if listed.get(name) is None or listed[name] != wanted.get(name))
            if not wrong:
                return told.version, ",".join(f"{name}:{wanted[name][:DIGEST]}" for name in sorted(values))
            if time.monotonic() >= end:
                said = f"`{self.app}`: {len(wrong)} of {len(values)} secrets are not as set, `{wrong[0]}` first"
                raise self.api.error(codes.SECRETS_PARTLY, said, "ambiguous")
            await asyncio.sleep(LEASE_RETRY_S)

    async def secrets(self) -> FlySecrets:
        return (await self.api.call(LIST_SECRETS, path=self._here)).value


def newest_token(machines: Iterable[Machine]) -> int:
    """The newest fencing token that any of them carries; 0 for none."""
    return max(map(token_of, machines), default=0)


def token_of(machine: Machine) -> int:
    """The fencing token that it carries; 0 for none."""
    return int(machine.metadata.get(TOKEN) or 0)


def cloned(model: Machine, image: str, env: Mapping[str, str], marks: Mapping[str, str]) -> dict[str, Any]:
    """The configuration of `model` with another image, our variables and our marks; everything else as it is."""
    config = copy.deepcopy(dict(model.config))
    ours = set((model.metadata.get(VARIABLES) or "").split(","))
    kept = {name: value for name, value in (config.get("env") or {}).items() if name not in ours}
    config["image"] = image
    config["env"] = {**kept, **env}
    there = {
        name: value for name, value in (config.get("metadata") or {}).items() if name not in (KEPT, WAITS, IMAGE_CHILD)
    }
    config["metadata"] = {**there, **marks, VARIABLES: ",".join(sorted(env))}
    return config


async def together(calls: Iterable[Awaitable[None]]) -> None:
    """`AT_ONCE` of them at a time, the rates of the API kept; the first failure is raised when the others are over.

    No more than the client sends at once: a lease would end while its change waits behind those of other machines.
    """
    room = asyncio.Semaphore(AT_ONCE)

    async def one(call: Awaitable[None]) -> None:
        async with room:
            await call

    ended = await asyncio.gather(*map(one, calls), return_exceptions=True)
    failed = [each for each in ended if isinstance(each, BaseException)]
    if failed:
        raise failed[0]


def _is_capacity(error: VendorError) -> bool:
    """Whether there is no room: by its name, else by what hosts say with 409 (superfly/fly-go flaps/flaps_error.go)."""
    body = error.body if isinstance(error.body, Mapping) else {}
    text = str(body.get("error", ""))
    named = body.get("status") == "insufficient_capacity" or "insufficient_capacity" in text
    return named or (error.status == 409 and bool(_FULL.search(text)))
