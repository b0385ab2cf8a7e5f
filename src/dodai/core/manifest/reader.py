"""The manifest as a value, and how it is read: every problem at once, with its line and what to write instead."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from dodai.core import codes
from dodai.core import section as sections
from dodai.core.dataclass import dataclass
from dodai.core.errors import Code, DodaiError
from dodai.core.finding import Finding, Place
from dodai.core.manifest.reference import ManifestKey, ManifestReference, ManifestTable
from dodai.core.manifest.scan import Path, find
from dodai.core.manifest.value_kinds import NotThisValueError
from dodai.core.rule import Acceptance
from dodai.core.suggestion import did_you_mean

UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class ManifestProblems(DodaiError):  # noqa: N818 - it is raised, but what it holds is a list of findings
    """The manifest cannot be used; `findings` are all its problems (DOD001-DOD005), exit code 2."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        first, *others = findings
        where = f"{first.place}: " if first.place else ""
        super().__init__(
            code=first.code,
            message=where + first.message,
            fix=first.advice,
            exit_code=2,
            details=tuple(f"{finding.place}: {finding.message}; fix: {finding.advice}" for finding in others),
        )
        self.findings = findings


def read(text: bytes, reference: ManifestReference, *, path: str = "dodai.toml") -> Manifest:
    """The manifest that `text` holds; raises `ManifestProblems` naming every problem with its position."""
    try:
        source = text.decode("utf-8-sig")  # editors on Windows write a byte order mark
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        said = "the file is UTF-16" if text[:2] in UTF16_MARKS else "the file is not UTF-8"
        finding = Finding(codes.MANIFEST_SYNTAX, said, Place(path, line), fix="save it as UTF-8")
        raise ManifestProblems((finding,)) from None
    try:
        raw = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise ManifestProblems((_syntax(str(error), source, path),)) from None
    reading = _ManifestReading(source, path, [])
    data = reading.table(raw, reference.root, ())
    reading.names(raw, reference.root, (), data)
    if reading.problems:
        raise ManifestProblems(tuple(sorted(reading.problems, key=lambda f: f.place or Place(path))))
    return Manifest(data, text, path)


def _syntax(message: str, source: str, path: str) -> Finding:
    match = re.search(r"\(at line (\d+), column (\d+)\)", message)
    line, column = (int(match[1]), int(match[2])) if match else (len(source.splitlines()) or 1, 0)
    lines = source.splitlines()
    quote = lines[line - 1] if 0 < line <= len(lines) else ""
    said = re.sub(r"\s*\(at .*\)$", "", message)
    return Finding(codes.MANIFEST_SYNTAX, said[:1].lower() + said[1:], Place(path, line, column), quote)


@dataclass(slots=True)
class _ManifestReading:
    source: str
    path: str
    problems: list[Finding]

    def table(self, raw: Mapping[str, Any], table: ManifestTable, at: Path) -> dict[str, Any]:
        for name in raw:
            if name not in table.keys and name not in table.tables:
                self._unknown(name, table, at)
        data = {name: self._value(raw, key, at) for name, key in table.keys.items()}
        for name, inner in table.tables.items():
            value = self._inner(raw, name, inner, at)
            if value is not None:
                data[name] = value
        return data

    def _value(self, raw: Mapping[str, Any], key: ManifestKey, at: Path) -> Any:
        if key.name not in raw:
            if key.required:
                self._problem(
                    codes.MANIFEST_MISSING_KEY,
                    at,
                    f"{_label(at)} lacks `{key.name}`",
                    f"add `{key.name} = …`, {key.kind.name}: {key.doc}",
                )
            return key.default
        try:
            value = key.kind.read(raw[key.name])
            key.kind.fits(value, raw)
        except NotThisValueError as error:
            shown = _shown(raw[key.name])
            self._problem(
                codes.MANIFEST_WRONG_VALUE,
                (*at, key.name),
                f"`{'.'.join(map(str, (*at, key.name)))}` is {shown}, expected {error}",
                f"write {error}",
            )
            return key.default
        return value

    def _inner(self, raw: Mapping[str, Any], name: str, inner: ManifestTable, at: Path) -> Any:
        value = raw.get(name)
        if value is None:
            return self._absent(inner, at)
        if inner.kind == "repeated":
            if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
                return self._not_a_table((*at, name), value, f"[[{name}]] tables")
            return tuple(self.table(item, inner, (*at, name, index)) for index, item in enumerate(value))
        if not isinstance(value, dict):
            return self._not_a_table((*at, name), value, "a table")
        if inner.kind == "plain":
            return self.table(value, inner, (*at, name))
        named = {}
        for instance, body in value.items():
            if isinstance(body, dict):
                named[instance] = self.table(body, inner, (*at, name, instance))
            else:
                self._not_a_table((*at, name, instance), body, f"a table [{name}.NAME]")
        return named

    def _absent(self, inner: ManifestTable, at: Path) -> Any:
        if inner.required:
            self._problem(
                codes.MANIFEST_MISSING_KEY,
                at,
                f"the table [{inner.name}] is missing",
                f"add [{inner.name}]: {inner.doc}",
            )
            return None
        if inner.kind == "repeated":
            return ()
        if inner.kind == "named":
            return {}
        return self.table({}, inner, (*at, inner.name)) if inner.complete_without_words else None

    def _not_a_table(self, at: Path, value: Any, expected: str) -> None:
        message = f"`{'.'.join(map(str, at))}` is {_shown(value)}, expected {expected}"
        self._problem(codes.MANIFEST_WRONG_VALUE, at, message, f"write {expected}")

    def _unknown(self, name: str, table: ManifestTable, at: Path) -> None:
        known = [*table.keys, *table.tables]
        fix = did_you_mean(name, known)
        self._problem(codes.MANIFEST_UNKNOWN_KEY, (*at, name), f"unknown key `{name}` in {_label(at)}", fix)

    def names(self, raw: Mapping[str, Any], table: ManifestTable, at: Path, data: Mapping[str, Any]) -> None:
        """Check that every value of a `ref` kind names a table that is there."""
        for name, key in table.keys.items():
            if key.kind.refers_to and name in raw:
                self._check_reference(raw[name], key, (*at, name), data)
        for name, inner in table.tables.items():
            for where, body in _bodies(raw.get(name), inner, (*at, name)):
                self.names(body, inner, where, data)

    def _check_reference(self, value: Any, key: ManifestKey, at: Path, data: Mapping[str, Any]) -> None:
        known = list(data.get(key.kind.refers_to) or {})
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and item not in known:
                fix = did_you_mean(item, known, f"add [{key.kind.refers_to}.{item}]")
                message = f"`{'.'.join(map(str, at))}` names `{item}`, and there is no [{key.kind.refers_to}.{item}]"
                self._problem(codes.MANIFEST_UNKNOWN_NAME, at, message, fix)

    def _problem(self, code: Code, at: Path, message: str, fix: str) -> None:
        line = find(self.source, at)
        place = Place(self.path, line.number if line else 1, line.column if line else 1)
        self.problems.append(Finding(code, message, place, line.text if line else "", fix=fix))


def _bodies(value: Any, inner: ManifestTable, at: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    if inner.kind == "repeated" and isinstance(value, list):
        yield from (((*at, index), item) for index, item in enumerate(value) if isinstance(item, dict))
    elif inner.kind == "named" and isinstance(value, dict):
        yield from (((*at, name), item) for name, item in value.items() if isinstance(item, dict))
    elif inner.kind == "plain" and isinstance(value, dict):
        yield at, value


def _label(at: Path) -> str:
    return f"[{'.'.join(str(part) for part in at)}]" if at else "the manifest"


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, str) else f'"{value}"'
    return f"`{text[:60]}{'…' if len(text) > 60 else ''}`"


@dataclass(frozen=True, slots=True)
class ProjectSection:
    """`[project]`."""

    name: str
    python: str = ""
    install: tuple[str, ...] = ()
    docs: str = "docs"
    langs: tuple[str, ...] = ("ja", "en")


@dataclass(frozen=True, slots=True)
class CheckSection:
    """`[check]`."""

    environment: Mapping[str, str] = sections.key(dict)
    inherit: tuple[str, ...] = ()
    assume_extensions: tuple[str, ...] = ()
    accept: tuple[Acceptance, ...] = sections.rows(Acceptance)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A valid manifest: `data` has every default filled in, durations as seconds and sizes as bytes.

    `text` is what was read, byte for byte; `path` is where it stood, for messages.
    """

    data: Mapping[str, Any]
    text: bytes
    path: str = "dodai.toml"

    @property
    def hash(self) -> str:
        """sha256 of the text, hexadecimal; a plan made from another manifest is another plan."""
        return hashlib.sha256(self.text).hexdigest()

    @property
    def name(self) -> str:
        return str(self.data["project"]["name"])

    def section(self, name: str) -> Mapping[str, Any] | None:
        """A top-level table, or None when the manifest has none and it needs keys that have no default."""
        found = self.data.get(name)
        return found if isinstance(found, Mapping) else None

    def mentions(self, name: str) -> bool:
        """True when the text itself has this top-level table or key, not only its defaults."""
        return name in tomllib.loads(self.text.decode("utf-8-sig"))

    def named(self, name: str) -> Mapping[str, Mapping[str, Any]]:
        """The `[name.X]` tables by X; empty when there are none."""
        return self.data.get(name) or {}

    def repeated(self, name: str) -> tuple[Mapping[str, Any], ...]:
        """The `[[name]]` tables in their order; empty when there are none."""
        return tuple(self.data.get(name) or ())
