"""The vendors' own Python libraries against the stand-ins: what an official client takes for the vendor is close to it."""

from __future__ import annotations

import importlib
import re
import sys
import types
from importlib.util import find_spec
from pathlib import Path

import pytest

from dodai.standins.authentik_standin import AuthentikStandIn
from dodai.standins.cloudflare_standin import PHASES, CloudflareStandIn

TOKEN = "for-tests"


@pytest.mark.optional_part("cloudflare-sdk")
def test_cloudflares_own_library_takes_the_stand_in_for_cloudflare():
    """Zone, settings, records, rulesets and rules, origin pulls, addresses: read, made, changed, removed."""
    from cloudflare import Cloudflare, NotFoundError, PermissionDeniedError

    with CloudflareStandIn({TOKEN: frozenset({"*"}), "reader": frozenset()}) as standin:
        client = Cloudflare(api_token=TOKEN, base_url=standin.url, max_retries=0)
        zone = standin.zone
        assert client.zones.get(zone_id=zone).name == "example.com"
        assert client.zones.settings.get("ssl", zone_id=zone).value == "flexible"
        client.zones.settings.edit("ssl", zone_id=zone, value="strict")
        assert standin.settings["ssl"] == "strict"
        record = client.dns.records.create(
            zone_id=zone, type="CNAME", name="quiz.example.com", content="quiz.fly.dev", proxied=True, ttl=1
        )
        edited = client.dns.records.edit(
            record.id, zone_id=zone, type="CNAME", name="quiz.example.com", content="other.fly.dev", ttl=1
        )
        assert edited.content == "other.fly.dev"
        assert [one.id for one in client.dns.records.list(zone_id=zone)] == [record.id]
        client.dns.records.delete(record.id, zone_id=zone)
        assert standin.records == []
        with pytest.raises(NotFoundError):
            client.rulesets.phases.get(PHASES[0], zone_id=zone)
        client.rulesets.create(zone_id=zone, name="default", kind="zone", phase=PHASES[0], rules=[])
        made = client.rulesets.phases.get(PHASES[0], zone_id=zone)
        rule = {"action": "set_cache_settings", "expression": "true", "ref": "dodai_cache"}
        client.rulesets.rules.create(made.id, zone_id=zone, **rule)
        (there,) = client.rulesets.phases.get(PHASES[0], zone_id=zone).rules
        assert (there.ref, there.expression) == ("dodai_cache", "true")
        client.rulesets.rules.edit(there.id, ruleset_id=made.id, zone_id=zone, **{**rule, "expression": "false"})
        client.rulesets.rules.delete(there.id, ruleset_id=made.id, zone_id=zone)
        assert standin.rulesets[PHASES[0]]["rules"] == []
        assert client.origin_tls_client_auth.settings.get(zone_id=zone).enabled is False
        assert client.ips.list().ipv4_cidrs == []
        with pytest.raises(PermissionDeniedError):
            Cloudflare(api_token="reader", base_url=standin.url, max_retries=0).zones.settings.edit(
                "ssl", zone_id=zone, value="off"
            )


@pytest.fixture
def authentik_client(monkeypatch):
    """The library, its thousand modules loaded as they are needed: all of them take eight seconds."""
    folder = Path(find_spec("authentik_client").origin).parent
    made = {name: types.ModuleType(f"authentik_client{name}") for name in ("", ".api", ".models")}
    for name, module in made.items():
        module.__path__ = [str(folder / name.removeprefix("."))]
        monkeypatch.setitem(sys.modules, module.__name__, module)

    def model(name):
        file = re.sub("([a-z0-9])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()
        return getattr(importlib.import_module(f"authentik_client.models.{file}"), name)

    made[".models"].__getattr__ = model
    made[""].__version__, made[""].models = "as installed", made[".models"]


@pytest.mark.optional_part("authentik-sdk")
@pytest.mark.usefixtures("authentik_client")
def test_authentiks_own_library_takes_the_stand_in_for_authentik():
    """Its models are strict: a field that is missing or of another type is an error there."""
    from authentik_client.api.core_api import CoreApi
    from authentik_client.api.managed_api import ManagedApi
    from authentik_client.api.providers_api import ProvidersApi
    from authentik_client.api_client import ApiClient
    from authentik_client.configuration import Configuration
    from authentik_client.exceptions import ForbiddenException, NotFoundException

    with AuthentikStandIn({TOKEN: frozenset({"*"})}) as standin:
        standin.client["redirect_uris"] = [{"matching_mode": "strict", "url": "https://quiz.example.com/auth"}]
        standin.token("ci", "2026-12-01T00:00:00Z")
        standin.shelf.add("quiz", status="successful")
        with ApiClient(Configuration(host=f"{standin.url}/api/v3", access_token=TOKEN)) as client:
            application = CoreApi(client).core_applications_retrieve("quiz")
            provider = ProvidersApi(client).providers_oauth2_retrieve(application.provider)
            assert provider.redirect_uris[0].url == "https://quiz.example.com/auth"
            (token,) = CoreApi(client).core_tokens_list(intent="api").results
            assert (token.identifier, token.expiring) == ("ci", True)
            (blueprint,) = ManagedApi(client).managed_blueprints_list(name="quiz").results
            assert blueprint.status == "successful"
            with pytest.raises(NotFoundException):
                CoreApi(client).core_applications_retrieve("nobody")
        with (
            ApiClient(Configuration(host=f"{standin.url}/api/v3", access_token="old")) as client,
            pytest.raises(ForbiddenException),
        ):
            CoreApi(client).core_applications_retrieve("quiz")
