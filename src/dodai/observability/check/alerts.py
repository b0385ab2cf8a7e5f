"""The rules about `[observability.alert.NAME]` and `[observability.notifier.NAME]`."""

from __future__ import annotations

from collections.abc import Iterator

from dodai.core.finding import Finding, Place
from dodai.core.manifest import Manifest
from dodai.core.rule import declared, rule
from dodai.core.suggestion import did_you_mean
from dodai.observability import codes
from dodai.observability.alert import defaults, unknown_names
from dodai.observability.policy import NotifierSection, ObservabilityPolicy


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
