"""The page of a code: what it says in both languages, with a bad and a good example, read from its Markdown file.

A page is part of the program as a module is: it ships beside the constant of its code, and is read when somebody asks
for its words, never while something is imported.
"""

from __future__ import annotations

import pkgutil
import re
from functools import cache
from typing import Literal, cast

from dodai.core.dataclass import dataclass
from dodai.core.text import Text

Level = Literal["error", "warning", "info"]
Standing = Literal["here", "base", "removed"]
_LEVELS = ("error", "warning", "info")
_HEADINGS = ("en", "ja", "bad", "good")


@dataclass(frozen=True, slots=True)
class Example:
    """A fenced block. With `path` it is a file that the rule is run over, without one it is only read.

    `stands`: in the working tree; on the target branch as well (`base`), or only there (`removed`).
    """

    language: str
    path: str
    text: str
    stands: Standing = "here"

    @property
    def title(self) -> str:
        """Its path, and where it stands if that is not the working tree."""
        return (
            self.path
            + {"here": "", "base": " (target branch)", "removed": " (target branch, removed here)"}[self.stands]
        )


@dataclass(frozen=True, slots=True)
class CodePage:
    """What a page holds; `bad` and `good` are empty where there is nothing to show."""

    id: str
    name: str
    level: Level
    what: Text
    why: Text
    fix: Text
    bad: tuple[Example, ...] = ()
    good: tuple[Example, ...] = ()
    since: str = "0.1"
    source: str = ""


@cache
def page_of(package: str, code_id: str) -> CodePage:
    """The page `CODE.md` of a package of codes; raises `ValueError` when there is none, or naming what is malformed."""
    file = f"src/{package.replace('.', '/')}/{code_id}.md"
    try:
        data = pkgutil.get_data(package, f"{code_id}.md")
    except FileNotFoundError:
        raise ValueError(f"`{file}` does not exist; docs/contributing/adding-a-rule.md says how to write it") from None
    try:
        return parse((data or b"").decode("utf-8"))
    except ValueError as error:
        raise ValueError(f"`{file}`: {error}") from None


def parse(text: str) -> CodePage:
    """The page in `text`; raises `ValueError` for a heading, level or language that is missing or unknown.

    The form: `# DODnnn name`, a list with `level` (and `since`, `source`), then `## en` and `## ja`, each a paragraph
    that says what was found, one that begins with `why:` and one that begins with `fix:`; then, if there is something
    to show, `## bad` and `## good` with fenced blocks, whose info string is a language and the path of a file.
    """
    head, *rest = re.split(r"(?m)^## (?=\w+$)", text)
    title = re.match(r"# (DOD\d{3}) ([a-z0-9-]+)\n", head)
    if not title:
        raise ValueError("a page of a code begins with `# DODnnn name`")
    facts = dict(re.findall(r"(?m)^- (\w+): (.*)$", head))
    parts = dict(part.partition("\n")[::2] for part in rest)
    if unknown := sorted(facts.keys() - {"level", "since", "source"}):
        raise ValueError(f"the list has `level`, `since` and `source`, not `{unknown[0]}`")
    level = facts.pop("level", "")
    if level not in _LEVELS or not {"en", "ja"} <= parts.keys() or not parts.keys() <= set(_HEADINGS):
        raise ValueError(f"{title[1]}: a page has a `level` of {', '.join(_LEVELS)}, and the parts `## en` and `## ja`")
    en, ja = (_sentences(parts[lang], title[1]) for lang in ("en", "ja"))
    what, why, fix = (Text(*pair) for pair in zip(en, ja, strict=True))
    bad, good = (_examples(parts.get(name, "")) for name in ("bad", "good"))
    return CodePage(title[1], title[2], cast(Level, level), what, why, fix, bad, good, **facts)


def _sentences(part: str, code_id: str) -> tuple[str, str, str]:
    paragraphs = [" ".join(block.split("\n")) for block in part.strip().split("\n\n")]
    if len(paragraphs) != 3 or not paragraphs[1].startswith("why: ") or not paragraphs[2].startswith("fix: "):
        raise ValueError(f"{code_id}: a language has three paragraphs: what, `why: …`, `fix: …`")
    return paragraphs[0], paragraphs[1][5:], paragraphs[2][5:]


def _examples(part: str) -> tuple[Example, ...]:
    fences = re.findall(r"(?ms)^(`{3,})([^\n`]*)\n(.*?)^\1$", part)
    return tuple(_example(info.split(), text) for _, info, text in fences)


def _example(info: list[str], text: str) -> Example:
    language, path, stands = [*info, "", "", ""][:3]
    if stands not in ("", "here", "base", "removed"):
        raise ValueError(f"`{' '.join(info)}`: behind the path stands `base`, `removed` or nothing")
    return Example(language or "text", path, text, cast(Standing, stands or "here"))
