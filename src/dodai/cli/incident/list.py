"""`dodai incident list`: every incident, what detected it, and what was added since."""

from __future__ import annotations

from datetime import UTC, datetime

from dodai.cli.command_context import CommandContext, define
from dodai.engine.moment import utc


@define("list", summary="Show every incident and its answers", example="dodai incident list")
def command(context: CommandContext) -> int:
    from dodai.observability.check import IncidentFiles, gather_incidents
    from dodai.observability.incident import Unreadable
    from dodai.operations.run.incident_facts import folder_of

    project = context.project
    found = gather_incidents(project.root, folder_of(project), datetime.now(UTC).date())
    files = found.files if isinstance(found, IncidentFiles) else ()
    if context.output.as_json:
        rows = [{"path": path, **header.as_json()} for path, header in files]
        context.output.data("dodai.incidents/1", {"incidents": rows})
        return 0
    if not isinstance(found, IncidentFiles):
        context.output.line(found.reason)
        return 0
    for path, header in files:
        if isinstance(header, Unreadable):
            context.output.line(f"{path}: {header.problem}")
            continue
        answer = header.detected_by and f"detected by {header.detected_by}"
        answer = answer or (header.metric_added and f"added: {header.metric_added}") or "not answered"
        context.output.line(f"{utc(header.began.timestamp())}  {header.env:10} {answer:34} {path}")
    return 0
