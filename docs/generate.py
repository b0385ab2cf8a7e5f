"""The generated parts of the reference: `cog -I docs -r docs/reference/*.md` writes them, tests/test_docs.py checks."""

from __future__ import annotations

from collections.abc import Iterator

import click

from dodai.cli.main import COMMANDS, GROUPS, app
from dodai.core.errors import AREAS, Code
from dodai.core.page import Code as Block
from dodai.core.page import Paragraph, Section, Table
from dodai.wiring.registry import codes as registry
from dodai.wiring.registry import reference

_MET = {
    "check": "found by `dodai check`",
    "run time": "refused at run time",
    "alert": "an alert",
    "operation": "an operation failed",
}


def manifest() -> str:
    """The annotated reference, the same text that `dodai explain manifest` prints."""
    return Block(reference().text, "toml").render("en")


def commands() -> str:
    """A table of every command by group, then the help page of each."""
    context = click.Context(app, info_name="dodai", max_content_width=100, terminal_width=100)
    names = app.list_commands(context)
    sections = []
    for group in GROUPS:
        rows = tuple((f"[`{n}`](#dodai-{n})", COMMANDS[n].summary) for n in names if COMMANDS[n].group == group)
        if rows:
            sections.append(Section(group, (Table(("command", "what it does"), rows),)))
    for name in names:
        command = app.get_command(context, name)
        if command:
            sections += _help(command, context, f"dodai {name}")
    return "\n\n".join(section.render("en") for section in sections)


def _help(command: click.Command, parent: click.Context, words: str) -> Iterator[Section]:
    context = click.Context(command, parent=parent, info_name=words.rpartition(" ")[2])
    yield Section(words, (Block(command.get_help(context), "text"),))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner:
                yield from _help(inner, context, f"{words} {name}")


def codes() -> str:
    """Every code by area: what it says, why it matters, what to do."""
    known = registry()
    sections = []
    for area in AREAS:
        pages = tuple(_code(code) for code in known.values() if code.area == area)
        if pages:
            sections.append(Section(area, (), pages))
    return "\n\n".join(section.render("en") for section in sections)


def _code(code: Code) -> Section:
    examples = tuple(
        block
        for title, text in (("Bad:", code.bad), ("Good:", code.good))
        if text
        for block in (Paragraph(title), Block(text, "text"))
    )
    said = f"{code.what.en.rstrip('.')}. {code.why.en.rstrip('.')}."
    facts = f"*{_MET[code.found]}, {code.level}*"
    source = (Paragraph(f"Source: {code.source}"),) if code.source else ()
    body = (Paragraph(facts), Paragraph(said), Paragraph(f"**Fix:** {code.fix.en}"), *examples, *source)
    return Section(f"{code.id} {code.name}", body, anchor=code.id)
