"""`dodai incident new ID`: a file with the trace, the changes and the alerts around a request or an alert."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dodai.cli.command_context import CommandContext, define

if TYPE_CHECKING:
    from dodai.observability.incident import Incident


@define(
    "new",
    summary="Write the file of an incident",
    example="dodai incident new 01a20a154cc271afb17c548fca6d98ca --env staging",
)
@click.argument("seen", metavar="ID")
@click.option("--env", default="local", show_default=True, help="Of which environment.")
@click.option("--fast", is_flag=True, help="Of a `watch --fast`.")
def command(context: CommandContext, seen: str, env: str, fast: bool) -> int:
    """ID is a request id, or the name of an alert that fired."""
    from dodai.operations.run.incident_facts import gather, keep

    incident = gather(context.project, context.environment(env), seen, fast=fast)
    path, is_new = keep(context.project, incident)
    if context.output.as_json:
        context.output.data("dodai.incident/1", {"path": path, "created": is_new, **_as_json(incident)})
        return 0
    if not is_new:
        context.output.line(f"`{path}` is there already and was left as it is")
        return 0
    moments, fired = len(incident.moments), ", ".join(incident.fired) or "no alert"
    context.output.line(f"wrote `{path}`: {moments} moments on the timeline, {fired} fired")
    for unseen in incident.unseen:
        context.output.line(f"  {unseen.en}")
    context.output.line("  next: answer `detected_by` or `metric_added` in it, and commit it")
    return 0


def _as_json(incident: Incident) -> dict[str, object]:
    moments = [{"at": one.at_s, "seenIn": one.source, "text": one.text.en} for one in incident.moments]
    judged = [
        {"alert": one.alert.name, "held": one.breached, "measured": one.reading.value if one.reading else None}
        for one in incident.judged
    ]
    began = {"began": incident.span.began_s, "from": incident.span.since_s, "to": incident.span.until_s}
    unseen = [one.en for one in incident.unseen]
    return {"id": incident.id, "environment": incident.env, **began, "moments": moments, "fired": list(incident.fired),
            "alerts": judged, "notSeen": unseen}  # fmt: skip
