"""What Dockerfiles, fly.toml, compose files, workflows and `.env` give a value to, beside the manifest."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import PurePosixPath

from dodai.operations.check.variable_reads.use import GivenValue

_ENV_LINE = re.compile(r"^\s*(ENV|ARG)\s+(.*)$", re.IGNORECASE)
_PAIR = re.compile(r"""(?:^|\s)([A-Za-z_]\w*)=("(?:\\.|[^"\\])*"|'[^']*'|\S*)""")
_YAML_PAIR = re.compile(r"""^\s*(?:-\s*)?["']?([A-Z][A-Z0-9_]*)["']?\s*[:=]\s*(.*?)\s*$""")
_ENV_KEY = re.compile(r"^(\s*)(?:-\s*)?(?:env|environment)\s*:\s*$")
_ENVIRONMENT_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*([^#\n]*)")
_SET_SECRETS = re.compile(r"\bfly(?:ctl)?\s+secrets\s+set\b[^\n]*")


def is_configuration(path: str) -> bool:
    """Whether `given_in` knows how to read such a file."""
    return _kind(path) != ""


def given_in(path: str, text: str) -> Iterator[GivenValue]:
    """The variables that this file gives a value to; a file that cannot be parsed gives none."""
    kind = _kind(path)
    if kind == "dockerfile":
        yield from _dockerfile(path, text)
    elif kind == "fly":
        yield from _fly(path, text)
    elif kind == "environment":
        yield from _environment(path, text)
    elif kind:
        yield from _yaml(path, text)


def _kind(path: str) -> str:
    name, parts = PurePosixPath(path).name, PurePosixPath(path).parts
    if name == "Dockerfile" or name.endswith(".Dockerfile") or name.startswith("Dockerfile."):
        return "dockerfile"
    if name.endswith(".toml") and (name.startswith("fly") or ".fly." in name):
        return "fly"
    if name == ".env" or name.startswith(".env."):
        return "environment"
    if name.endswith((".yml", ".yaml")):
        if parts[:2] == (".github", "workflows"):
            return "workflow"
        return "compose" if re.match(r"(docker-)?compose\b", name) else ""
    return ""


def _environment(path: str, text: str) -> Iterator[GivenValue]:
    """`NAME=value`, with `export` before it or not; an example without a value gives none."""
    for number, line in enumerate(text.splitlines(), 1):
        match = _ENVIRONMENT_LINE.match(line)
        value = match[2].strip().strip("\"'") if match else ""
        if match and value:
            yield GivenValue(path, number, match[1], not value.startswith("$"))


def _dockerfile(path: str, text: str) -> Iterator[GivenValue]:
    lines, number = text.splitlines(), 0
    while number < len(lines):
        first, line = number, lines[number]
        while line.rstrip().endswith("\\") and number + 1 < len(lines):
            number += 1
            line = line.rstrip()[:-1] + "\n" + lines[number]
        number += 1
        match = _ENV_LINE.match(line.replace("\n", " "))
        if match is None:
            continue
        pairs = list(_PAIR.finditer(match[2]))
        if not pairs and (old := re.match(r"(\w+)\s+(\S.*)", match[2])) and match[1].upper() == "ENV":
            yield GivenValue(path, first + 1, old[1], _is_literal(old[2]))
        for pair in pairs:
            at = first + line[: line.find(pair[1])].count("\n") + 1
            yield GivenValue(path, at, pair[1], _is_literal(pair[2]))


def _fly(path: str, text: str) -> Iterator[GivenValue]:
    try:
        found = tomllib.loads(text).get("env")
    except tomllib.TOMLDecodeError:
        return
    for name, value in found.items() if isinstance(found, dict) else ():
        match = re.search(rf"""^\s*["']?{re.escape(name)}["']?\s*=""", text, re.MULTILINE)
        yield GivenValue(path, text.count("\n", 0, match.start()) + 1 if match else 0, name, _is_literal(str(value)))


def _yaml(path: str, text: str) -> Iterator[GivenValue]:
    """The lines below `env:` or `environment:`, and `flyctl secrets set NAME=value` of a workflow."""
    inside: int | None = None
    for number, line in enumerate(text.splitlines(), 1):
        indent = len(line) - len(line.lstrip())
        if inside is not None and line.strip() and indent <= inside and not line.lstrip().startswith("- "):
            inside = None
        if inside is not None and (pair := _YAML_PAIR.match(line)):
            yield GivenValue(path, number, pair[1], _is_literal(pair[2]))
        if match := _ENV_KEY.match(line):
            inside = len(match[1])
        for command in _SET_SECRETS.finditer(line):
            for pair in _PAIR.finditer(command[0]):
                yield GivenValue(path, number, pair[1], _is_literal(pair[2]))


def _is_literal(value: str) -> bool:
    """Whether the value stands there: not a reference to another one, not empty."""
    bare = value.strip().strip("\"'")
    return bool(bare) and "$" not in bare and "{{" not in bare
