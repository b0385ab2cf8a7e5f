"""Replies of Fly in the forms that its pages and its own clients know, where its OpenAPI file says otherwise or nothing."""

from __future__ import annotations

import pytest

from dodai.providers.fly.machines_api import TAKE_LEASE
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
