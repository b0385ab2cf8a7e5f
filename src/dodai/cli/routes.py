"""`dodai routes`: every state-changing route and form, how it is protected, and the coverage."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from dodai.cli.command_context import CommandContext, define
from dodai.core import proposal
from dodai.core.errors import DodaiError
from dodai.core.fact import NotApplicable, Unknown
from dodai.csrf.codes import PROBE_REFUSED

if TYPE_CHECKING:
    from dodai.csrf.form_table import FormTable
    from dodai.csrf.route_table import RouteRow, RouteTable, Summary
    from dodai.csrf.run import ProbePost

_COLOURS = {"protected": "green", "exempt": "cyan", "unprotected": "red", "unknown": "yellow", "safe": "dim"}


@define("routes", summary="Show every state-changing route and how it is protected", example="dodai routes --json")
@click.option("--all", "everything", is_flag=True, help="Routes that only read, too.")
@click.option("--live", metavar="ENV|URL", default="", help="Ask the running system of ENV, or at URL, from outside.")
@click.option("--no-lifespan", is_flag=True, help="List routes without starting the lifespan of an ASGI app first.")
def command(context: CommandContext, everything: bool, live: str, no_lifespan: bool) -> int:
    from dodai.csrf.form_table import FormTable
    from dodai.csrf.route_table import RouteTable
    from dodai.wiring.checks import facts

    project = context.project
    today = datetime.now(UTC).date()
    gathering = facts(project, today, lifespan=not no_lifespan)
    table, forms = gathering.fact(RouteTable), gathering.fact(FormTable)
    if not isinstance(table, RouteTable):
        raise _no_table(table)
    if not isinstance(forms, FormTable):
        forms = FormTable((), gaps=(forms,) if isinstance(forms, Unknown) else ())
    if live:
        return _ask_live(context, table, live)
    if context.output.as_json:
        context.output.data("dodai.routes/1", _as_json(table, forms, everything=everything))
    else:
        _print(context, table, forms, everything=everything)
    whole = table.summary.coverage == 1.0 and not (table.summary.unknown or table.gaps or forms.gaps)
    return 0 if whole and forms.summary.coverage in (1.0, None) else 1


def _ask_live(context: CommandContext, table: RouteTable, live: str) -> int:
    """Hostile posts, only to routes whose refusal the audit proved to come before the handler, and a genuine probe."""
    from dodai.csrf.policy import CsrfPolicy
    from dodai.csrf.run import attack
    from dodai.wiring.environments import visitor_at as visit

    policy = CsrfPolicy.from_manifest(context.project.manifest.section("csrf") or {})
    rows = [row for row in table.state_changing if may_be_asked(row)]
    targets = tuple(dict.fromkeys(f"{_asked_by(row)} {re.sub(r'[{<][^}>]*[}>]', '0', row.path)}" for row in rows))

    async def ask(url: str) -> tuple[ProbePost, ...]:
        browser = visit(url)
        try:
            return await attack(browser.send, policy, targets)
        except OSError as error:
            raise DodaiError(PROBE_REFUSED, f"`{url}` does not answer: {error}", "check the URL", "provider") from None
        finally:
            await browser.close()

    url = live if "://" in live else asyncio.run(_served_at(context, live))
    asked = asyncio.run(ask(url))
    left = [row.id for row in table.state_changing if row not in rows]
    if context.output.as_json:
        told = {"url": url, "asked": [dataclasses.asdict(one) for one in asked], "notAsked": left}
        context.output.data("dodai.routes-live/1", told)
    for one in () if context.output.as_json else asked:
        word = context.output.paint("wrong" if one.problem else "right", "red" if one.problem else "green")
        context.output.line(
            f"{word}  {one.case:14} {one.method:6} {one.path:34} {one.status}  {one.problem}  {one.request_id}"
        )
    context.output.say(f"{sum(not one.problem for one in asked)} of {len(asked)} posts were answered as they must be")
    if left:
        of = len(table.state_changing)
        context.output.say(
            f"{len(left)} of {of} state-changing routes were not asked: they are exempt, or nothing "
            f"has shown that a refusal comes before their handlers: {', '.join(f'`{id_}`' for id_ in left)}"
        )
    return 1 if any(one.problem for one in asked) else 0


async def _served_at(context: CommandContext, name: str) -> str:
    """Where the environment serves now; DOD185 when it does not."""
    url = (await context.environment(name).edge.observe()).url
    if not url:
        raise DodaiError(
            PROBE_REFUSED, f"`{name}` does not serve", f"`{proposal.STATUS(env=name)}` says why", "provider"
        )
    return url


def may_be_asked(row: RouteRow) -> bool:
    """Whether a hostile post may be sent to it: only where real requests were refused in front of the handler.

    A verdict that was read in the source says nothing about what runs elsewhere.
    """
    refused = (row.verdict, row.by) == ("protected", "dodai") and bool(row.probes)
    return refused and _asked_by(row) not in ("*", "WEBSOCKET")


def _asked_by(row: RouteRow) -> str:
    """The method with which it is asked: POST where it takes several."""
    return "POST" if "POST" in row.methods else row.method


def _no_table(found: Unknown | NotApplicable) -> DodaiError:
    from dodai.csrf import codes

    fix = found.fix if isinstance(found, Unknown) and found.fix else codes.UNKNOWN_ROUTE.fix.en
    return DodaiError(codes.UNKNOWN_ROUTE, found.reason, fix, exit_code=1)


def _as_json(table: RouteTable, forms: FormTable, *, everything: bool) -> Mapping[str, object]:
    rows = table.rows if everything else table.state_changing
    return {
        "service": table.service,
        "framework": table.framework,
        "binding": table.binding or None,
        "routes": [row.as_json() for row in rows],
        "forms": [row.as_json() for row in forms.rows],
        "tiers": [tier.as_json() for tier in table.tiers],
        "notJudged": [{"reason": gap.reason, "fix": gap.fix} for gap in (*table.gaps, *forms.gaps)],
        "summary": {**table.summary.as_json(), "forms": forms.summary.as_json()},
    }


def _print(context: CommandContext, table: RouteTable, forms: FormTable, *, everything: bool) -> None:
    out = context.output
    for row in table.rows if everything else table.state_changing:
        verdict = out.paint(f"{row.verdict:11}", _COLOURS[row.verdict])
        out.line(f"{verdict} {row.method:7} {row.path:34} {row.source}:{row.line}")
        out.line(f"            {row.exemption or row.evidence}")
        if row.fix:
            out.line(f"            fix: {row.fix}")
    for form in forms.rows:
        verdict = out.paint(f"{form.verdict:11}", _COLOURS[form.verdict])
        out.line(f"{verdict} {form.kind:7} {form.method} {form.action:29} {form.path}:{form.line}")
        if form.verdict != "protected":
            out.line(f"            {form.evidence}")
    if table.requests:
        out.say(f"{table.requests} requests were made to find out, none of them to a handler of yours")
    if table.binding:
        out.line(f"tokens: bound to {table.binding}")
    for tier in table.tiers:
        out.line(f"tier {tier.seen}")
        for said in (*tier.differing, *tier.unproven):
            out.line(f"            {said}")
        for fix in tier.fixes:
            out.line(f"            fix: {fix}")
    for gap in (*table.gaps, *forms.gaps):
        out.line(f"{out.paint('not judged', 'yellow')}  {gap.reason}")
        out.line(f"            fix: {gap.fix}")
    out.line(_sentence("routes", table.summary))
    if forms.rows:
        out.line(_sentence("forms", forms.summary))


def _sentence(what: str, summary: Summary) -> str:
    coverage = "0 of 0 proves nothing" if summary.coverage is None else f"coverage {summary.coverage:.1%}"
    counts = ", ".join(f"{getattr(summary, n)} {n}" for n in ("protected", "exempt", "unprotected", "unknown"))
    return f"{what}: {summary.state_changing} state-changing, {counts}: {coverage}"
