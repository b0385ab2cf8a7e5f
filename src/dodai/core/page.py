"""Markdown as data: a page is written once, in Japanese and English, and rendered in either."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dodai.core.dataclass import dataclass
from dodai.core.text import LANGS, Lang, Text, say

__all__ = [
    "LANGS",
    "Bullets",
    "CodeBlock",
    "Lang",
    "Page",
    "PageTable",
    "Paragraph",
    "Section",
    "Text",
    "bullets",
    "paragraphs",
    "say",
]


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: Text | str

    def render(self, lang: Lang) -> str:
        return say(self.text, lang)


@dataclass(frozen=True, slots=True)
class Bullets:
    items: tuple[Text | str, ...]
    ordered: bool = False

    def render(self, lang: Lang) -> str:
        marks = (f"{n}." if self.ordered else "-" for n in range(1, len(self.items) + 1))
        return "\n".join(f"{mark} {say(item, lang)}" for mark, item in zip(marks, self.items, strict=True))


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """A fenced block. `language="console"` marks commands that the tests execute."""

    text: str
    language: str = ""

    def render(self, lang: Lang) -> str:  # noqa: ARG002 - every block has the same signature
        fence = "`" * max(3, _longest_run(self.text) + 1)
        return f"{fence}{self.language}\n{self.text.rstrip()}\n{fence}"


@dataclass(frozen=True, slots=True)
class PageTable:
    head: tuple[Text | str, ...]
    rows: tuple[tuple[Text | str, ...], ...]

    def render(self, lang: Lang) -> str:
        lines = [_row(self.head, lang), "|" + " --- |" * len(self.head)]
        lines += [_row(row, lang) for row in self.rows]
        return "\n".join(lines)


Block = Paragraph | Bullets | CodeBlock | PageTable


@dataclass(frozen=True, slots=True)
class Section:
    title: Text | str
    blocks: tuple[Block, ...] = ()
    sections: tuple[Section, ...] = ()
    anchor: str = ""

    def render(self, lang: Lang, level: int = 2) -> str:
        head = f"{'#' * level} {say(self.title, lang)}"
        if self.anchor:
            head = f'<a id="{self.anchor}"></a>\n\n{head}'
        parts = [head, *(block.render(lang) for block in self.blocks)]
        parts += [section.render(lang, level + 1) for section in self.sections]
        return "\n\n".join(parts)


@dataclass(frozen=True, slots=True)
class Page:
    """One document. `name` is its path below the documents folder, without suffix: `Phase2/csrf-rollout`."""

    name: str
    title: Text | str
    blocks: tuple[Block, ...] = ()
    sections: tuple[Section, ...] = ()

    def render(self, lang: Lang) -> str:
        """The page as Markdown, ending in one newline."""
        parts = [f"# {say(self.title, lang)}", *(block.render(lang) for block in self.blocks)]
        parts += [section.render(lang) for section in self.sections]
        return "\n\n".join(parts) + "\n"


def paragraphs(*texts: Text | str) -> tuple[Paragraph, ...]:
    return tuple(Paragraph(text) for text in texts)


def bullets(items: Iterable[Text | str], *, ordered: bool = False) -> Bullets:
    return Bullets(tuple(items), ordered=ordered)


def _row(cells: Sequence[Text | str], lang: Lang) -> str:
    return "| " + " | ".join(_cell(say(cell, lang)) for cell in cells) + " |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")


def _longest_run(text: str) -> int:
    longest = run = 0
    for char in text:
        run = run + 1 if char == "`" else 0
        longest = max(longest, run)
    return longest
