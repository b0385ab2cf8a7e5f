"""`dodai explain CODE` and `dodai explain manifest`."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import click

from dodai.cli.command_context import CommandContext, define
from dodai.core import codes, proposal
from dodai.core.errors import Code, DodaiError
from dodai.core.page import LANGS, Lang
from dodai.core.suggestion import did_you_mean, nearest
from dodai.core.text import lang_of


@define(
    "explain", summary="Explain a code, or the manifest", example="dodai explain DOD203 --lang ja", needs_manifest=False
)
@click.argument("what", required=False)
@click.option("--schema", is_flag=True, help="With `manifest`: its JSON Schema, for editors.")
@click.option("--lang", type=click.Choice(LANGS), help="The language of the page; that of the terminal by default.")
def command(context: CommandContext, what: str | None, lang: str | None, *, schema: bool) -> None:
    from dodai.wiring.registry import codes as registry
    from dodai.wiring.registry import reference, reference_in_japanese

    language = cast(Lang, lang or lang_of(os.environ))
    if schema and what != "manifest":
        raise DodaiError(codes.USAGE, "`--schema` goes with `manifest`", f"`{proposal.EXPLAIN_SCHEMA()}`", exit_code=2)
    if what == "manifest":
        if schema:
            context.output.line(json.dumps(reference().json_schema(), indent=2, ensure_ascii=False))
        elif context.output.as_json:
            context.output.data("dodai.manifest-schema/1", {"jsonSchema": reference().json_schema()})
        else:
            text = reference().text if language == "en" else reference_in_japanese()
            context.output.line(f"#:schema {_schema_file()}\n\n{text}")
        return
    known = registry()
    if what is None:
        _list(context, list(known.values()), language)
        return
    code = known.find(what)
    if code is None:
        words = [*known, *(c.name for c in known.values())]
        fix = did_you_mean(
            nearest(what.upper(), words) or what, words, f"`{proposal.EXPLAIN_CODES()}` lists every code"
        )
        raise DodaiError(codes.UNKNOWN_WORD, f"there is no code `{what}`", fix, exit_code=2)
    if context.output.as_json:
        context.output.data("dodai.code/1", {"code": as_json(code, language)})
    else:
        context.output.line(page(code, language))


def _schema_file() -> str:
    """The schema that came with this dodai, as an editor finds it from here."""
    import dodai

    file = Path(dodai.__file__).with_name("manifest.schema.json")
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)


def _list(context: CommandContext, known: list[Code], lang: Lang) -> None:
    if context.output.as_json:
        context.output.data("dodai.codes/1", {"codes": [as_json(code, lang) for code in known]})
        return
    for code in known:
        context.output.line(f"{code.id}  {code.name:34} {code.what(lang)}")


def as_json(code: Code, lang: Lang) -> dict[str, Any]:
    """One code as JSON, its sentences in `lang`."""
    return {
        "id": code.id,
        "name": code.name,
        "area": code.area,
        "level": code.level,
        "found": code.found,
        "what": code.what(lang),
        "why": code.why(lang),
        "fix": code.fix(lang),
        "bad": [asdict(example) for example in code.page.bad],
        "good": [asdict(example) for example in code.page.good],
        "since": code.page.since,
        "source": code.page.source,
    }


def page(code: Code, lang: Lang) -> str:
    """The page of one code as plain text."""
    words = {
        "en": ("What", "Why", "Fix", "Bad", "Good", "Source"),
        "ja": ("内容", "理由", "対処", "悪い例", "良い例", "出典"),
    }
    what, why, fix, bad, good, source = words[lang]
    parts = [f"{code.id} {code.name}  ({code.area}, {code.level}, {code.found})", ""]
    parts += [f"{what}: {code.what(lang)}", f"{why}: {code.why(lang)}", f"{fix}: {code.fix(lang)}"]
    for title, examples in ((bad, code.page.bad), (good, code.page.good)):
        for number, example in enumerate(examples):
            parts += ["", *([] if number else [f"{title}:"]), *([f"  {example.title}:"] if example.path else [])]
            parts += [f"    {line}".rstrip() for line in example.text.splitlines()]
    if code.page.source:
        parts += ["", f"{source}: {code.page.source}"]
    return "\n".join(parts)
