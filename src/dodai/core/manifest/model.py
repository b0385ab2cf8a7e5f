"""The manifest as a value."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.rule import Acceptance
from dodai.core.section import key, rows


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

    environment: Mapping[str, str] = key(dict)
    inherit: tuple[str, ...] = ()
    assume_extensions: tuple[str, ...] = ()
    accept: tuple[Acceptance, ...] = rows(Acceptance)


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
