"""The provider `fly`: machines and images of Fly.io; the files of a release are kept on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from urllib.parse import urlsplit

from dodai.observability.policy import ObservabilityPolicy
from dodai.operations.policy import Service
from dodai.operations.ports import DoctorRow, Edge
from dodai.operations.provider import Opening, Provider
from dodai.operations.secret import EDGE_KEY, KEY_RINGS
from dodai.operations.service_limits import referred
from dodai.providers.fly import fly_logs
from dodai.providers.fly.fly_compute import FlyCompute
from dodai.providers.fly.fly_examine import examine
from dodai.providers.fly.fly_logs import FlyLogs
from dodai.providers.fly.fly_metrics import FlyCounters
from dodai.providers.fly.fly_toml import ToldService, toml_rows
from dodai.providers.fly.image_releases import ImageReleases
from dodai.providers.fly.machine_checks import Judged
from dodai.providers.fly.machines_api import ADDRESS, HOST, PROXY_LAG, PROXY_LAG_S, fly, fly_token
from dodai.providers.fly.proxy_edge import PUBLIC, FlyProxyEdge
from dodai.providers.fly.registry_api import DEFAULT_HOST, REGISTRY_HOST, Registry
from dodai.providers.fly.rolling import Rolling
from dodai.providers.local.release_tree import ReleaseTrees
from dodai.vendor_api import Api, ApiToken, api_of


def _token(opening: Opening) -> ApiToken:
    return fly_token(opening.variables)


def _api(opening: Opening) -> Api:
    return api_of(fly, opening.variables.get(HOST, "") or ADDRESS, _token(opening))


def _compute(opening: Opening) -> FlyCompute:
    policy = opening.project.policy
    secret = {*KEY_RINGS, EDGE_KEY, *policy.secrets, policy.database.variable}
    rolled = [one for one in policy.services.values() if one.name in opening.config.fly.rolling]
    share = opening.config.fly.max_unavailable
    return FlyCompute(
        partial(_api, opening),
        opening.config.name,
        opening.config.fly.apps,
        frozenset(secret),
        rolling={one.name: Rolling(share, one.health.timeout_s, one.drain_s, one.health.consecutive) for one in rolled},
        judged=_judged(opening),
        proxy_lag_s=_proxy_lag_s(opening),
        needed=_needed(opening),
        child_of=_registry(opening).child,
    )


def _needed(opening: Opening) -> frozenset[str]:
    """The services whose address another one is told."""
    known = opening.project.policy.services
    told = {name for one in known.values() for name in (*one.needs, *(other for _, other in referred(one)))}
    return frozenset(name for name in told if name in known and known[name].kind == "server")


def _proxy_lag_s(opening: Opening) -> float:
    """Fly's own where the variable has no number."""
    try:
        return float(opening.variables.get(PROXY_LAG, ""))
    except ValueError:
        return PROXY_LAG_S


def _judged(opening: Opening) -> dict[str, Judged]:
    known = opening.project.policy.services.values()
    return {one.name: Judged(one.health.consecutive, one.health.timeout_s) for one in known}


def _artifacts(opening: Opening) -> ImageReleases:
    trees = ReleaseTrees(opening.folder / "releases")
    return ImageReleases(trees, _registry(opening), tuple(opening.config.fly.apps))


def _registry(opening: Opening) -> Registry:
    return Registry(opening.variables.get(REGISTRY_HOST, "") or DEFAULT_HOST, partial(_token, opening))


def _edge(opening: Opening) -> Edge:
    public, apps = opening.project.policy.public_service, opening.config.fly.apps
    app = apps.get(public.name, "") if public else ""
    return FlyProxyEdge(partial(_api, opening), app, opening.variables.get(PUBLIC, "") or f"https://{app}.fly.dev")


def _platform(opening: Opening) -> Api:
    address = opening.variables.get(fly_logs.HOST, "") or fly_logs.ADDRESS
    return api_of(fly_logs.fly_logs, address, _token(opening))


def _logs(opening: Opening) -> FlyLogs:
    return FlyLogs(partial(_platform, opening), opening.config.fly.apps)


def _counters(opening: Opening) -> FlyCounters:
    return FlyCounters(partial(_api, opening), partial(_platform, opening), opening.config.fly.apps)


def _examine(opening: Opening) -> Iterator[DoctorRow]:
    policy = opening.project.policy
    given: dict[str, list[str]] = {}
    for name in opening.config.fly.apps:
        told = [secret.name for secret in policy.secrets.values() if name in secret.used_by]
        stored = [policy.database.variable] if name in policy.database.used_by else []
        given[name] = [*KEY_RINGS, *told, *stored]
    public, config = policy.public_service, opening.config
    names = [host for origin in config.public_origins if (host := urlsplit(origin).hostname)]
    own = {public.name: [host for host in names if not host.endswith(".fly.dev")]} if public else {}
    judged = _judged(opening)
    yield from examine(
        partial(_api, opening), config.fly.apps, given, own, config.certificate_left_s, judged, _needed(opening)
    )
    metrics = ObservabilityPolicy.from_manifest(opening.project.manifest.section("observability") or {}).metrics
    yield from toml_rows(
        opening.project.root, {name: _told(policy.services[name], app, metrics) for name, app in _apps(opening)}
    )


def _apps(opening: Opening) -> Iterator[tuple[str, str]]:
    known = opening.project.policy.services
    yield from ((name, app) for name, app in opening.config.fly.apps.items() if name in known)


def _told(service: Service, app: str, metrics: str) -> ToldService:
    health = service.health
    path = service.ready_path if service.ready_kind == "http" else ""
    return ToldService(app, path, service.env, Judged(health.consecutive, health.timeout_s), metrics)


PROVIDER = Provider(
    compute=_compute,
    artifacts=_artifacts,
    edge=_edge,
    examine=_examine,
    logs=_logs,
    lines=_logs,
    counters=_counters,
    keys=("fly",),
    required=("fly.apps",),
    for_services=("fly.apps",),
    together={"edge": "compute"},
    keeps_limits=False,
)
