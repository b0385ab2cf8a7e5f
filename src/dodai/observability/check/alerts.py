"""The rules about `[observability.alert.NAME]` and `[observability.notifier.NAME]`."""

from __future__ import annotations

from collections.abc import Iterator

from dodai.core.finding import Finding, Place
from dodai.core.manifest import Manifest
from dodai.core.rule import declared, rule
from dodai.core.suggestion import did_you_mean
from dodai.observability import codes
from dodai.observability.alert import defaults, unknown_names
from dodai.observability.policy import NotifierSection, ObservabilityPolicy, address_of, is_loopback


@rule(codes.UNKNOWN_ALERT, needs=(Manifest,))
def alerts_exist(manifest: Manifest) -> Iterator[Finding]:
    known = [alert.name for alert in defaults()]
    for name in unknown_names(_policy(manifest).alerts):
        message = f"`[observability.alert.{name}]`: there is no alert `{name}`"
        yield Finding(codes.UNKNOWN_ALERT, message, Place(manifest.path), fix=did_you_mean(name, known))


@rule(codes.NOTIFIER_INCOMPLETE, needs=(Manifest,))
def notifiers_can_tell(manifest: Manifest) -> Iterator[Finding]:
    for name, section in _policy(manifest).notifiers.items():
        if lacks := _lacks(section):
            message = f"`[observability.notifier.{name}]` is of kind `{section.kind}` and lacks {lacks}"
            yield Finding(codes.NOTIFIER_INCOMPLETE, message, Place(manifest.path))


@rule(codes.METRICS_PUBLIC, needs=(Manifest,))
def metrics_are_not_public(manifest: Manifest) -> Iterator[Finding]:
    """Beyond this machine only where `closed_ports` has the port, which `check --target` tries from outside."""
    text = _policy(manifest).metrics
    if not text:
        return
    address = address_of(text)
    if address is None:
        yield Finding(
            codes.METRICS_PUBLIC, f"`[observability] metrics`: `{text}` is not `host:port`", Place(manifest.path)
        )
        return
    host, port = address
    if host == "localhost" or is_loopback(host):
        return
    environments = manifest.data.get("env") or {}
    for name, env in sorted(environments.items()):
        closed = {str(one).rpartition(":")[2] for one in env.get("closed_ports") or ()}
        if env.get("public_origins") and str(port) not in closed:
            message = (
                f"`[observability] metrics` listens on `{text}`, and `[env.{name}] closed_ports` has no port {port}"
            )
            yield Finding(codes.METRICS_PUBLIC, message, Place(manifest.path))


def _policy(manifest: Manifest) -> ObservabilityPolicy:
    return ObservabilityPolicy.from_manifest(manifest.section("observability") or {})


def _lacks(section: NotifierSection) -> str:
    match section.kind:
        case "command":
            return "" if section.command else "`command`"
        case "pagerduty":
            return "" if section.variable else "`variable`, which names where the routing key is"
        case "email":
            return "" if section.sender and section.to else "`sender` or `to`"
    return "" if section.url or section.variable else "`url` or `variable`"


RULES = declared(globals())
