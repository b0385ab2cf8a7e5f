"""The lock of an environment as a row of the control database, by the database's own time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict, field, replace
from typing import Any

import psycopg

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine import codes
from dodai.engine.lease import Holder
from dodai.engine.place import Claim, StatePlace, lives_elsewhere
from dodai.providers.postgres.control.control_connection import ControlConnection

TTL_S = 60.0
HEARTBEAT_S = 15.0
FENCE_S = 30.0
"""A machine of a provider may be leased to somebody who died a moment ago: that ends within 15 s."""
Fence = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class LeaseState:
    """A holder, for how long by the database's clock, and the seconds until silence counts as gone (below 0: now)."""

    holder: Holder
    age: str
    left_s: float


@dataclass(slots=True)
class PostgresLease:
    """A lease with `ttl_s`, kept alive by heartbeats; DOD350 (exit 75) names the holder and when it may be replaced.

    A holder that certainly died (same boot and process table, its process gone) is replaced at once, a silent one after
    `ttl_s`. `fence` tells a target the new token before the grant is committed: from then on the target refuses every
    older one, so that no change can slip in between. `least` is what targets have seen already (a restored database
    forgets). With `claim` the environment has to live at that place, or nowhere yet: DOD382 (exit 1), unless it is
    taken over. Every call is one round trip.
    """

    session: ControlConnection
    actor: str
    command: str = ""
    fence: Fence | None = None
    least: int = 0
    claim: Claim | None = None
    ttl_s: float = TTL_S
    interval_s: float = HEARTBEAT_S
    token: int = field(default=0, init=False)
    _tried: int = field(default=0, init=False)

    async def acquire(self, floor: int = 0) -> int:
        if self.token == 0:
            loop = asyncio.get_running_loop()
            try:
                self.token = await asyncio.to_thread(self.session.run, lambda c: self._grant(c, floor, loop))
            except BaseException:
                self.session.close()
                raise
        return self.token

    async def heartbeat(self) -> None:
        await asyncio.to_thread(self.session.run, self._extend)

    async def held(self) -> bool:
        """By the database's clock, not ours; DOD376 when it cannot be asked."""
        return self.token > 0 and await asyncio.to_thread(self.session.run, self._is_ours)

    async def release(self) -> None:
        """Given back; when the database is gone the lease ends by itself."""
        if self.token:
            with contextlib.suppress(DodaiError):
                await asyncio.to_thread(self.session.run, self._give_back)
            self.token = 0
        self.session.close()

    def standing(self) -> LeaseState | None:
        """Who holds it; None when it is free."""
        return self.session.run(lambda c: standing_of(c, self.session.env))

    def place(self) -> StatePlace | None:
        """Where the environment lives; None while it never did."""
        return self.session.run(lambda c: place_of(c, self.session.env))

    def _grant(self, connection: psycopg.Connection[Any], floor: int, loop: asyncio.AbstractEventLoop) -> int:
        env = self.session.env
        with connection.transaction():
            row = connection.execute(
                "SELECT token FROM dodai.control_lease WHERE env = %s FOR UPDATE", (env,)
            ).fetchone()
            newest = int(row[0]) if row else 0
            held = standing_of(connection, env)
            if held is not None and held.holder.token == self._tried and held.holder.pid == os.getpid():
                return self._tried  # granted, but the reply was lost
            if held is not None and held.left_s > 0 and not held.holder.is_dead:
                raise _held(env, held)
            if self.claim is not None:
                self._settle_place(connection, self.claim)
            token = max(newest, floor, self.least) + 1
            self._tried = token
            holder = json.dumps(asdict(Holder.here(self.actor, self.command, token)))
            connection.execute(
                "UPDATE dodai.control_lease SET token = %s, holder = %s, granted_at = clock_timestamp(),"
                " expires_at = clock_timestamp() + make_interval(secs => %s) WHERE env = %s",
                (token, holder, self.ttl_s, env),
            )
            if self.fence is not None:
                asyncio.run_coroutine_threadsafe(_awaited(self.fence, token), loop).result(timeout=FENCE_S)
        return token

    def _settle_place(self, connection: psycopg.Connection[Any], claim: Claim) -> None:
        env = self.session.env
        found = place_of(connection, env)
        if found is not None and not found.is_same(claim.place) and not claim.take_over:
            raise lives_elsewhere(env, found)
        connection.execute("UPDATE dodai.control_lease SET place = %s WHERE env = %s", (claim.place.as_text(), env))

    def _extend(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute(
            "UPDATE dodai.control_lease SET expires_at = clock_timestamp() + make_interval(secs => %s)"
            " WHERE env = %s AND token = %s AND holder IS NOT NULL",
            (self.ttl_s, self.session.env, self.token),
        )

    def _is_ours(self, connection: psycopg.Connection[Any]) -> bool:
        row = connection.execute(
            "SELECT 1 FROM dodai.control_lease"
            " WHERE env = %s AND token = %s AND holder IS NOT NULL AND expires_at > clock_timestamp()",
            (self.session.env, self.token),
        ).fetchone()
        return row is not None

    def _give_back(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute(
            "UPDATE dodai.control_lease SET holder = NULL, expires_at = NULL WHERE env = %s AND token = %s",
            (self.session.env, self.token),
        )


async def _awaited(fence: Fence, token: int) -> None:
    await fence(token)


def standing_of(connection: psycopg.Connection[Any], env: str) -> LeaseState | None:
    """Who holds the lease of `env`, by the clock of the database; None when it is free."""
    row = connection.execute(
        "SELECT holder, extract(epoch FROM expires_at - clock_timestamp())::float8, granted_at, clock_timestamp()"
        " FROM dodai.control_lease WHERE env = %s AND holder IS NOT NULL",
        (env,),
    ).fetchone()
    if row is None:
        return None
    holder = replace(Holder(**json.loads(row[0])), since=row[2].isoformat(timespec="seconds"))
    return LeaseState(holder, holder.age(row[3]), float(row[1]))


def place_of(connection: psycopg.Connection[Any], env: str) -> StatePlace | None:
    """Where `env` lives; None while it never did."""
    row = connection.execute("SELECT place FROM dodai.control_lease WHERE env = %s", (env,)).fetchone()
    return StatePlace.from_text(row[0]) if row and row[0] else None


def _held(env: str, standing: LeaseState) -> DodaiError:
    holder = standing.holder
    running = f" running `{holder.command}`" if holder.command else ""
    return DodaiError(
        codes.LEASE_HELD,
        f"`{holder.actor}` (pid {holder.pid} on `{holder.host}`){running} has held the lock on `{env}` for"
        f" {standing.age}; without a sign of life it may be taken over in {standing.left_s:.0f} s",
        "wait until it ends, or ask them to stop it with Ctrl-C",
        exit_code=75,
        data={**asdict(holder), "takeoverInSeconds": round(standing.left_s, 1)},
    )
