"""What somebody probably meant who typed a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """The known name that is closest to `word`; `""` when none is close."""
    import difflib  # slow to load, and most commands name what exists

    return next(iter(difflib.get_close_matches(word, list(known), n=1)), "")


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """The fix for a name that does not exist: the nearest one, else `otherwise`, else the names there are."""
    names = list(known)
    if found := nearest(word, names):
        return f"did you mean `{found}`?"
    return otherwise or f"use one of {', '.join(f'`{name}`' for name in names) or 'none'}"
