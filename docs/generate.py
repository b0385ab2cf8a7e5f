"""The generated parts of the reference and of the plan: `make docs` writes them, tests/test_docs.py checks."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from dodai.cli.main import COMMANDS, GROUPS, app
from dodai.core.code_page import Example
from dodai.core.errors import Code
from dodai.core.page import CodeBlock, Lang, PageTable, Paragraph, Section, Text, bullets
from dodai.providers.authentik.authentik_api import FACTS as AUTHENTIK
from dodai.providers.cloudflare.cloudflare_api import FACTS as CLOUDFLARE
from dodai.providers.fly.fly_facts import FACTS as FLY
from dodai.providers.neon.neon_api import FACTS as NEON
from dodai.vendor_api import DriverFacts
from dodai.wiring.registry import codes as registry
from dodai.wiring.registry import reference

_MET = {
    "check": "found by `dodai check`",
    "run time": "refused at run time",
    "alert": "an alert",
    "operation": "an operation failed",
}

_REQUIREMENTS = Path(__file__).resolve().parents[1] / "tests" / "plan" / "requirements.toml"
_MILESTONES = {
    "M1": (Text("week 1, first half", "Week 1 前半"), "every action protected against CSRF"),
    "M2": (Text("week 1, second half", "Week 1 後半"), "how migrations are run, settled"),
    "M3": (Text("week 2, first half", "Week 2 前半"), "production operations in detail, settled"),
    "M4": (Text("week 2, second half, with the rehearsal", "Week 2 後半（統合リハーサルを含む）"), "observability"),
}
"""When each is due, and its title in English; the Japanese one is the plan's own."""


def manifest() -> str:
    """The annotated reference, the same text that `dodai explain manifest` prints."""
    return CodeBlock(reference().text, "toml").render("en")


def commands() -> str:
    """A table of every command by group, then the help page of each."""
    context = click.Context(app, info_name="dodai", terminal_width=100, **app.context_settings)
    names = app.list_commands(context)
    sections = []
    for group in GROUPS:
        rows = tuple((f"[`{n}`](#dodai-{n})", COMMANDS[n].summary) for n in names if COMMANDS[n].group == group)
        if rows:
            sections.append(Section(group, (PageTable(("command", "what it does"), rows),)))
    for name in names:
        command = app.get_command(context, name)
        if command:
            sections += _help(command, context, f"dodai {name}")
    return "\n\n".join(section.render("en") for section in sections)


def _help(command: click.Command, parent: click.Context, words: str) -> Iterator[Section]:
    context = click.Context(command, parent=parent, info_name=words.rpartition(" ")[2])
    yield Section(words, (CodeBlock(command.get_help(context), "text"),))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner:
                yield from _help(inner, context, f"{words} {name}")


def codes() -> str:
    """Every code by area: what it says, why it matters, what to do."""
    known = registry()
    sections = []
    for area in dict.fromkeys(code.area for code in known.values()):
        pages = tuple(_code(code) for code in known.values() if code.area == area)
        if pages:
            sections.append(Section(area, (), pages))
    return "\n\n".join(section.render("en") for section in sections)


def _code(code: Code) -> Section:
    examples = tuple(
        block
        for title, shown in (("Bad", code.page.bad), ("Good", code.page.good))
        for example in shown
        for block in (Paragraph(f"{title}, {example.title}:" if example.path else f"{title}:"), _block(example))
    )
    said = f"{code.what.en}. {code.why.en}."
    facts = f"*{_MET[code.found]}, {code.level}*"
    source = (Paragraph(f"Source: {code.page.source}"),) if code.page.source else ()
    body = (Paragraph(facts), Paragraph(said), Paragraph(f"**Fix:** {code.fix.en}"), *examples, *source)
    return Section(f"{code.id} {code.name}", body, anchor=code.id)


def _block(example: Example) -> CodeBlock:
    """An example as it stands; none of them is checked as documentation, tests/core/test_code_page.py runs it."""
    return CodeBlock(example.text, "text")


DRIVERS = (FLY, NEON, CLOUDFLARE, AUTHENTIK)


def vendors() -> str:
    """Of each driver: what it was seen with, what its token needs and why, and where each call is described."""
    return "\n\n".join(_driver(one).render("en") for one in DRIVERS)


def _driver(one: DriverFacts) -> Section:
    calls = [(scope, call) for scope in one.scopes for call in scope.operations]
    counts = Counter(call.source for _, call in calls)
    rights = PageTable(
        ("right", "what for", "enough to look"),
        tuple((scope.name, scope.reason, "yes" if scope.looks else "") for scope in one.scopes),
    )
    table = PageTable(
        ("call", "request", "right", "described in"),
        tuple((f"`{call.name}`", f"`{call.method} {call.path}`", scope.name, call.source) for scope, call in calls),
    )
    said = ", ".join(f"{count} {source}" for source, count in sorted(counts.items()))
    body = (
        Paragraph(f"{one.verified} [Guide](../guides/{one.guide}.md)."),
        Paragraph(f"`{one.variable}`: {one.credential}."),
        rights,
        Paragraph(f"{len(calls)} calls: {said}."),
        table,
    )
    return Section(one.vendor, body)


def plan_status(lang: Lang) -> str:
    """A table of the milestones with how many sentences of the plan are met, then those that are not."""
    rows = tomllib.loads(_REQUIREMENTS.read_text("utf-8"))["row"]
    head = (Text("due", "時期"), Text("milestone", "マイルストーン"), Text("sentences met", "満たした文"))
    table = []
    for id_, (due, title) in _MILESTONES.items():
        states = [row["state"] for row in rows if row["id"].startswith(f"{id_}-") and row["state"] != "context"]
        named = next(row["text"] for row in rows if row["id"] == id_)
        table.append((due, Text(f"{id_}: {title}", named), f"{states.count('met')} / {len(states)}"))
    blocks = [PageTable(head, tuple(table)).render(lang)]
    if left := [row for row in rows if row["state"] == "todo" and row["id"].partition("-")[0] in _MILESTONES]:
        said = Text("Not met yet:", "まだ満たしていない文:")
        items = bullets(Text(f"`{row['id']}`: {row['missing']}", f"`{row['id']}`: {row['text']}") for row in left)
        blocks += [said(lang), items.render(lang)]
    return "\n\n".join(blocks)
