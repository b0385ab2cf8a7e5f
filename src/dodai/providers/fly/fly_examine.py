"""What a token of Fly can see and how the apps stand, read only: `dodai doctor ENV --live`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from dodai.core import proposal
from dodai.core.errors import DodaiError
from dodai.core.text import counted
from dodai.operations.codes import ACCOUNT_CERTIFICATE, ACCOUNT_MACHINES, ACCOUNT_SECRETS
from dodai.operations.ports import DoctorRow
from dodai.providers.fly.fleet import SECRETS
from dodai.providers.fly.machine_checks import Judged, checks_of, has_checks, too_slow
from dodai.providers.fly.machine_state import models_among, no_way_inside, release_of, several_groups, standing
from dodai.providers.fly.machines_api import (
    LIST,
    LIST_ADDRESSES,
    LIST_SECRETS,
    SHOW_APP,
    SHOW_CERTIFICATE,
    SHOW_TOKEN,
    FlyCertificate,
    Machine,
)
from dodai.vendor_api import Api, VendorError

DEADLINE_S = 10.0


def examine(
    connect: Callable[[], Api],
    apps: Mapping[str, str],
    secrets: Mapping[str, Sequence[str]],
    hosts: Mapping[str, Sequence[str]],
    certificate_left_s: float,
    judged: Mapping[str, Judged],
    needed: frozenset[str] = frozenset(),
) -> Iterator[DoctorRow]:
    """The token, then each app with its machines, secrets and certificates.

    `secrets` are the names that each service is given, `hosts` the names by which people come to it, `judged` how it
    becomes healthy, `needed` those that other services come to.

    Nothing is changed, so whether the token may change anything is not judged.
    """
    try:
        api = connect()
        reach = {app for part in api.call_now(SHOW_TOKEN, deadline_s=DEADLINE_S).value.tokens for app in part.apps}
    except DodaiError as error:
        yield DoctorRow("fly token", "missing", error.message, "every change", error.fix, unseen=True)
        return
    named = f"of {', '.join(sorted(reach))}" if reach else "of a whole organisation: one app each is enough"
    yield DoctorRow("fly token", "ok", f"accepted, {named}; that it may change them is seen at the first change")
    for service, app in apps.items():
        yield from _app(api, service, app, secrets.get(service, ()), judged.get(service, Judged()))
        if service in needed:
            yield from _way_inside(api, service, app)
        names = hosts.get(service, ())
        yield from certificate_rows(api, service, app, names, certificate_left_s, datetime.now(UTC))


def _app(api: Api, service: str, app: str, secrets: Sequence[str], judged: Judged) -> Iterator[DoctorRow]:
    name = f"fly {service}"
    try:
        status = api.call_now(SHOW_APP, path={"app": app}, deadline_s=DEADLINE_S).value.status
        found = api.call_now(LIST, path={"app": app}, query={"limit": 1000}, deadline_s=DEADLINE_S).value
        machines = [one for one in found if not one.is_reserved]
        listed = api.call_now(LIST_SECRETS, path={"app": app}, deadline_s=DEADLINE_S).value.secrets
        known = {one.name: one.digest for one in listed}
    except VendorError as error:
        absent = error.status == 404
        fix = f"fly apps create {app}, or correct `apps`" if absent else error.fix
        code = ACCOUNT_MACHINES if absent else None
        yield DoctorRow(name, "missing", error.message, "every deploy", fix, code=code, unseen=not absent)
        return
    if not machines:
        said, fix = f"`{app}` ({status}) has no machine to clone", "make the first one: fly deploy"
        yield DoctorRow(name, "missing", said, "every deploy", fix, code=ACCOUNT_MACHINES)
        return
    yield _machines(name, app, machines)
    if unfit := _unfit(machines, service, judged):
        yield DoctorRow(f"{name} machines", "missing", unfit[0], "every deploy", unfit[1], code=ACCOUNT_MACHINES)
    if idle := [one for one in machines if one.cordoned and one.state == "started"]:
        said = f"{counted(len(idle), 'machine')} of `{app}` without traffic: {', '.join(one.id for one in idle[:3])}"
        fix = "the next deploy removes them"
        yield DoctorRow(f"{name} left over", "warning", said, fix=fix, code=ACCOUNT_MACHINES, remark=True)
    yield from _secrets(f"{name} secrets", app, machines, known, secrets)


def _way_inside(api: Api, service: str, app: str) -> Iterator[DoctorRow]:
    name, path = f"fly {service} inside", {"app": app}
    try:
        addresses = api.call_now(LIST_ADDRESSES, path=path, deadline_s=DEADLINE_S).value.ips
        machines = api.call_now(LIST, path=path, query={"limit": 1000}, deadline_s=DEADLINE_S).value
    except VendorError as error:
        if error.status != 404:  # of an app that is not there another row tells
            yield DoctorRow(name, "missing", error.message, "the services that need it", error.fix, unseen=True)
        return
    models = models_among(one for one in machines if not one.is_reserved)
    if models and (lacking := no_way_inside(app, models, addresses)):
        said, fix = lacking
        yield DoctorRow(name, "missing", said, "every deploy", fix, code=ACCOUNT_MACHINES)


def _secrets(
    name: str, app: str, machines: Sequence[Machine], there: Mapping[str, str], wanted: Sequence[str]
) -> Iterator[DoctorRow]:
    """The names that are set beside those of the manifest, and Fly's digests beside those of the last deploy."""
    code, alike = ACCOUNT_SECRETS, len(there)
    if unset := sorted(set(wanted) - there.keys()):
        said, fix = f"`{app}` has no {_listed(unset)}", "the next deploy sets what the store has"
        yield DoctorRow(name, "warning", said, fix=fix, code=code)
    if foreign := sorted(there.keys() - set(wanted)):
        fix = f"declare it as `[secret.{foreign[0]}]`, or: fly secrets unset {' '.join(foreign)} -a {app}"
        said = f"`{app}` has {_listed(foreign)}, not of the manifest"
        yield DoctorRow(name, "warning", said, fix=fix, code=code, remark=True)
    told = {digest for one in standing(machines) for digest in one.metadata.get(SECRETS, "").split(",") if digest}
    held = dict(one.split(":", 1) for one in told if ":" in one)
    if changed := sorted(one for one, digest in held.items() if not there.get(one, digest).startswith(digest)):
        said = f"{_listed(changed)} of `{app}` was set since the release that serves: a machine that starts gets it"
        fix = f"`{proposal.RESTART(env='ENV')}` brings the values of the store to all"
        yield DoctorRow(name, "warning", said, fix=fix, code=code)
    if not (unset or changed):
        as_deployed = f", {len(held)} as they were deployed" if held else ""
        yield DoctorRow(name, "ok", f"{alike} set{as_deployed}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{one}`" for one in names)


def _machines(name: str, app: str, machines: Sequence[Machine]) -> DoctorRow:
    serving = [one for one in machines if not one.cordoned]
    where = ", ".join(f"{count} in {region}" for region, count in sorted(Counter(m.region for m in serving).items()))
    releases = sorted({release_of(one) for one in serving})
    away = [one.id for one in machines if one.is_away]
    said = f"`{app}` serves {', '.join(releases) or 'nothing'} on {where or 'no machine'}"
    if len(releases) > 1 or away:
        said += f"; the host of {', '.join(away)} is away, so no deploy changes or clones it" if away else ""
        fix = f"`{proposal.DEPLOY(env='ENV')}` brings one release" if len(releases) > 1 else "see Fly's status page"
        return DoctorRow(name, "warning", said, fix=fix, code=ACCOUNT_MACHINES, remark=len(releases) < 2)
    return DoctorRow(name, "ok", said)


def _unfit(machines: Sequence[Machine], service: str, judged: Judged) -> tuple[str, str] | None:
    """Why no release can be made of these machines, and what to do; None when one can."""
    if mixed := several_groups(machines):
        return mixed
    machines = [one for one in machines if not one.is_away]
    if not machines:
        return "its machines' hosts are away", "see Fly's status page, or make a machine elsewhere: fly deploy"
    if bare := [one.id for one in machines if not has_checks(one)]:
        return f"no health check: {', '.join(bare[:3])}", "add one to fly.toml, then fly deploy"
    if mounted := [one.id for one in machines if one.config.get("mounts")]:
        return f"has a volume: {', '.join(mounted[:3])}", "such an app is deployed with fly deploy"
    return too_slow(checks_of(models_among(machines)), service, judged)


DAY_S = 86400.0
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
