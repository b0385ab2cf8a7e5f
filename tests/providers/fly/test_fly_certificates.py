"""Certificates at Fly as `dodai doctor ENV --live` shows them: what visitors would meet, and the record that mends it."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.fly_world import MACHINES_API, TOKEN, fly_world, served
from tests.support.quick_vendor import quick
from tests.support.vendor_spec import specs

from dodai.providers.fly.fly_examine import certificate_rows
from dodai.providers.fly.machines_api import fly
from dodai.standins import ApiFault
from dodai.vendor_api import Api, ApiToken

HOST, NOW = "quiz.example.com", datetime(2026, 11, 29, tzinfo=UTC)
OWNERSHIP = {"ownership": {"name": f"_fly-ownership.{HOST}", "app_value": "app-4f2", "org_value": "org-9"}}


def shown(days: int, status="active", **more):
    ends = (NOW + timedelta(days=days)).isoformat().replace("+00:00", "Z")
    entry = {"source": "fly", "status": status, "expires_at": ends}
    return {"configured": status == "active", "status": status, "certificates": [entry], **more}


WAITS = shown(80, "pending_ownership", dns_requirements=OWNERSHIP, validation_errors=[{"message": "no TXT record"}])
CASES = {
    "good": (shown(60), "ok", "`quiz.example.com` until 2027-01-28", ""),
    "ends": (
        shown(9),
        "warning",
        "`quiz.example.com` until 2026-12-08, in 9 days: Fly has not renewed it",
        "fly certs",
    ),
    "waits": (
        WAITS,
        "missing",
        "`quiz.example.com` is pending_ownership: no TXT record",
        'set the DNS record `_fly-ownership.quiz.example.com TXT "app-4f2"`',
    ),
    "none": (
        None,
        "missing",
        "Fly has none for `quiz.example.com`: visitors are refused",
        "fly certs add quiz.example",
    ),
    "configured without one": ({"configured": True, "status": "ready"}, "missing", "is ready", "fly certs check"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_state_of_a_certificate_is_told_with_what_mends_it(tmp_path, case):
    """`configured` alone is no certificate, and one that is there may end before anybody looks."""
    told, verdict, said, fix = case
    with fly_world(boot_s=0.0) as world:
        world.fly.launch("quiz-web", world.image(tmp_path, light=True), served(), ("nrt",))
        if told:
            world.fly.certificates[HOST] = told
        with closing(Api(quick(fly()), world.fly.url, ApiToken("FLY_API_TOKEN", TOKEN))) as api:
            (row,) = certificate_rows(api, "web", "quiz-web", [HOST], 21 * 86400.0, NOW)
        assert (row.name, row.verdict) == ("fly web certificate", verdict)
        assert said in row.seen
        assert row.fix.startswith(fix)
        if specs():
            assert MACHINES_API.judge(world.fly.exchanges).problems == ()


def test_certificate_that_cannot_be_asked_for_is_not_called_absent(tmp_path):
    """Fly is away: that says nothing about the certificate."""
    with fly_world(boot_s=0.0) as world:
        world.fly.launch("quiz-web", world.image(tmp_path, light=True), served(), ("nrt",))
        world.fly.faults.add(ApiFault(kind="status", status=403, where="GET .*/certificates/"))
        with closing(Api(quick(fly()), world.fly.url, ApiToken("FLY_API_TOKEN", TOKEN))) as api:
            (row,) = certificate_rows(api, "web", "quiz-web", [HOST], 21 * 86400.0, NOW)
        assert row.verdict == "missing"
        assert "has none" not in row.seen
