"""A sentence in both languages: the smallest piece of a page, and all that a code needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from dodai.core.dataclass import dataclass

Lang = Literal["en", "ja"]
LANGS: tuple[Lang, ...] = ("en", "ja")


@dataclass(frozen=True, slots=True)
class Text:
    """A sentence in both languages; codes, commands and JSON keys stay English and are plain `str`."""

    en: str
    ja: str

    def __call__(self, lang: Lang) -> str:
        return self.ja if lang == "ja" else self.en


def say(text: Text | str, lang: Lang) -> str:
    """The words of `text` in `lang`; a plain `str` is the same in every language."""
    return text if isinstance(text, str) else text(lang)


def lang_of(variables: Mapping[str, str]) -> Lang:
    """The language of whoever reads the terminal: `DODAI_LANG`, else what POSIX asks for messages."""
    names = ("DODAI_LANG", "LC_ALL", "LC_MESSAGES", "LANG")
    return "ja" if next((variables[name] for name in names if variables.get(name)), "").startswith("ja") else "en"


def counted(number: int, word: str) -> str:
    """`1 step`, `2 steps`: for words whose plural ends in s."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
