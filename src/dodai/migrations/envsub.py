r"""Environment variables in migration files, as goose's `ENVSUB ON` expands them.

Grammar (that of github.com/mfridman/interpolate, which goose uses): `$V`, `${V}`, `${V:-word}` unset or empty,
`${V-word}` unset, `${V?word}` required, `${V:from}` and `${V:from:length}`; `$$` and `\$` are a dollar, `$(`
is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping


class EnvsubError(ValueError):
    """The line cannot be expanded; the message says why and never holds a value."""


def expand(line: str, environment: Mapping[str, str]) -> str:
    """`line` with its variables replaced; an unset variable is empty. Raises `EnvsubError`."""
    if "$" not in line and "\\" not in line:
        return line
    return _SubstitutionReader(line, environment).text()


class _SubstitutionReader:
    def __init__(self, line: str, environment: Mapping[str, str]) -> None:
        self.line = line
        self.at = 0
        self.environment = environment

    def text(self, stop: str = "") -> str:
        parts: list[str] = []
        while self.at < len(self.line) and self.line[self.at] != stop:
            parts.append(self._piece())
        return "".join(parts)

    def _piece(self) -> str:
        two = self.line[self.at : self.at + 2]
        for escape, meaning in (("\\\\", "\\\\"), ("\\$", "$"), ("$$", "$"), ("$(", "$(")):
            if two == escape:
                self.at += 2
                return meaning
        if self.line[self.at] == "$" and self.at < len(self.line) - 1:
            self.at += 1
            return self._braced() if self.line[self.at] == "{" else self.environment.get(self._name(), "")
        self.at += 1
        return self.line[self.at - 1]

    def _name(self) -> str:
        start = self.at
        if start >= len(self.line) or not self.line[start].isalpha():
            raise EnvsubError("a variable name must start with a letter after `$`; write `$$` for a dollar")
        while self.at < len(self.line) and (self.line[self.at].isalnum() or self.line[self.at] == "_"):
            self.at += 1
        return self.line[start : self.at]

    def _braced(self) -> str:
        self.at += 1
        name = self._name()
        rest = self.line[self.at : self.at + 2]
        if rest.startswith("}"):
            self.at += 1
            return self.environment.get(name, "")
        value = self._operation(name, rest)
        if self.line[self.at : self.at + 1] != "}":
            raise EnvsubError(f"`${{{name}` is not closed by `}}`")
        self.at += 1
        return value

    def _operation(self, name: str, rest: str) -> str:
        if rest == ":-":
            self.at += 2
            default = self.text("}")
            return self.environment.get(name) or default
        if rest[:1] not in ("-", "?", ":"):
            raise EnvsubError(f"`${{{name}` is followed by neither `}}` nor `:-`, `-`, `?` or `:`")
        self.at += 1
        if rest[0] == ":":
            return self._slice(self.environment.get(name, ""))
        word = self.text("}")
        if name not in self.environment and rest[0] == "?":
            raise EnvsubError(f"`{name}` is required: {word or 'not set'}")
        return self.environment.get(name, word)

    def _slice(self, value: str) -> str:
        """Offsets count bytes, as in goose; a negative one counts from the end."""
        end = self.line.find("}", self.at)
        numbers = self.line[self.at : end if end >= 0 else len(self.line)].split(":", 1)
        try:
            offset, *rest = (int(number.strip()) for number in numbers)
        except ValueError as error:
            raise EnvsubError("the offset and length of `${NAME:offset:length}` must be integers") from error
        self.at += len(":".join(numbers))
        data = value.encode()
        start = min(max(offset + len(data) if offset < 0 else offset, 0), len(data))
        stop = len(data)
        if rest:
            stop = start + rest[0] if rest[0] >= 0 else max(len(data) + rest[0], start)
        return data[start : min(stop, len(data))].decode(errors="replace")
