"""Reads of JavaScript and TypeScript: `process.env`, `import.meta.env`, and functions that are given a name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from dodai.operations.check.variable_reads.use import Read, line_counter, without_comments

_ENV = r"(?:process\.env|import\.meta\.env|Deno\.env|Bun\.env)"
_DIRECT = re.compile(
    rf"""\b{_ENV}(?:\?*\.(\w+)|\s*(?:\?\.)?\[\s*["'`](\w+)["'`]\s*\])(?!\s*=[^=>])"""
    r"""\s*(!)?(\s*(?:\?\?|\|\|)\s*["'`][^"'`])?"""
)
_TAKEN_APART = re.compile(rf"\{{([^{{}}]*)\}}\s*(?::[^=]+)?=\s*{_ENV}\b(?![.\[])")
_BY_NAME = re.compile(rf"{_ENV}\s*(?:\?\.)?\[\s*([A-Za-z_$][\w$]*)\s*\]")
_FUNCTION = re.compile(
    r"(?:function\s+(?P<named>[\w$]+)|(?:const|let|var)\s+(?P<bound>[\w$]+)\s*(?::[^=]+)?=\s*(?:async\s*)?(?:function\b)?)"
    r"\s*(?:<[^>]*>)?\s*\(?(?P<parameters>[^()]*?)\)?\s*(?::\s*[^{=]+)?(?:=>|\{)"
)
_NAME = r"[A-Z][A-Z0-9_]*"
_NO_VARIABLE = frozenset({"get", "has", "toObject", "set", "delete"})


def script_reads(files: Mapping[str, str]) -> Iterator[Read]:
    """The reads in `files`; a helper that one of them defines counts in all of them."""
    bare = {path: without_comments(text) for path, text in files.items() if "env" in text or "(" in text}
    helpers = {name for text in bare.values() for name in _helpers(text)}
    called = (
        re.compile(rf"""\b(?:{"|".join(map(re.escape, sorted(helpers)))})\(\s*["'`]({_NAME})["'`]""")
        if helpers
        else None
    )
    for path, text in bare.items():
        line_of = line_counter(text)
        for match in _DIRECT.finditer(text):
            name = match[1] or match[2]
            if name not in _NO_VARIABLE:
                yield Read(path, line_of(match.start()), name, bool(match[3]), bool(match[4]))
        for match in _TAKEN_APART.finditer(text):
            for part in match[1].split(","):
                name = re.split(r"[:=]", part.strip())[0].strip()
                if re.fullmatch(r"\w+", name):
                    yield Read(path, line_of(match.start(1) + match[1].index(part)), name)
        for match in called.finditer(text) if called else ():
            yield Read(path, line_of(match.start()), match[1], required=True)


def _helpers(text: str) -> Iterator[str]:
    """The functions that read the variable whose name they are given."""
    for read in _BY_NAME.finditer(text):
        heads = [
            m
            for m in _FUNCTION.finditer(text, 0, read.start())
            if re.search(rf"\b{re.escape(read[1])}\b", m["parameters"])
        ]
        if heads:
            yield heads[-1]["named"] or heads[-1]["bound"]
