"""Tokens of Fly in every form that its tools print, as they are sent to each of its APIs and to its registry."""

from __future__ import annotations

from contextlib import closing

import pytest
from tests.support.fly_world import fly_world, served
from tests.support.quick_vendor import quick

from dodai.providers.fly.fly_logs import FlyLogs, fly_logs
from dodai.providers.fly.fly_metrics import FlyCounters
from dodai.providers.fly.machines_api import LIST, fly, fly_token
from dodai.providers.fly.registry_api import Registry
from dodai.vendor_api import Api


@pytest.mark.parametrize(
    ("told", "scheme", "value"),
    [
        ("FlyV1 fm2_made", "FlyV1", "fm2_made"),
        ("fm2_made", "FlyV1", "fm2_made"),
        ("Bearer FlyV1 fm1r_made", "FlyV1", "fm1r_made"),
        ("flyv1  fm2_made, fm1a_proof", "FlyV1", "fm2_made,fm1a_proof"),
        ("fm2_made,fo1_signed-in", "FlyV1", "fm2_made"),
        ("fo1_signed-in", "", "fo1_signed-in"),
        ("Bearer fo1_signed-in\n", "", "fo1_signed-in"),
        ("fm2made", "", "fm2made"),
    ],
)
def test_token_is_read_without_its_scheme_and_sent_with_the_one_it_needs(told, scheme, value):
    """`fly tokens create` prints a scheme, `fly auth token` none; neither is a part of the token."""
    token = fly_token({"FLY_API_TOKEN": told})
    assert (token.variable, token.scheme, token.value) == ("FLY_API_TOKEN", scheme, value)


@pytest.mark.parametrize("told", ["FlyV1 fm2_made", "fm2_made", "Bearer fm2_made", "fo1_signed-in"])
def test_every_api_of_fly_and_its_registry_accept_the_token(tmp_path, told):
    """Its log and counters refuse `Bearer` before what `fly tokens create` makes; its registry takes the bare token."""
    with fly_world(told.split()[-1]) as world:
        image = world.image(tmp_path, light=True)
        world.fly.launch("quiz-web", image, served(), ("nrt",))
        token, apps = fly_token({"FLY_API_TOKEN": told}), {"web": "quiz-web"}
        machines, platform = (Api(quick(vendor()), world.fly.url, token) for vendor in (fly, fly_logs))
        with closing(machines), closing(platform):
            assert len(machines.call_now(LIST, path={"app": "quiz-web"}).value) == 1
            assert FlyLogs(lambda: platform, apps).after("web", "")[0] == []
            assert FlyCounters(lambda: machines, lambda: platform, apps).added("requests", "http", 0, 10, 1) == []
        Registry(world.registry.host, lambda: token).prove(image)
