"""Reads of Go: `os.Getenv`, `os.LookupEnv`, tags of the usual libraries, and functions that are given a name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from dodai.operations.check.variable_reads.use import Read, line_counter, without_comments

_DIRECT = re.compile(r'\b(?:os|syscall)\.(?:Getenv|LookupEnv)\(\s*["`](\w+)["`]')
_TAG = re.compile(r'`[^`\n]*\b(?:env|envconfig):"(\w+)((?:,\w+)*)"[^`\n]*`')
_BY_NAME = re.compile(r"\b(?:os|syscall)\.(?:Getenv|LookupEnv)\(\s*([a-z]\w*)\s*\)")
_FUNCTION = re.compile(r"\bfunc\s+(?:\([^)]*\)\s*)?(\w+)\s*(?:\[[^\]]*\])?\(([^)]*)\)")
_NAME = r"[A-Z][A-Z0-9_]*"


def go_reads(files: Mapping[str, str]) -> Iterator[Read]:
    """The reads in `files`; a helper that one of them defines counts in all of them."""
    bare = {path: without_comments(text) for path, text in files.items()}
    helpers = {name for text in bare.values() for name in _helpers(text)}
    called = (
        re.compile(rf'\b(?:{"|".join(map(re.escape, sorted(helpers)))})\(\s*["`]({_NAME})["`]') if helpers else None
    )
    for path, text in bare.items():
        line_of = line_counter(text)
        for match in _DIRECT.finditer(text):
            yield Read(path, line_of(match.start()), match[1])
        for match in _TAG.finditer(text):
            yield Read(path, line_of(match.start()), match[1], "required" in match[2] or 'required:"true"' in match[0])
        for match in called.finditer(text) if called else ():
            yield Read(path, line_of(match.start()), match[1])


def _helpers(text: str) -> Iterator[str]:
    for read in _BY_NAME.finditer(text):
        heads = [m for m in _FUNCTION.finditer(text, 0, read.start()) if re.search(rf"\b{read[1]}\b", m[2])]
        if heads:
            yield heads[-1][1]
