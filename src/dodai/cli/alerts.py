"""`dodai alerts`: what is watched for and when it fires; mute one, say that somebody is on it, export them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from dodai.cli.command_context import CONTEXT, CommandContext, define
from dodai.engine.moment import read_moment, utc

if TYPE_CHECKING:
    from dodai.core.text import Lang
    from dodai.observability.alert import Alert
    from dodai.observability.run import Watched

with_env: Callable[[Any], Any] = click.option("--env", default="local", show_default=True, help="Of which environment.")
with_fast: Callable[[Any], Any] = click.option("--fast", is_flag=True, help="Of a `watch --fast`.")
_LONGEST_S = 7 * 86400.0


@click.group(
    "alerts",
    context_settings=CONTEXT,
    help="List alerts, silence them, acknowledge them.\n\n\b\nExample:\n  dodai alerts list",
    short_help="List alerts, silence them, acknowledge them",
)
def command() -> None:
    """The alerts of the manifest and of `dodai watch`."""


@define("list", summary="Show every alert and when it fires", example="dodai alerts list")
@with_env
@with_fast
def list_(context: CommandContext, env: str, fast: bool) -> int:
    from dodai.operations.run.watched_environment import watched

    there = watched(context.project, env, fast=fast)
    if context.output.as_json:
        rows = [_as_json(alert, there.tick_s, there.policy.heartbeat_s) for alert in there.alerts]
        context.output.data("dodai.alerts/1", {"environment": env, "alerts": rows})
        return 0
    context.output.line(f"{'alert':18} {'fires':40} {'at least':>9} {'severity':>8}  detected within")
    for alert in there.alerts:
        seconds = alert.detection_s(tick_s=there.tick_s, heartbeat_s=there.policy.heartbeat_s)
        within = "depends on the fault" if seconds is None else f"{seconds:.0f} s when everything fails"
        least = str(alert.min_count or "-")
        context.output.line(f"{alert.name:18} {alert.condition:40} {least:>9} {alert.severity:>8}  {within}")
    return 0


def _as_json(alert: Alert, tick_s: float, heartbeat_s: float) -> dict[str, Any]:
    return {
        "name": alert.name,
        "code": alert.code.id,
        "measure": alert.measure,
        "kind": alert.kind,
        "condition": alert.condition,
        "threshold": alert.threshold,
        "windowsSeconds": list(alert.windows_s),
        "minCount": alert.min_count,
        "minFailed": alert.min_bad,
        "forSeconds": alert.for_s,
        "severity": alert.severity,
        "by": alert.by,
        "detectedWithinSeconds": alert.detection_s(tick_s=tick_s, heartbeat_s=heartbeat_s),
    }


def _muting(kind: str, summary: str, example: str) -> click.Command:
    @define(kind, summary=summary, example=example)
    @click.argument("name")
    @click.option("--for", "span", default="1h", show_default=True, help="How long, at most 7d.")
    @click.option("--reason", required=True, help="Why. Kept in the history.")
    @with_env
    @with_fast
    def mute(context: CommandContext, name: str, span: str, reason: str, env: str, fast: bool) -> int:
        return _mute(context, kind, name, span, reason, env, fast=fast)

    return mute


def _mute(context: CommandContext, kind: str, name: str, span: str, reason: str, env: str, *, fast: bool) -> int:
    from dodai.core.codes import UNKNOWN_WORD
    from dodai.core.errors import DodaiError
    from dodai.core.suggestion import did_you_mean
    from dodai.engine.actor import actor
    from dodai.observability.alert import History
    from dodai.observability.alert.history import Silence
    from dodai.observability.rollup import Store
    from dodai.operations.run.watched_environment import watched

    there = watched(context.project, env, fast=fast)
    known = [alert.name for alert in there.alerts]
    if name not in (*known, "*"):
        raise DodaiError(UNKNOWN_WORD, f"there is no alert `{name}`", did_you_mean(name, known), exit_code=2)
    seconds = _seconds(span)
    if not 0 < seconds <= _LONGEST_S:
        raise click.BadParameter(f"`{span}` is not between 1s and 7d")
    now = time.time()
    store = Store(there.path, cell_s=there.cell_s)
    History(store).silence(Silence(name, kind, reason, actor(), now, now + seconds))
    store.close()
    until = utc(now + seconds)
    told = "nobody is told" if kind == "silence" else "no second notifier is told"
    context.output.line(f"{there.env}: {told} of `{name}` until {until}")
    return 0


silence = _muting("silence", "Tell nobody of an alert for a time", "dodai alerts silence no-traffic --reason 'move'")
ack = _muting("ack", "Say that somebody is on it", "dodai alerts ack http-error-surge --reason 'rolling back'")


@define("test", summary="Show what would have fired on past traffic", example="dodai alerts test --last 6h")
@click.option("--last", "span", default="1h", show_default=True, help="How far back, at most 2d.")
@click.option("--replay", "between", metavar="FROM..TO", help="Of that time instead, such as of an incident.")
@with_env
@with_fast
def test(context: CommandContext, span: str, between: str | None, env: str, fast: bool) -> int:
    """With the thresholds that the manifest has now: change one, and see what it would have done."""
    from dodai.core.errors import DodaiError
    from dodai.observability.alert.history import replay
    from dodai.observability.codes import ROLLUPS_UNAVAILABLE
    from dodai.observability.rollup import Store
    from dodai.operations.run.watched_environment import watched

    there, now = watched(context.project, env, fast=fast), time.time()
    since_s, until_s = _between(between, now) if between else (now - _seconds(span), now)
    seen = None
    if there.path.exists():
        store = Store(there.path, cell_s=there.cell_s, writable=False)
        seen = replay(there.alerts, store, since_s, until_s)
        store.close()
    if seen is None:
        when = f"from {utc(since_s)} to {utc(until_s)}" if between else f"of the last {span}"
        message = f"no rollups {when} of `{env}` are in `{there.path}`"
        raise DodaiError(ROLLUPS_UNAVAILABLE, message, ROLLUPS_UNAVAILABLE.fix.en.replace("ENV", env), exit_code=1)
    if context.output.as_json:
        context.output.data("dodai.replay/1", {"environment": env, **dataclasses.asdict(seen)})
        return 0
    context.output.line(f"{env}: {utc(seen.since_s)} to {utc(seen.until_s)}, {len(seen.fired)} would have fired")
    by_name = {alert.name: alert for alert in there.alerts}
    for one in seen.fired:
        ended = f"resolved {utc(one.resolved_s)}" if one.resolved_s else "fires still"
        context.output.line(
            f"  {utc(one.fired_s)} {one.name}: {one.about} at {by_name[one.name].shown(one.value)}, {ended}"
        )
    context.output.line(f"not judged, because rollups do not keep it: {', '.join(seen.not_judged)}")
    return 0


def _between(text: str, now: float) -> tuple[float, float]:
    """The two moments of `FROM..TO`, with their offset from UTC; what is still to come was not traffic."""
    first, _, last = text.partition("..")
    since, until = read_moment(first), read_moment(last)
    if since is None or until is None or since >= until or since.timestamp() >= now:
        wanted = "FROM..TO in the past, such as 2026-11-29T03:00Z..2026-11-29T04:00Z"
        raise click.BadParameter(f"`{text}` is not {wanted}", param_hint="'--replay'")
    return since.timestamp(), min(now, until.timestamp())


def _seconds(span: str) -> float:
    from dodai.core.section import UNITS_S, measure

    try:
        return measure(span, UNITS_S)
    except ValueError:
        raise click.BadParameter(f"`{span}` is not a duration such as 30m or 4h") from None


RULES_FILE = "dodai-rules.yml"


@define(
    "export",
    summary="Print the alerts for Prometheus, or the dashboard for Grafana",
    example="dodai alerts export prometheus > dodai-rules.yml",
)
@click.argument("form", type=click.Choice(["prometheus", "promtool", "alertmanager", "grafana"]))
@with_env
@with_fast
def export(context: CommandContext, form: str, env: str, fast: bool) -> int:
    """The rules (vmalert takes them too), their tests, who explains whom for Alertmanager, or Grafana's dashboard; all
    JSON, which is YAML.
    """
    import orjson

    from dodai.operations.run.watched_environment import watched

    there = watched(context.project, env, fast=fast)
    made = _exported(there, form, context.project.manifest.data["project"]["langs"][0])
    context.output.line(orjson.dumps(made, option=orjson.OPT_INDENT_2).decode())
    return 0


def _exported(there: Watched, form: str, lang: Lang) -> dict[str, Any]:
    from dodai.observability.alert.prometheus import configuration, promtool_tests, rules
    from dodai.observability.run.grafana import dashboard

    runbook = there.facing.runbook
    match form:
        case "prometheus":
            return rules(there.alerts, runbook)
        case "promtool":
            return promtool_tests(there.alerts, RULES_FILE, runbook)
        case "alertmanager":
            found = [one.url for one in there.policy.notifiers.values() if one.kind == "webhook" and one.url]
            return configuration(there.alerts, found)
    return dashboard(there, lang)


for _each in (list_, silence, ack, test, export):
    command.add_command(_each)
