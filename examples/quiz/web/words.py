"""Every sentence people read, in English and Japanese (words.toml), and how the language is chosen."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from starlette.requests import HTTPConnection

LANGS = ("en", "ja")
LANG_COOKIE = "lang"
Say = Callable[..., str]


class Words:
    """`say(lang)` gives the function that turns a key of words.toml into a sentence."""

    def __init__(self, table: Mapping[str, Mapping[str, str]]) -> None:
        self._table = table

    @classmethod
    def read(cls) -> Words:
        return cls(tomllib.loads((Path(__file__).parent / "words.toml").read_text("utf-8")))

    def say(self, lang: str) -> Say:
        """A key that is not in the table is a `KeyError`: tests walk every page in both languages."""
        return lambda key, **values: self._table[key][lang].format(**values)


def lang_of(request: HTTPConnection) -> str:
    """What the reader chose, else the first language of the browser we know, else English."""
    chosen = request.cookies.get(LANG_COOKIE)
    return chosen if chosen in LANGS else _preferred(request.headers.get("accept-language", ""))


def _preferred(header: str) -> str:
    """RFC 9110 §12.5.4: the language with the highest weight; equal weights in the order given."""
    weighed: list[tuple[float, int, str]] = []
    for place, part in enumerate(header.split(",")):
        tag, _, weight = part.strip().partition(";q=")
        lang = tag.split("-")[0].lower()
        if lang in LANGS:
            weighed.append((-_weight(weight), place, lang))
    return min(weighed)[2] if weighed else LANGS[0]


def _weight(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0
