"""What a process of the application is told about itself: environment variables, key files and the manifest."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.observability.codes import RUNTIME_SETTINGS
from dodai.observability.policy import ObservabilityPolicy
from dodai.runtime.identity import ProofKeyRing
from dodai.runtime.manifest_location import nearest_manifest, reference

KEY_FORM = "at least 16 characters, without white space"
_EDGE_KEY = re.compile(rb"[!-\"$-~][!-~]{15,}")


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """Everything the façades need to know; `RuntimeConfig.from_environment()` is what services use.

    `state` is the folder whose `lines/` gets segments (None: standard output only). `edge_key_file` turns the edge
    gate on, and so do `edge_keys`, which a vendor's edge sends: then `health_path` is asked without one.
    `csrf_off` is the reason why code wraps an application without protection against forged requests: the manifest has
    its own, which holds in an application that says which service it is.
    `sections` is the validated manifest, empty when there is none, and `manifest` its file.
    """

    service: str = "app"
    env: str = ""
    release: str = ""
    instance: str = ""
    required_schema: str = ""
    state: Path | None = None
    edge_key_file: Path | None = None
    edge_keys: tuple[str, ...] = field(default=(), repr=False)
    health_path: str = ""
    identity_keys: ProofKeyRing = field(default_factory=ProofKeyRing, repr=False)
    csrf_keys: str = field(default="", repr=False)
    csrf_off: str = ""
    origins: tuple[str, ...] = ()
    policy: ObservabilityPolicy = field(default_factory=ObservabilityPolicy)
    sections: Mapping[str, Any] = field(default_factory=dict, repr=False)
    manifest: Path | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> RuntimeConfig:
        """The config of this process; raises `DodaiError` DOD480, or the manifest's own, when it cannot be used."""
        environ = os.environ if environ is None else environ
        named = environ.get("DODAI_MANIFEST", "")
        found = None if named else nearest_manifest(Path.cwd())
        sections = read_sections(named or str(found)) if named or found else {}
        return cls(
            service=environ.get("DODAI_SERVICE") or "app",
            env=environ.get("DODAI_ENV", ""),
            release=environ.get("DODAI_RELEASE", ""),
            instance=environ.get("DODAI_INSTANCE", ""),
            required_schema=environ.get("DODAI_REQUIRED_SCHEMA", ""),
            state=Path(environ["DODAI_STATE"]) if environ.get("DODAI_STATE") else None,
            edge_key_file=_key_file(environ.get("DODAI_EDGE_KEY_FILE", "")),
            edge_keys=_edge_keys(environ.get("DODAI_EDGE_KEY")),
            health_path=environ.get("DODAI_HEALTH_PATH", ""),
            identity_keys=_key_ring(environ.get("DODAI_IDENTITY_KEYS", "")),
            csrf_keys=environ.get("DODAI_CSRF_KEYS", ""),
            origins=_listed(environ.get("DODAI_PUBLIC_ORIGINS", "")),
            policy=ObservabilityPolicy.from_manifest(sections.get("observability") or {}),
            sections=sections,
            manifest=Path(named) if named else found,
        )

    @property
    def public_origins(self) -> tuple[str, ...]:
        """The origins of this environment: what its Host says, else the manifest; `()` when neither names one."""
        if self.origins:
            return self.origins
        env = (self.sections.get("env") or {}).get(self.env) or {}
        return tuple(env.get("public_origins") or ())

    @property
    def edge(self) -> str:
        """What stands before this environment, as the manifest names it; "" where it does not."""
        env = (self.sections.get("env") or {}).get(self.env) or {}
        return str(env.get("edge") or env.get("provider") or "")

    def dependency(self, name: str) -> Mapping[str, Any]:
        """The `[dependency.NAME]` table, empty when the manifest has none."""
        return (self.sections.get("dependency") or {}).get(name) or {}


def read_sections(path: str) -> Mapping[str, Any]:
    """The validated manifest at `path`, or the nearest `dodai.toml` above the working folder; empty without one.

    The one place where the runtime reads it. Raises `ManifestProblems`, or DOD480 for one that cannot be read.
    """
    found = Path(path) if path else nearest_manifest(Path.cwd())
    if found is None:
        return {}
    if found.exists() and not found.is_file():  # who reads a pipe waits
        raise _unreadable(found, "it is not a file")
    try:
        text = found.read_bytes()
    except OSError as error:
        raise _unreadable(found, error.strerror) from None
    from dodai.core.manifest import read

    return read(text, reference(), path=str(found)).data


def _listed(value: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in value.split(",") if each.strip())


def _edge_keys(value: str | None) -> tuple[str, ...]:
    """The keys of the edge, the first of them sent now; DOD480 for a variable that is there and says none."""
    keys = _listed(value or "")
    if value is not None and not keys:
        raise _unusable("DODAI_EDGE_KEY", "it is set and has no key")
    if len(keys_of(key.encode() for key in keys)) < len(keys):
        raise _unusable("DODAI_EDGE_KEY", f"one of its keys can be guessed or sent by nobody; a key has {KEY_FORM}")
    return keys


def keys_of(lines: Iterable[bytes]) -> tuple[bytes, ...]:
    """Those of `lines` that are keys: what anybody could guess, or wrote as a comment, is none."""
    return tuple(line.strip() for line in lines if _EDGE_KEY.fullmatch(line.strip()))


def _key_file(value: str) -> Path | None:
    if not value:
        return None
    try:
        content = Path(value).read_bytes()
    except OSError as error:
        raise _unusable("DODAI_EDGE_KEY_FILE", f"`{value}` cannot be read: {error.strerror}") from None
    if not keys_of(content.splitlines()):
        raise _unusable("DODAI_EDGE_KEY_FILE", f"`{value}` has no key; a key has {KEY_FORM}")
    return Path(value)


def _key_ring(value: str) -> ProofKeyRing:
    try:
        return ProofKeyRing.parse(value)
    except ValueError as error:
        raise _unusable("DODAI_IDENTITY_KEYS", str(error)) from None


def _unreadable(manifest: Path, why: str | None) -> DodaiError:
    said, fix = f"the manifest `{manifest}` cannot be read: {why}", "put the file there, or set `DODAI_MANIFEST` to it"
    return DodaiError(RUNTIME_SETTINGS, said, fix, exit_code=2)


def _unusable(name: str, what: str) -> DodaiError:
    return DodaiError(
        RUNTIME_SETTINGS, f"`{name}`: {what}", f"correct `{name}` and start the service again", exit_code=2
    )
