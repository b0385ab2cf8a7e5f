"""`dodai docs`: the plan's documents, written from the definition."""

from __future__ import annotations

import click

from dodai.cli.command_context import CommandContext, define
from dodai.cli.output import finding_as_text
from dodai.core.page import LANGS

_SAID = {
    "missing": "wrote",
    "stale": "wrote",
    "fresh": "already fresh",
    "edited": "left alone, edited by hand",
    "foreign": "left alone, not generated",
}


@define("docs", summary="Write the documents, or check that they are fresh", example="dodai docs --check")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit 1 when a document is not fresh.")
@click.option("--lang", type=click.Choice(LANGS), default=None, help="Only the documents in this language.")
@click.option("--force", is_flag=True, help="Write over text outside of keep regions.")
def command(context: CommandContext, only_check: bool, lang: str | None, force: bool) -> int:
    from dodai.operations.document.documents import documents
    from dodai.wiring.pages import pages

    project = context.project
    found = [document for document in documents(project, pages(project)) if lang in (None, document.lang)]
    if only_check:
        findings = [finding for document in found if (finding := document.finding())]
        if context.output.as_json:
            context.output.data("dodai.docs/1", {"fresh": not findings, "findings": [f.as_json() for f in findings]})
        for finding in [] if context.output.as_json else findings:
            context.output.line(finding_as_text(finding))
        context.output.say(f"{len(found)} documents, {len(findings)} not fresh")
        return 1 if findings else 0
    states = {document.shown: document.write(force=force) for document in found}
    if context.output.as_json:
        rows = [{"path": path, "was": state} for path, state in states.items()]
        context.output.data("dodai.docs/1", {"documents": rows})
    else:
        for path, state in states.items():
            context.output.line(f"{_SAID[state]}: {path}")
    return 1 if not force and any(state in ("edited", "foreign") for state in states.values()) else 0
