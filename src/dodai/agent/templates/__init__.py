"""Templates, expanded: what each page can write, branches side by side, without a value of the application.

The template engine that the user's interpreter has reads them (Jinja2, Django); it renders nothing, and no code of the
repository runs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .template_page import Find, Fragment, TemplatePage, TooLargeError, Words

_DJANGO_ONLY = re.compile(
    r"\{%-?\s*(?:load|url|csrf_token|comment|empty|blocktrans|blocktranslate|static|regroup|partialdef|ifchanged)\b"
    r"|\{%\s*include\s+\S+\s+(?:with|only)\b|\{\{[^}]*\|\w+:"
)
_JINJA_ONLY = re.compile(r"\{%-?\s*(?:macro|set|call|import|from)\b|\{\{[^}'\"]*\(|\{#-|\{%-|-%\}")
_FILE_BYTES = 1_000_000


def opened(request: Mapping[str, Any], guard: Any) -> Callable[[Any], dict[str, Any]]:
    """What answers: first the request that names the files, then `{"page": n}` for each page of the answer to it."""
    guard.install()
    root = Path(request["root"])
    texts, problems = _read(root, request["templates"])
    room = Room(texts, Words.of(request), problems)
    pages: list[TemplatePage] = []

    def answer(asked: Mapping[str, Any]) -> dict[str, Any]:
        if "page" in asked:
            return {"page": pages[asked["page"]].as_json()}
        pages.extend(room.pages())
        engines = [name for name in ("jinja2", "django", "flask_wtf") if importable(name)]
        return {"pages": [page.path for page in pages], "problems": room.problems, "engines": engines}

    return answer


def expand(texts: Mapping[str, str], words: Words) -> tuple[list[TemplatePage], list[tuple[str, str]]]:
    """The pages of `texts` by path, and (path, problem) of those that could not be expanded."""
    room = Room(texts, words, [])
    return room.pages(), room.problems


class Room:
    """All templates of a repository; `problems` says which could not be read, and why."""

    def __init__(self, texts: Mapping[str, str], words: Words, problems: list[tuple[str, str]]) -> None:
        self.texts, self.words, self.problems = texts, words, problems
        self.by_name: dict[str, list[str]] = {}
        for path in texts:
            parts = path.split("/")
            for start in range(len(parts)):
                self.by_name.setdefault("/".join(parts[start:]), []).append(path)
        self.visited: set[str] = set()
        self.engines: dict[str, Any] = {}
        self.languages = {path: self.language(path, text) for path, text in texts.items()}

    def pages(self) -> list[TemplatePage]:
        """A page for each template that no other one extends or includes, and for what none of these has shown."""
        used = self._used()
        found = [page for path in sorted(self.texts) if path not in used for page in self._page(path)]
        found += [page for path in sorted(self.texts) if path not in self.visited for page in self._page(path)]
        for engine in list(self.engines.values()):
            for path, name in sorted(getattr(engine, "unused_macros", list)()):
                found += self._page(path, macro=name)
        return found

    def find(self, name: str, near: str) -> str:
        """The path of the template called `name`, the one closest to `near` when several are; empty for none."""
        paths = self.by_name.get(name.removeprefix("./"), [])
        folder = near.split("/")
        return max(paths, key=lambda path: (_common(path.split("/"), folder), -len(path)), default="")

    def engine(self, language: str) -> Any:
        if language not in self.engines:
            from . import django, jinja

            find: Find = self.find
            made = jinja.Jinja if language == "jinja2" else django.DjangoTemplates
            self.engines[language] = made(self.texts, find, self.words, self.visited)
        return self.engines[language]

    def language(self, path: str, text: str) -> str:
        """`jinja2`, `django`, `plain` (no tags, or a script), or `none`: tags, and nothing here can read them."""
        if path.endswith((".js", ".mjs")) or not re.search(r"\{[{%#]", text):
            return "plain"
        known = [name for name in ("jinja2", "django") if importable(name)]
        if len(known) < 2:
            return known[0] if known else "none"
        if path.endswith((".jinja", ".jinja2", ".j2")) or "/jinja2/" in f"/{path}":
            return "jinja2"
        if _DJANGO_ONLY.search(text) or not _JINJA_ONLY.search(text):
            return "django" if _DJANGO_ONLY.search(text) else self._by_company(path)
        return "jinja2"

    def _by_company(self, path: str) -> str:
        """The language of templates that could be either: that of those in the same folder that cannot."""
        folder = path.rpartition("/")[0]
        others = [text for other, text in self.texts.items() if other.rpartition("/")[0] == folder]
        django = sum(bool(_DJANGO_ONLY.search(text)) for text in others)
        return "django" if django > sum(bool(_JINJA_ONLY.search(text)) for text in others) else "jinja2"

    def _used(self) -> set[str]:
        used: set[str] = set()
        for path, language in self.languages.items():
            if language in ("jinja2", "django"):
                with contextlib.suppress(Exception):  # said when its page is made
                    names = list(self.engine(language).names(path))
                    used |= {found for name in names if (found := self.find(name, path)) != path}
        return used

    def _page(self, path: str, macro: str = "") -> list[TemplatePage]:
        language, text = self.languages[path], self.texts[path]
        self.visited.add(path)
        page = TemplatePage(path)
        if language == "none":
            self.problems.append((path, "no template engine (Jinja2, Django) can be imported to read it"))
            return []
        try:
            if language == "plain":
                page.write(Fragment.of(text, path, 1))
            else:
                engine = self.engine(language)
                page.write(engine.macro_page(path, macro) if macro else engine.page(path))
                page.branches = engine.branches
        except TooLargeError as error:
            self.problems.append((path, str(error)))
        except RecursionError:
            self.problems.append((path, "it is nested too deeply"))
        except Exception as error:  # noqa: BLE001 - whatever a template engine raises for a template that it cannot read
            where = getattr(error, "lineno", None)
            self.problems.append((path, f"{type(error).__name__}: {error}" + (f" (line {where})" if where else "")))
        return [page]


def importable(name: str) -> bool:
    """Whether this interpreter has the package, found without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _read(root: Path, paths: list[str]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    texts: dict[str, str] = {}
    problems: list[tuple[str, str]] = []
    for path in paths:
        try:
            size = (root / path).stat().st_size
            if size > _FILE_BYTES:
                problems.append((path, f"it has {size / 1e6:.1f} MB, more than 1 MB is not read"))
            else:
                texts[path] = (root / path).read_text("utf-8", "replace")
        except OSError as error:
            problems.append((path, f"it cannot be read: {error.strerror}"))
    return texts, problems


def _common(one: list[str], other: list[str]) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
