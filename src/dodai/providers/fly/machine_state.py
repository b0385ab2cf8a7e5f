"""Machines of one service as they are seen: what they run, whether they are well, which of them serve."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dodai.operations.ports import Instance, InstanceState, ServiceProbe, ServiceStatus
from dodai.providers.fly.fleet import COUNT, IMAGE, IMAGE_CHILD, KEPT, RELEASE, SETTINGS
from dodai.providers.fly.machines_api import FlyAddress, Machine

UNMANAGED = "unmanaged-"
"""What a release is called that dodai did not deploy: this and the start of its image's digest."""
_STATES: Mapping[str, InstanceState] = {"started": "running", "stopping": "draining", "replacing": "restarting"}


def release_of(machine: Machine) -> str:
    """The release that it runs; what dodai did not deploy is named after its image."""
    digest = machine.image_ref.digest.removeprefix("sha256:")[:12] or machine.id
    return machine.metadata.get(RELEASE) or f"{UNMANAGED}{digest}"


def settings_of(machine: Machine) -> str:
    return machine.metadata.get(SETTINGS, "")


def is_of(machine: Machine, release: str, settings: str) -> bool:
    own = settings_of(machine)
    return release_of(machine) == release and (settings in ("", own) or own.startswith(f"{settings}-"))


def is_marked(machine: Machine) -> bool:
    return bool(machine.metadata.get(KEPT))


def is_kept(machine: Machine) -> bool:
    """Whether it is stopped for good, and there only because the next release is made of it."""
    return is_marked(machine) and machine.cordoned and machine.ended


def clone_name(release: str, settings: str, model: Machine) -> str:
    """Unique in an app and the same at every try: what is cloned, and what for."""
    return f"d-{release[:12]}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}-{model.id}"


def standing(machines: Iterable[Machine]) -> list[Machine]:
    """The group that serves: those of one release and settings that are not cordoned, the oldest such group while
    traffic is being moved; the newest group of all where every machine is cordoned.

    Which group that is, machines whose host is away say only where there are no others.
    """
    everyone = list(machines)
    serving = [one for one in everyone if not one.cordoned]
    seen = [one for one in serving or everyone if not one.is_away] or serving or everyone
    chosen = seen[0 if serving else -1] if seen else None
    return [one for one in serving or everyone if chosen and _group(one) == _group(chosen)]


def models_among(machines: Iterable[Machine]) -> list[Machine]:
    """What a release is cloned of: of the groups that serve the largest, whose hosts answer; else the newest.

    A machine that comes back after its host was away may serve an older release beside all the others.
    """
    there = [one for one in machines if not one.is_away]
    sizes = Counter(_group(one) for one in there if not one.cordoned)
    largest = max((one for one in there if not one.cordoned), key=lambda one: sizes[_group(one)], default=None)
    return standing(one for one in there if largest is None or _group(one) == _group(largest))


def _group(machine: Machine) -> tuple[str, str]:
    return release_of(machine), settings_of(machine)


def several_groups(machines: Iterable[Machine]) -> tuple[str, str] | None:
    """That a service is not all of these machines, and what to do; None where they are of one process group."""
    groups = sorted({one.group for one in machines} - {""})
    if len(groups) < 2:
        return None
    said = f"has machines of several process groups: {', '.join(f'`{one}`' for one in groups)}"
    return said, "a service is one group: give each of the others an app of its own, with its own fly.toml"


def port_of(machine: Machine) -> int:
    """The port by which other services come, else any that it has; 0 where it has none."""
    services = machine.config.get("services") or []
    ports = [port for service in services for port in service.get("ports") or [] if port.get("port")]
    return int(next((port["port"] for port in sorted(ports, key=_is_for_browsers)), 0))


def _is_for_browsers(port: Mapping[str, Any]) -> bool:
    """Whether it takes TLS or leads there: https://fly.io/docs/networking/flycast ("Flycast is HTTP-only")."""
    return bool(port.get("force_https")) or "tls" in (port.get("handlers") or [])


def no_way_inside(app: str, machines: Iterable[Machine], addresses: Iterable[FlyAddress]) -> tuple[str, str] | None:
    """Why no other service reaches `APP.flycast`, and what to do; None where they do."""
    services = [service for one in machines for service in one.config.get("services") or []]
    if all(_is_for_browsers(port) for service in services for port in service.get("ports") or []):
        said = f"`{app}` has no port without `force_https` and the `tls` handler: other services speak plainly to it"
        return (
            said,
            'add one to fly.toml, as `[[services.ports]]` with `port = 80` and `handlers = ["http"]`; fly deploy',
        )
    if not any(one.is_private for one in addresses):
        said = f"`{app}` has no private address: for other services there is no `{app}.flycast`"
        return said, f"fly ips allocate-v6 --private -a {app}"
    return None


def answer_of(group: Sequence[Machine], release: str) -> ServiceProbe:
    """As ready as the least ready machine, once all of them are there."""
    if not group:
        return ServiceProbe(state="absent", detail=f"no machine of release {release}")
    if not is_whole(group):
        said = f"{len(group)} of {_count(group)} machines exist"
        return ServiceProbe(state="not_ready", detail=said, output=tuple(said_of(group))[-20:])
    return health_of(group, release)


def is_whole(group: Sequence[Machine]) -> bool:
    """Whether all machines that were to be made are there; once it serves, people may scale it."""
    return bool(group) and (len(group) >= _count(group) or not any(one.cordoned for one in group))


def _count(group: Sequence[Machine]) -> int:
    return max(int(one.metadata.get(COUNT) or 0) for one in group)


def health_of(group: Sequence[Machine], release: str) -> ServiceProbe:
    """As ready as the least ready of these machines; those whose turn has not come are not judged."""
    output = tuple(said_of(group))[-20:]
    waiting, group = sum(one.waits for one in group), [one for one in group if not one.waits]
    if not group:
        return ServiceProbe(state="not_ready", detail=f"{waiting} machines wait to be started", output=output)
    for one in group:
        if one.is_away:
            continue
        if one.ended and not _idle(one):
            code = _exit_code(one)
            said = f"machine {one.id} in {one.region} is {one.state}" + ("" if code is None else f", exit code {code}")
            return ServiceProbe(state="exited", detail=said, exit_code=code, output=output)
        # Fly may show of an index, which buildx makes by default since 0.10 (https://github.com/docker/buildx/issues/1507),
        # the digest of the manifest in it that it runs.
        meant = one.metadata.get(IMAGE, "").rpartition("@")[2]
        if meant and one.image_ref.digest not in ("", meant, one.metadata.get(IMAGE_CHILD, "")):
            said = f"machine {one.id} runs the image {one.image_ref.digest}, deployed was {meant}"
            return ServiceProbe(state="not_served", detail=said, output=output)
    unwell = [one for one in group if not is_well(one)]
    if unwell:
        first = unwell[0]
        said = f"{len(group) - len(unwell)} of {len(group)} machines pass their checks; {first.id} in {first.region}: "
        said += ", ".join(f"{check.name} {check.status}" for check in first.checks) or first.state
        said += ", its host is away" if first.is_away else ""
        return ServiceProbe(state="not_ready", detail=said, output=output)
    versions = {version for one in group if not _idle(one) if (version := _version(one))}
    odd = sorted(versions - {release})
    version = odd[0] if odd else next(iter(versions), "")
    said = f"{len(group)} machines pass their checks"
    said += f", {waiting} are started in their turn" if waiting else ""
    return ServiceProbe(state="ready", version=version, detail=said, output=output)


def is_well(machine: Machine) -> bool:
    """Whether it runs and every check passes; without a check nothing was judged, so it is not well."""
    if machine.is_away:
        return False
    if _idle(machine):
        return True
    passing = all(check.status == "passing" for check in machine.checks)
    return machine.state == "started" and bool(machine.checks) and passing


def _idle(machine: Machine) -> bool:
    """Stopped by Fly because nobody asked; the next request starts it."""
    services = machine.config.get("services") or []
    stops = any(service.get("autostop") in ("stop", "suspend", True) for service in services)
    return (
        machine.state in ("stopped", "suspended")
        and not machine.cordoned
        and stops
        and _exit_code(machine) in (0, None)
    )


def _version(machine: Machine) -> str:
    """The version that the service said of itself in the answer to a check; Fly keeps the start of it."""
    said = (re.search(r'"version"\s*:\s*"([^"]+)"', check.output) for check in machine.checks)
    return next((found[1] for found in said if found), "")


def _exit_code(machine: Machine) -> int | None:
    """As `GetExitCode` of superfly/fly-go machine_types.go finds it: what the monitor saw comes first."""
    for event in machine.events:
        if event.type == "exit":
            monitored = (event.request.get("MonitorEvent") or {}).get("exit_event")
            code = (monitored or event.request.get("exit_event") or {}).get("exit_code")
            return code if isinstance(code, int) else None
    return None


def said_of(group: Iterable[Machine]) -> Iterable[str]:
    for one in group:
        for event in reversed(one.events):
            code = f" exit code {_exit_code(one)}" if event.type == "exit" else ""
            yield f"{one.id} {one.region} {event.type} {event.status}{code}"
        for check in one.checks:
            yield f"{one.id} {one.region} check {check.name} {check.status}: {check.output[:200]}"


def status_of(name: str, address: str, machines: Sequence[Machine]) -> ServiceStatus:
    serving = [one for one in standing(machines) if not one.cordoned]
    instances = tuple(
        Instance(
            service=name,
            release=release_of(one),
            settings=settings_of(one),
            state=_state(one),
            address=one.id,
            live=one in serving,
            region=one.region,
            exit_code=_exit_code(one),
            trouble=_trouble(one),
        )
        for one in machines
    )
    release = release_of(serving[0]) if serving else ""
    there = [one for one in machines if one.runs and not one.is_away]
    moving = any(one.cordoned == (_group(one) == _group(serving[0])) for one in there) if serving else False
    return ServiceStatus(name=name, address=address, release=release, instances=instances, moving=moving)


def _trouble(machine: Machine) -> str:
    if machine.is_away:
        return "its host is away: Fly changes nothing there, and it may come back as it was"
    return "stopped by Fly while nobody asks; the next request starts it" if _idle(machine) else ""


def _state(machine: Machine) -> InstanceState:
    if machine.is_away:
        return "unreachable"
    if machine.waits:
        return "starting"
    if machine.ended:
        if machine.cordoned and not is_marked(machine):
            return "draining"  # whoever was retiring it did not come to its end: it is still there
        return "running" if _idle(machine) else "exited"
    return _STATES.get(machine.state, "starting")
