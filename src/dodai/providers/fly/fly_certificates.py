"""Certificates of an app at Fly for the names of an environment, read only: behind a CDN nothing else shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from dodai.operations.codes import ACCOUNT_CERTIFICATE
from dodai.operations.ports import DoctorRow
from dodai.providers.fly.machines_api import SHOW_CERTIFICATE, FlyCertificate
from dodai.vendor_api import Api, VendorError

DEADLINE_S, DAY_S = 10.0, 86400.0
VISITORS = "everybody who comes by that name"


def certificate_rows(
    api: Api, service: str, app: str, hosts: Sequence[str], least_s: float, now: datetime
) -> Iterator[DoctorRow]:
    """One for each of `hosts`: whether visitors get a certificate for it, and for how long; `least_s` is enough."""
    for host in hosts:
        name, path = f"fly {service} certificate", {"app": app, "hostname": host}
        try:
            found = api.call_now(SHOW_CERTIFICATE, path=path, deadline_s=DEADLINE_S).value
        except VendorError as error:
            if error.status != 404:
                yield DoctorRow(name, "missing", error.message, VISITORS, error.fix, unseen=True)
                continue
            said = f"Fly has none for `{host}`: visitors are refused, behind Cloudflare with 525 or 526"
            fix = f"fly certs add {host} -a {app}"
            yield DoctorRow(name, "missing", said, VISITORS, fix, code=ACCOUNT_CERTIFICATE)
            continue
        yield _row(name, host, app, found, least_s, now)


def _row(name: str, host: str, app: str, found: FlyCertificate, least_s: float, now: datetime) -> DoctorRow:
    ends = min((end for one in found.certificates if one.status == "active" and (end := one.ends)), default=None)
    if not found.configured or ends is None:
        errors = "; ".join(one.message for one in found.validation_errors if one.message)
        said = f"`{host}` is {found.status or 'not configured'}" + (f": {errors}" if errors else "")
        fix = _fix(found) or f"fly certs check {host} -a {app}"
        return DoctorRow(name, "missing", said, VISITORS, fix, code=ACCOUNT_CERTIFICATE)
    left_s = (ends - now).total_seconds()
    until = f"`{host}` until {ends.astimezone(UTC):%Y-%m-%d}"
    if left_s < least_s:
        said = f"{until}, in {left_s / DAY_S:.0f} days: Fly has not renewed it"
        fix = _fix(found) or f"fly certs check {host} -a {app}"
        return DoctorRow(name, "warning", said, VISITORS, fix, code=ACCOUNT_CERTIFICATE)
    return DoctorRow(name, "ok", until)


def _fix(found: FlyCertificate) -> str:
    """Behind a proxy Fly sees no record that leads to it: the TXT record proves whose name it is."""
    ownership = found.dns_requirements.ownership
    if found.validation.ownership_txt_configured or not (ownership.name and ownership.app_value):
        return ""
    return f'set the DNS record `{ownership.name} TXT "{ownership.app_value}"`'
