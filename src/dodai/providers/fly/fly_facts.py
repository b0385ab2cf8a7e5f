"""What is known of the driver of Fly: the rights of its token, and whether it met a live account."""

from __future__ import annotations

from dodai.providers.fly.fly_logs import LIST_LOGS
from dodai.providers.fly.fly_metrics import QUERY_RANGE
from dodai.providers.fly.machines_api import (
    CORDON,
    CREATE,
    DELETE,
    DROP_LEASE,
    LIST,
    LIST_ADDRESSES,
    LIST_SECRETS,
    SET_SECRETS,
    SHOW,
    SHOW_APP,
    SHOW_CERTIFICATE,
    SHOW_TOKEN,
    START,
    STOP,
    TAG,
    TAKE_LEASE,
    TOKEN,
    UNCORDON,
    UPDATE,
)
from dodai.vendor_api import DriverFacts, Scope

FACTS = DriverFacts(
    vendor="Fly",
    guide="fly",
    variable=TOKEN,
    credential="a deploy token of each app (`fly tokens create deploy -a APP`), as it is printed, separated by commas; "
    "`fly tokens create readonly` to look",
    specification="Machines API, 2026",
    scopes=(
        Scope(
            "read these apps",
            "machines, checks, addresses, names and digests of secrets, certificates, what the token itself may do",
            (SHOW_TOKEN, SHOW_APP, LIST, SHOW, LIST_SECRETS, SHOW_CERTIFICATE, LIST_ADDRESSES),
            looks=True,
        ),
        Scope(
            "change their machines",
            "a release is made, gets traffic, and the one before ends; leases and marks keep operators apart",
            (CREATE, UPDATE, CORDON, UNCORDON, START, STOP, DELETE, TAG, TAKE_LEASE, DROP_LEASE),
        ),
        Scope(
            "read their logs",
            "`logs`, `trace --env`, `watch`, and the requests by which a canary is judged",
            (LIST_LOGS,),
            looks=True,
        ),
        Scope(
            "read the organisation's metrics",
            "counters that Fly scraped, read back by `watch`: Fly has them for the whole organisation",
            (QUERY_RANGE,),
            looks=True,
        ),
        Scope("set their secrets", "what services are told; values go one way only", (SET_SECRETS,)),
    ),
)
