"""Output of the services while `dodai up` runs: each line behind the name of its service, requests in words."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from dodai.cli.output import Output, paint
from dodai.core.dataclass import dataclass
from dodai.core.line import REQUEST_TYPES, UNMATCHED
from dodai.operations.ports.logs import LogLine, Logs

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
COLOURS = ("cyan", "yellow", "green")
"""One service after another; red is for what failed."""


@dataclass(slots=True)
class ServiceLines:
    """What the services `names` write from `since` on (seconds since 1970); what is older was another run."""

    output: Output
    logs: Logs
    names: Sequence[str]
    since: float
    _lines: Iterator[LogLine | None] | None = field(default=None, init=False)

    async def show(self) -> None:
        """Everything that came since it was asked the last time."""
        if self.output.quiet:
            return
        for line in await asyncio.to_thread(self._came):
            told = in_words(line.text)
            if told:
                name = f"{line.part:{max(map(len, self.names))}}"
                colour = COLOURS[self.names.index(line.part) % len(COLOURS)]
                self.output.say_as_it_is(f"{paint(name, colour, sys.stderr)} | {told}")

    def _came(self) -> list[LogLine]:
        if self._lines is None:
            self._lines = self.logs.follow()
        new = iter(lambda: next(self._lines or iter(())), None)
        return [line for line in new if line is not None and line.part in self.names and line.at >= int(self.since)]


def in_words(text: str) -> str:
    """A line as a person reads it: dodai's own about a request in words, `""` for a heartbeat, others as they are."""
    line = _own(text)
    if line is None:
        plain = _COLOUR.sub("", text)  # some write colours whether anybody asked or not
        return "".join(char if char.isprintable() or char == "\t" else "?" for char in plain)
    if line.get("type") in REQUEST_TYPES:
        return " ".join(part for part in _request(line) if part)
    return "" if line.get("name") == "heartbeat" else text


def _own(text: str) -> Mapping[str, Any] | None:
    if not text.startswith('{"ts":'):
        return None
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _request(line: Mapping[str, Any]) -> Iterator[str]:
    route = line.get("route")
    path = line.get("path") if route in (None, UNMATCHED) else route
    yield str(line.get("rpc") or f"{line.get('method', '')} {path or '-'}")
    yield str(line.get("status", ""))
    latency = line.get("latencyMs")
    yield f"{latency:.1f} ms" if isinstance(latency, int | float) else ""
    outcome = line.get("outcome")
    yield "" if outcome == "ok" else str(outcome or "")
    yield from (str(line[name]) for name in ("code", "reason", "error") if line.get(name))
    yield str(line.get("requestId") or "")
