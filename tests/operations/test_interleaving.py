"""Two operators on one environment, one of them paused anywhere: nobody changes anything under a replaced token."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import psycopg
from tests.operations.kill_world import Killed, Points

from dodai.core.errors import DodaiError

CALLS = ("before start", "before switch", "before stop", "before edge", "after held", "before applying", "before done")


class Pause(Points):
    """Points where an operator stops until it is woken: once, at point number `stop_at`."""

    def __init__(self, stop_at: int) -> None:
        super().__init__()
        self.stop_at = stop_at
        self.reached = asyncio.Event()
        self.wake = asyncio.Event()

    async def reach(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) - 1 == self.stop_at:
            self.reached.set()
            await self.wake.wait()


def sql(dsn, query, *values):
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(query, values or None)
        return cursor.fetchall() if cursor.description else []


def granted(dsn, env):
    rows = sql(dsn, "SELECT token FROM dodai.control_lease WHERE env = %s", env)
    return rows[0][0] if rows else 0


class Watched(Killed):
    """Each change of the Host is written down beside the newest token that the database had granted by then."""

    @property
    def host(self):
        return replace(super().host, newest=lambda: granted(self.dsn, self.env))


async def ended(work):
    try:
        return (await work).exit_code
    except DodaiError as error:
        return error.exit_code


async def meet(place, stop_at, second_stop_at=None):
    """The first operator stops at a point, its lease runs out, the second takes over; then the first one wakes."""
    first, second = Pause(stop_at), Pause(-1 if second_stop_at is None else second_stop_at)
    one = Watched(place.folder, place.dsn, place.env, first, place.fenced)
    two = Watched(place.folder, place.dsn, place.env, second, place.fenced)
    working = asyncio.create_task(ended(one.run("deploy", "r2")))
    stopped = asyncio.create_task(first.reached.wait())
    await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
    sql(place.dsn, "UPDATE dodai.control_lease SET expires_at = clock_timestamp() WHERE env = %s", place.env)
    following = asyncio.create_task(take_over(two))
    if second_stop_at is not None:
        halfway = asyncio.create_task(second.reached.wait())
        await asyncio.wait([following, halfway], return_when=asyncio.FIRST_COMPLETED)
        first.wake.set()
        codes = [await working]
        second.wake.set()
        codes.append(await following)
    else:
        codes = [await following]
        first.wake.set()
        codes.insert(0, await working)
    stopped.cancel()
    return codes


async def take_over(place):
    """Finish what the other left; when nothing was written down yet, deploy."""
    code = await ended(place.resume())
    return code if code != 1 else await ended(place.run("deploy", "r2", "taro"))


def late_changes(place):
    """Changes under a token that was older than the newest granted at that moment."""
    lines = [line.split() for line in place.host.log()]
    return [line for line in lines if int(line[-2]) < int(line[-1])]


def new_place(root, dsn, number, **options):
    folder = root / f"two{number}"
    folder.mkdir()
    place = Watched(folder, dsn, folder.name, **options)
    place.host.preset("r1")
    place.world.write("+migrate")
    return place


async def points_of_a_deploy(root, dsn):
    place = new_place(root, dsn, "peace")
    place.points = Points()
    assert await ended(place.run("deploy", "r2")) == 0
    return [n for n, name in enumerate(place.points.names) if name.startswith(CALLS)]


async def test_holder_that_is_paused_anywhere_and_replaced_changes_nothing_when_it_wakes_up(tmp_path, database):
    """Wherever it was: what it does after waking is refused, the other's deploy ends well, nothing happens twice."""
    points = await points_of_a_deploy(tmp_path, database)
    assert len(points) >= 30
    for number, at in enumerate(points):
        second = 20 + 7 * (number % 8) if number % 3 else None
        place = new_place(tmp_path, database, f"{at}x{second}")
        codes = await meet(place, at, second)
        assert late_changes(place) == [], (at, second, codes)
        assert place.duplicates() == [], (at, second, codes)
        if 0 not in codes:  # the waking one can have stopped the other one's step by its own, recorded end
            assert await ended(place.resume()) in (0, 1)
        end = await asyncio.to_thread(place.end)
        assert end["live"] == {"backend": "r2", "web": "r2"}, (at, second, codes)
        assert end["released"] == ["r2"], (at, second, codes)


async def test_without_the_fence_a_late_change_would_be_seen(tmp_path, database):
    """The watch is not blind: a target that hears of the token too late is changed by the old holder."""
    seen = []
    for at in (await points_of_a_deploy(tmp_path, database))[::4]:
        place = new_place(tmp_path, database, f"open{at}", fenced=False)
        one = Pause(at)
        first = Watched(place.folder, place.dsn, place.env, one, fenced=False)
        working = asyncio.create_task(ended(first.run("deploy", "r2")))
        stopped = asyncio.create_task(one.reached.wait())
        await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
        sql(place.dsn, "UPDATE dodai.control_lease SET expires_at = clock_timestamp() WHERE env = %s", place.env)
        lease = place.lease("taro")
        await lease.acquire()
        one.wake.set()
        await working
        await lease.release()
        seen += late_changes(place)
    assert seen
