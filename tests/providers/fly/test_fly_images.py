"""Images that are an index, as buildx pushes one: a machine shows the manifest in it that it runs."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import replace

from tests.support.fly_world import TOKEN, fly_world, served
from tests.support.quick_vendor import quick

from dodai.operations.ports import ServiceSpec
from dodai.providers.fly.fly_compute import FlyCompute
from dodai.providers.fly.machines_api import fly
from dodai.providers.fly.registry_api import Registry
from dodai.vendor_api import Api, ApiToken

SPEC = ServiceSpec(name="web", command=())


@contextmanager
def app(tmp_path):
    """The app `quiz-web`, deployed by hand from an index, and its operator, who may ask the registry."""
    with fly_world(boot_s=0.0) as world:
        image = world.image(tmp_path, light=True, index=True)
        config = served(check={"type": "http", "path": "/readyz", "interval": "100ms"})
        config["env"]["DODAI_RELEASE"] = "by-hand"
        world.fly.launch("quiz-web", image, config, ("nrt",))
        world.settle("quiz-web")
        token = ApiToken("FLY_API_TOKEN", TOKEN)
        registry = Registry(world.registry.host, lambda: token)
        with closing(Api(quick(fly()), world.fly.url, token)) as api:
            apps, lag_s = {"web": "quiz-web"}, world.fly.noticed_s
            compute = FlyCompute(
                lambda: api, "production", apps, frozenset(), proxy_lag_s=lag_s, child_of=registry.child
            )
            yield world, image, registry, compute.under(1)


async def started(compute, image, name, settings="s"):
    await compute.start(SPEC, name, image, {"DODAI_RELEASE": name}, settings=settings)
    return await compute.probe("web", name, settings=settings, wait_s=10)


async def test_release_of_an_index_is_ready_and_what_its_machines_run_is_compared(tmp_path):
    """The manifest for linux/amd64 is the image that was deployed; any other is not."""
    with app(tmp_path) as (world, image, registry, compute):
        registry.prove(image)
        assert (await started(compute, image, "r1")).ready
        machine = world.fly.machines("quiz-web")[1]
        assert machine.digest == registry.child(image) != image.partition("@")[2]
        machine.digest = f"sha256:{'0' * 64}"
        compute.seen.clear()
        probe = await compute.probe("web", "r1", settings="s")
        assert (probe.state, image.partition("@")[2] in probe.detail) == ("not_served", True)


async def test_manifest_of_an_index_does_not_count_for_the_release_after_it(tmp_path):
    """A clone takes over the metadata of its model: that of the image is not among it."""
    with app(tmp_path) as (world, image, registry, compute):
        assert (await started(compute, image, "r1")).ready
        await compute.switch("web", "r1", settings="s")
        plain = world.image(tmp_path / "other", light=True)
        assert registry.child(plain) == ""
        assert (await started(compute, plain, "r2")).ready
        machine = world.fly.machines("quiz-web")[2]
        machine.digest = registry.child(image)
        compute.seen.clear()
        assert (await compute.probe("web", "r2", settings="s")).state == "not_served"


async def test_registry_is_asked_only_where_machines_are_made(tmp_path):
    """A resumed plan needs no registry for what is there."""
    with app(tmp_path) as (_, image, _, compute):
        assert (await started(compute, image, "r1")).ready

        def gone(_):
            raise AssertionError

        assert (await started(replace(compute, child_of=gone), image, "r1")).ready
