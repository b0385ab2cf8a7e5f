"""How services reach each other at Fly: by a private address, and by a port that takes plain connections."""

from __future__ import annotations

from contextlib import closing, contextmanager

import pytest
from tests.support.fly_world import MACHINES_API, TOKEN, fly_world, served
from tests.support.quick_vendor import quick
from tests.support.vendor_spec import specs

from dodai.core.errors import DodaiError
from dodai.operations.ports import ServiceSpec
from dodai.providers.fly.fly_compute import FlyCompute
from dodai.providers.fly.fly_examine import examine
from dodai.providers.fly.machines_api import fly
from dodai.standins import ApiFault
from dodai.vendor_api import Api, ApiToken
from dodai.wiring import environments
from dodai.wiring.find_project import find_project

TLS = {"port": 443, "handlers": ["tls", "http"]}
FORCED = {"port": 80, "handlers": ["http"], "force_https": True}
PLAIN = {"port": 8080, "handlers": ["http"]}
APPS = {"backend": "quiz-backend"}
NO_PORT = "`quiz-backend` has no port without `force_https` and the `tls` handler: other services speak plainly to it"
NO_ADDRESS = "`quiz-backend` has no private address: for other services there is no `quiz-backend.flycast`"


@contextmanager
def backend(tmp_path, *ports, private=True, needed=("backend",)):
    """The app `quiz-backend` with these ports, which other services need, and its operator."""
    with fly_world(boot_s=0.0) as world:
        config = served(check={"type": "http", "path": "/readyz", "interval": "100ms"})
        config["env"]["DODAI_RELEASE"] = "by-hand"
        config["services"][0]["ports"] = list(ports)
        image = world.image(tmp_path, light=True)
        world.fly.launch("quiz-backend", image, config, ("nrt",))
        world.fly.apps["quiz-backend"].private = private
        world.settle("quiz-backend")
        with closing(Api(quick(fly()), world.fly.url, ApiToken("FLY_API_TOKEN", TOKEN))) as api:
            compute = FlyCompute(lambda: api, "production", APPS, frozenset(), needed=frozenset(needed)).under(1)
            yield world, image, compute
        if specs():
            assert MACHINES_API.judge(world.fly.exchanges).problems == ()


def told_by_doctor(compute):
    rows = list(examine(compute.connect, APPS, {}, {}, 0.0, {}, compute.needed))
    return [(row.seen, row.fix, row.unseen) for row in rows if row.name == "fly backend inside"]


async def start(compute, image):
    await compute.start(ServiceSpec(name="backend", command=()), "r1", image, {}, settings="s")


@pytest.mark.parametrize("ports", [(TLS, FORCED, PLAIN), (PLAIN, TLS), (FORCED, PLAIN)])
async def test_other_services_are_told_the_port_that_takes_plain_connections(tmp_path, ports):
    """Whatever port stands first in fly.toml; what they are told leads somewhere."""
    with backend(tmp_path, *ports) as (world, image, compute):
        address = await compute.address("backend")
        assert address == "quiz-backend.flycast:8080"
        env = {"BACKEND_ADDR": address, "DODAI_RELEASE": "by-hand"}
        world.fly.launch("quiz-web", image, {**served(), "env": env}, ("nrt",))
        assert world.fly.apps["quiz-backend"].leads_inside(8080)
        assert told_by_doctor(compute) == []
        await start(compute, image)


@pytest.mark.parametrize(
    ("ports", "private", "said", "fix"),
    [
        ((TLS, FORCED), True, NO_PORT, "fly deploy"),
        ((PLAIN,), False, NO_ADDRESS, "fly ips allocate-v6 --private -a quiz-backend"),
        ((), True, NO_PORT, "fly deploy"),
    ],
    ids=["for browsers only", "public addresses only", "no port"],
)
async def test_service_that_others_would_not_reach_is_refused_before_anything_is_made(
    tmp_path, ports, private, said, fix
):
    """Its release would be healthy, and those that need it would not get through; `doctor --live` says so too."""
    with backend(tmp_path, *ports, private=private) as (world, image, compute):
        ((seen, to_do, unseen),) = told_by_doctor(compute)
        assert (seen, unseen) == (said, False)
        assert to_do.endswith(fix)
        with pytest.raises(DodaiError) as caught:
            await start(compute, image)
        assert (caught.value.code.id, caught.value.message, caught.value.fix) == ("DOD733", said, to_do)
        assert world.calls() == []


async def test_service_that_nobody_needs_may_be_for_browsers_only(tmp_path):
    """Most are, as `fly launch` makes them; the fence of a plan asks for their address all the same."""
    with backend(tmp_path, TLS, FORCED, private=False, needed=()) as (_, image, compute):
        assert (await compute.address("backend")).startswith("quiz-backend.flycast:")
        assert told_by_doctor(compute) == []
        await start(compute, image)


async def test_addresses_that_may_not_be_seen_are_not_judged(tmp_path):
    """A token that may not look stops no deploy, and doctor does not say that all is well."""
    with backend(tmp_path, PLAIN, private=False) as (world, image, compute):
        world.fly.faults.add(ApiFault(kind="status", status=403, where="GET .*/ip_assignments", times=2))
        ((_, _, unseen),) = told_by_doctor(compute)
        assert unseen
        await start(compute, image)


def test_services_that_are_told_of_are_those_that_another_one_needs_or_names(tmp_path, monkeypatch):
    """By `needs`, and by a reference in a variable; a worker has no address."""
    manifest = '[project]\nname = "quiz"\n[env.production]\ncompute = "fly"\nedge = "fly"\ndatabase = "postgres"\n'
    manifest += 'database_url = "postgresql://nobody@127.0.0.1:9/none"\n'
    manifest += 'fly = { apps = { web = "w", backend = "b", search = "s", mail = "m" } }\n'
    manifest += '[service.web]\ncommand = ["web"]\npublic = true\nneeds = ["backend", "mail"]\n'
    manifest += '[service.web.env]\nSEARCH = "{search.url}"\n'
    manifest += '[service.backend]\ncommand = ["b"]\n[service.search]\ncommand = ["s"]\n'
    manifest += '[service.mail]\ncommand = ["m"]\nkind = "worker"\n[service.mail.health]\nheartbeat = "served"\n'
    (tmp_path / "dodai.toml").write_text(manifest)
    monkeypatch.setenv("FLY_API_TOKEN", TOKEN)
    project = find_project(tmp_path / "dodai.toml")
    assert environments.open(project, "production").compute.needed == {"backend", "search"}
