"""A secret store that is one document: its values, since when they exist, and the key of its digests.

What dodai notes stands in the document itself, under names with a `.`, so that everybody who can read the values sees
the same versions and ages, and a document of another environment is refused.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.private_file import create_private
from dodai.operations.codes import STORE_FAILED, STORE_OF_ANOTHER

KEY, TIMES, ENV = "dodai.key", "dodai.times", "dodai.env"
REMEMBERED = 8


class SecretDocument(Protocol):
    """Where the document is kept."""

    def read(self) -> Mapping[str, str]:
        """All of it; empty when there is none yet. DOD563 when it cannot be read or understood."""
        ...

    def write(self, values: Mapping[str, str], /) -> None:
        """Replace all of it; DOD563 when that did not work."""
        ...


@dataclass(frozen=True, slots=True)
class DocumentStore:
    """`operations.ports.SecretStore` over `document`, the one of the environment `env`.

    It is read anew each time: others may change it, and several of these may stand for one document. `key_folder` keeps
    the key of digests where the document is only read, so that versions are those of this machine then.
    """

    document: SecretDocument
    env: str
    key_folder: Path | None = None

    @property
    def makes_up_values(self) -> bool:
        return False

    def get(self) -> Mapping[str, str]:
        return {name: value for name, value in self._all().items() if name not in (KEY, TIMES, ENV)}

    def put(self, values: Mapping[str, str], /) -> None:
        """Read back afterwards: a store that says yes and keeps something else is DOD563."""
        before = self._all()
        key = before.get(KEY) or secrets.token_hex(32)
        times = self._times(before)
        now = time.time()
        for name, versions in _entries(values, key).items():
            known = dict(list(times.get(name, {}).items())[-REMEMBERED:])
            times[name] = known | {version: known.get(version, now) for version in versions}
        document = {**values, KEY: key, ENV: self.env, TIMES: json.dumps(times, sort_keys=True)}
        self.document.write(document)
        if dict(self._all()) != document:
            fix = "look at what it keeps, then repeat the command"
            raise DodaiError(
                STORE_FAILED, f"the store of `{self.env}` does not hold what it was given", fix, exit_code=4
            )

    def digest(self, told: Mapping[str, str], /) -> str:
        words = json.dumps(dict(told), sort_keys=True).encode()
        return hmac.new(self._key(), words, "sha256").hexdigest()[:16]

    def versions(self) -> Mapping[str, str]:
        values, key = self.get(), self._key().hex()
        return {name: _version(name, value, key) for name, value in values.items() if "." not in name}

    def since(self) -> Mapping[str, float]:
        values = self._all()
        if KEY not in values:
            return {}
        times, found = self._times(values), _entries(values, values[KEY])
        return {name: times[name][held[0]] for name, held in found.items() if held[0] in times.get(name, {})}

    def _key(self) -> bytes:
        """Without a key of the document's own, a value could be guessed from its digest: it gets one."""
        values = self._all()
        if KEY not in values:
            if self.key_folder is not None:
                return create_private(self.key_folder / "digest.key", secrets.token_bytes(32))
            self.put(values)
            values = self._all()
        return bytes.fromhex(values[KEY])

    def _all(self) -> Mapping[str, str]:
        found = self.document.read()
        if (env := found.get(ENV, self.env)) != self.env:
            fix = "name the store of this environment in the manifest, or sign in to the right account"
            said = f"the store of `{self.env}` answers with the values of `{env}`"
            raise DodaiError(STORE_OF_ANOTHER, said, fix, exit_code=1)
        return found

    def _times(self, values: Mapping[str, str]) -> dict[str, dict[str, float]]:
        try:
            found = json.loads(values.get(TIMES, "{}"))
            return {name: {version: float(at) for version, at in times.items()} for name, times in found.items()}
        except (ValueError, TypeError, AttributeError):
            return {}


def document_of(text: bytes, where: str) -> dict[str, str]:
    """The names and texts in a JSON object, or a list of objects with `key` and `value`; DOD563 for anything else."""
    try:
        found = json.loads(text)
    except ValueError:
        raise _not_understood(where, "no JSON") from None
    if isinstance(found, list):
        try:
            found = {row["key"]: row["value"] for row in found}
        except (TypeError, KeyError):
            raise _not_understood(where, "a list whose entries have no `key` and `value`") from None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise _not_understood(where, "not an object of names and texts")
    return found


def _not_understood(where: str, what: str) -> DodaiError:
    return DodaiError(STORE_FAILED, f"{where} answers with {what}", "let it print one JSON object", exit_code=1)


def _entries(values: Mapping[str, str], key: str) -> dict[str, list[str]]:
    plain = {name: value for name, value in values.items() if "." not in name}
    return {name: [_version(name, one, key) for one in value.split(",")] for name, value in plain.items()}


def _version(name: str, value: str, key: str) -> str:
    return hmac.new(bytes.fromhex(key), f"{name}\0{value}".encode(), "sha256").hexdigest()[:12]
