"""Data on stdout, words on stderr: text, JSON, GitHub annotations and SARIF."""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import orjson

from dodai import __version__
from dodai.core.errors import Code, DodaiError
from dodai.core.finding import Finding
from dodai.core.proposal import addressed, addressed_document
from dodai.core.text import Lang, lang_of

_COLOURS = {"red": 31, "green": 32, "yellow": 33, "cyan": 36, "dim": 2, "bold": 1}
_LEVEL_COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}


def wants_json(words: Sequence[str]) -> bool:
    """Whether a command line asks for JSON, known even when it cannot be parsed."""
    return "--json" in words or "--output-format=json" in words or _pair(words, "--output-format", "json")


def meant_for(words: Sequence[str]) -> dict[str, str]:
    """What a command line says it acts on, for the commands that its messages propose; see `Output`."""
    manifest, env = _value(words, "--manifest"), _value(words, "--env") if words[:1] == ["migrate"] else ""
    found = {"": f"--manifest {shlex.quote(manifest)}" if manifest else "", "migrate": f"--env {env}" if env else ""}
    return {key: options for key, options in found.items() if options}


def _value(words: Sequence[str], option: str) -> str:
    given = [word.partition("=")[2] for word in words if word.startswith(f"{option}=")]
    return next(iter([b for a, b in itertools.pairwise(words) if a == option] + given), "")


def _pair(words: Sequence[str], option: str, value: str) -> bool:
    return any(a == option and b == value for a, b in itertools.pairwise(words))


class Output:
    """Where a command writes. Progress and errors never mix with data; a pipe never sees an escape.

    `meant_for`: the options that say what a command acts on, by command or `""` for all; each command that is proposed
    has them, so that it can be pasted as it stands.
    """

    def __init__(
        self, *, as_json: bool = False, quiet: bool = False, meant_for: Mapping[str, str] | None = None
    ) -> None:
        self.as_json = as_json
        self.meant_for = dict(meant_for or {})
        self.quiet = quiet or bool(os.environ.get("DODAI_NO_PROGRESS"))
        self._live = ""

    def data(self, schema: str, body: Mapping[str, Any]) -> None:
        """One JSON document with its schema name."""
        told = addressed_document({"schema": schema, **body}, self.meant_for)
        self.verbatim(orjson.dumps(told, option=orjson.OPT_INDENT_2, default=str).decode())

    def line(self, text: str = "") -> None:
        """A line of data; in a file or a pipe it is there as soon as it is said, `up` goes on for hours."""
        self.verbatim(addressed(text, self.meant_for))

    def verbatim(self, text: str) -> None:
        """A line of data that somebody else wrote: what it proposes is theirs."""
        self.live("")
        sys.stdout.write(_printable(text, sys.stdout) + "\n")
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """A line of progress."""
        if not self.quiet:
            self.live("")
            _tell(addressed(text, self.meant_for))

    def say_as_it_is(self, text: str) -> None:
        """A line of progress that somebody else wrote."""
        if not self.quiet:
            self.live("")
            _tell(text)

    def live(self, text: str) -> None:
        """What goes on just now, as the last line of a terminal; the next line takes its place, `""` removes it."""
        if text == self._live or self.quiet or not shows_escapes(sys.stderr):
            return
        self._live = text
        with heard_or_not(sys.stderr):
            sys.stderr.write("\r\x1b[K" + _printable(text, sys.stderr)[: shutil.get_terminal_size().columns - 1])

    def paint(self, text: str, colour: str, stream: TextIO | None = None) -> str:
        return paint(text, colour, stream or sys.stdout)

    def error(self, error: DodaiError) -> None:
        """A failure: the `dodai.error/1` envelope on stdout, or lines on stderr; its exit code counts, said or not."""
        if self.as_json:
            with heard_or_not(sys.stdout):
                self.data("dodai.error/1", {"error": error.as_json(), "exitCode": error.exit_code})
            return
        self.live("")
        code, lang = error.code, lang_of(os.environ)
        lines = [f"{paint(code.id, 'red', sys.stderr)} {code.name}: {_headline(code, error.message, lang)}"]
        lines += [f"  {detail}" for detail in (*_in_english(error.message, lang), *error.details)]
        _tell(addressed("\n".join([*lines, *_advice(code, error.fix, code.why.en, lang)]), self.meant_for))


@contextmanager
def heard_or_not(stream: TextIO) -> Iterator[None]:
    """Inside, and from then on, a stream that nobody reads or that cannot grow swallows what is written to it."""
    try:
        yield
        stream.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _tell(text: str) -> None:
    """A line for people; whether anybody hears it never decides how a command ends."""
    with heard_or_not(sys.stderr):
        sys.stderr.write(_printable(text, sys.stderr) + "\n")


def paint(text: str, colour: str, stream: TextIO) -> str:
    """`text` in a colour when `stream` is a terminal and `NO_COLOR` is not set."""
    if not shows_escapes(stream) or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def shows_escapes(stream: TextIO) -> bool:
    """Whether it is a terminal that understands more than text."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _printable(text: str, stream: TextIO) -> str:
    """`text` without characters the stream's encoding lacks, and without control characters from outside."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def finding_as_text(finding: Finding) -> str:
    """A finding as a person reads it: headline, place, quoted source, fix, why."""
    lang = lang_of(os.environ)
    head = f"{paint(finding.code.id, _LEVEL_COLOURS[finding.severity], sys.stdout)} {finding.code.name}: "
    lines = [head + _headline(finding.code, finding.message, lang)]
    place = finding.place
    if place:
        lines.append(f"  --> {place}")
    if place and place.line and finding.quote.strip():
        gutter = " " * len(str(place.line))
        lines += [f" {gutter} |", f" {place.line} | {finding.quote.rstrip()}"]
        if place.column:
            lines.append(f" {gutter} | {' ' * (place.column - 1)}{'^' * max(1, place.length)}")
    lines += [f"  {said}" for said in _in_english(finding.message, lang)]
    return "\n".join([*lines, *_advice(finding.code, finding.advice, finding.harm, lang)])


def findings_as_text(findings: Sequence[Finding]) -> str:
    """Several of one code that are fixed in one way: headline with their number, each with its place, one fix."""
    first, lang = findings[0], lang_of(os.environ)
    painted = paint(first.code.id, _LEVEL_COLOURS[first.severity], sys.stdout)
    count = f"{len(findings)} times" if lang == "en" else f"{first.code.what.ja} ({len(findings)} 件)"
    lines = [f"{painted} {first.code.name}: {count}"]
    for one in findings:
        lines += [f"  --> {one.place}: {one.message}" if one.place else f"  {one.message}"]
    return "\n".join([*lines, *_advice(first.code, first.advice, first.harm, lang)])


def _headline(code: Code, message: str, lang: Lang) -> str:
    """What happened here; in Japanese what the code stands for, and what happened here follows in English."""
    return message if lang == "en" else code.what.ja


def _in_english(message: str, lang: Lang) -> list[str]:
    return [] if lang == "en" else [message]


def _advice(code: Code, fix: str, why: str, lang: Lang) -> list[str]:
    """What to do and why: in Japanese that of the code's page, with the words and commands of this case below."""
    if lang == "en":
        return [f"  fix: {fix}", f"  why: {why}"]
    own = [] if fix in ("", code.fix.en) else [f"        {fix}"]
    return [f"  対処: {code.fix.ja}", *own, f"  理由: {code.why.ja}"]


def finding_as_github(finding: Finding) -> str:
    """A finding as a workflow command, which GitHub shows beside the line of the diff."""
    level = {"error": "error", "warning": "warning", "info": "notice"}[finding.severity]
    parts = [f"title={_escape(f'{finding.code.id} {finding.code.name}')}"]
    if finding.place:
        parts.insert(0, f"file={_escape(finding.place.path)}")
        if finding.place.line:
            parts.insert(1, f"line={finding.place.line}")
    message = _escape(f"{finding.message}\nfix: {finding.advice}\nwhy: {finding.harm}", message=True)
    return f"::{level} {','.join(parts)}::{message}"


def _escape(text: str, *, message: bool = False) -> str:
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text if message else text.replace(":", "%3A").replace(",", "%2C")


def findings_as_sarif(findings: Sequence[Finding]) -> dict[str, Any]:
    """SARIF 2.1.0 of a check."""
    known = {finding.code.id: finding.code for finding in findings}
    rules = [
        {
            "id": code.id,
            "name": code.name,
            "shortDescription": {"text": code.what.en},
            "fullDescription": {"text": code.why.en},
            "help": {"text": code.fix.en},
        }
        for code in known.values()
    ]
    driver = {"name": "dodai", "version": __version__, "rules": rules}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": [_sarif_result(finding) for finding in findings]}],
    }


def _sarif_result(finding: Finding) -> dict[str, Any]:
    level = {"error": "error", "warning": "warning", "info": "note"}[finding.severity]
    result: dict[str, Any] = {
        "ruleId": finding.code.id,
        "level": level,
        "message": {"text": f"{finding.message}\nfix: {finding.advice}"},
    }
    if finding.place:
        physical: dict[str, Any] = {"artifactLocation": {"uri": finding.place.path}}
        if finding.place.line:
            physical["region"] = {"startLine": finding.place.line, "startColumn": max(1, finding.place.column)}
        result["locations"] = [{"physicalLocation": physical}]
    return result
