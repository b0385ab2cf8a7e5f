"""Replies of Fly in the forms that its pages and its own clients know, where its OpenAPI file says otherwise or nothing."""

from __future__ import annotations

import pytest

from dodai.providers.fly.machine_state import health_of
from dodai.providers.fly.machines_api import LIST, TAKE_LEASE
from dodai.vendor_api import OffContractError

LEASE = {"nonce": "5c35f65c9f95", "expires_at": 1708569778, "owner": "hello@fly.io", "description": ""}


@pytest.mark.parametrize(
    "reply", [{"status": "success", "data": LEASE}, LEASE], ids=["page and client", "OpenAPI file"]
)
def test_lease_is_read_in_both_forms_that_fly_describes(reply):
    """Without its nonce no machine is changed: every deploy would end at the first one."""
    lease = TAKE_LEASE.reply(reply)
    assert (lease.nonce, lease.expires_at) == ("5c35f65c9f95", 1708569778)


@pytest.mark.parametrize("reply", [{"status": "error", "message": "no"}, {"status": "success", "data": {}}, [], None])
def test_lease_without_a_nonce_is_off_the_contract(reply):
    """Nothing is concluded from it."""
    with pytest.raises(OffContractError):
        TAKE_LEASE.reply(reply)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"exit_event": {"exit_code": 3}}, 3),
        ({"MonitorEvent": {"exit_event": {"exit_code": 3}}}, 3),
        ({"MonitorEvent": {"exit_event": {"exit_code": 3}}, "exit_event": {"exit_code": 0}}, 3),
        ({"MonitorEvent": {}, "exit_event": {"exit_code": 3}}, 3),
        ({"MonitorEvent": None}, None),
    ],
)
def test_exit_code_is_found_where_the_client_of_fly_finds_it(request_, code):
    """What the monitor of a machine saw comes first."""
    event = {"type": "exit", "status": "stopped", "timestamp": 1, "request": request_}
    machine = {
        "id": "1",
        "state": "stopped",
        "region": "nrt",
        "instance_id": "1",
        "host_status": "ok",
        "config": {"image": "web"},
        "events": [event],
    }
    probe = health_of(LIST.reply([machine]), "r1")
    assert (probe.state, probe.exit_code) == ("exited", code)
