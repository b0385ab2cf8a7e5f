"""The rights that tokens need: every call of a driver has one, and looking takes no more than those for looking."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest

from dodai import providers
from dodai.providers.authentik.authentik_api import FACTS as AUTHENTIK
from dodai.providers.cloudflare.cloudflare_api import FACTS as CLOUDFLARE
from dodai.providers.fly.fly_facts import FACTS as FLY
from dodai.providers.neon.neon_api import FACTS as NEON
from dodai.standins.authentik_standin import AuthentikStandIn
from dodai.vendor_api import Operation

DRIVERS = {"fly": FLY, "neon": NEON, "cloudflare": CLOUDFLARE, "authentik": AUTHENTIK}
GUIDES = Path(__file__).parents[2] / "docs" / "guides"


def operations(vendor):
    """Every call that a module of the driver declares."""
    folder = Path(providers.__path__[0]) / vendor
    names = [found.name for found in pkgutil.iter_modules([str(folder)])]
    modules = [importlib.import_module(f"dodai.providers.{vendor}.{name}") for name in names]
    found = {id(one): one for module in modules for one in vars(module).values() if isinstance(one, Operation)}
    return list(found.values())


@pytest.mark.parametrize("vendor", DRIVERS)
def test_every_call_of_a_driver_has_one_right_with_a_reason(vendor):
    """A new call without one would be found by whoever made the token narrow, in the middle of a deploy."""
    given = [call.name for scope in DRIVERS[vendor].scopes for call in scope.operations]
    assert sorted(given) == sorted(call.name for call in operations(vendor))
    assert all(scope.name and scope.reason for scope in DRIVERS[vendor].scopes)


@pytest.mark.parametrize("vendor", DRIVERS)
def test_rights_to_look_hold_no_call_that_changes_anything(vendor):
    """`doctor` and `check --target` are run with a token that cannot do harm."""
    for scope in DRIVERS[vendor].scopes:
        assert not (scope.looks and any(call.method not in ("GET", "HEAD") for call in scope.operations)), scope.name


@pytest.mark.parametrize("vendor", DRIVERS)
def test_guide_begins_with_what_the_driver_was_seen_with(vendor):
    """One sentence for all of them, in their guides and in the reference."""
    facts = DRIVERS[vendor]
    text = " ".join((GUIDES / f"{facts.guide}.md").read_text("utf-8").split())
    assert facts.verified in text
    assert facts.variable in text


def test_permissions_of_authentik_are_those_that_its_stand_in_asks_for():
    """Each of its routes is closed to a token without them."""
    with AuthentikStandIn({"t": frozenset()}) as standin:
        asked = {route.scope for route in standin.routes if route.scope}
    assert asked == {scope.name for scope in AUTHENTIK.scopes} - {"none"}
