"""A secret store that is one document: its values, since when they exist, and the key of its digests.

What dodai notes stands in the document itself, under names with a `.`, so that everybody who can read the values sees
the same versions and ages, and a document of another environment is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.private_file import create_private, write_private
from dodai.operations.codes import STORE_FAILED, STORE_OF_ANOTHER

KEY, TIMES, ENV = "dodai.key", "dodai.times", "dodai.env"
REMEMBERED = 8
WRITTEN_TO = "secret-store.mark"
_KEY, _NO_KEY = re.compile("[0-9a-f]{64}"), "0" * 64
_HALVES = re.compile("[\ud800-\udfff]")


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

    It is read anew each time: others may change it, and several of these may stand for one document. `folder` is what
    this machine knows of the environment: which document it wrote to, and the key of digests while that has none.
    """

    document: SecretDocument
    env: str
    folder: Path | None = None

    @property
    def makes_up_values(self) -> bool:
        return False

    def get(self) -> Mapping[str, str]:
        return {name: value for name, value in self._all().items() if name not in (KEY, TIMES, ENV)}

    def put(self, values: Mapping[str, str], /) -> None:
        """Read back afterwards: a store that says yes and keeps something else is DOD563."""
        before = self._all()
        key = self._key().hex()
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
        if self.folder is not None:
            write_private(self.folder / WRITTEN_TO, _mark(key))

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
        """Without a key a value could be guessed from its digest. A look writes none into the document: `put` does."""
        if KEY in (values := self._all()):
            return bytes.fromhex(values[KEY])
        made = secrets.token_bytes(32)
        return made if self.folder is None else create_private(self.folder / "digest.key", made)

    def _all(self) -> Mapping[str, str]:
        """The document; DOD564 for that of another environment, DOD563 for another one than this machine wrote to.

        A store that answers with nothing, as many do for who is signed out, is not empty: what is put into it now would
        be all that is left.
        """
        found = self.document.read()
        if (env := found.get(ENV, self.env)) != self.env:
            fix = "name the store of this environment in the manifest, or sign in to the right account"
            said = f"the store of `{self.env}` answers with the values of `{env}`"
            raise DodaiError(STORE_OF_ANOTHER, said, fix, exit_code=1)
        if not _KEY.fullmatch(key := found.get(KEY, _NO_KEY)):
            said = f"`{KEY}` in the store of `{self.env}` is not what dodai wrote there"
            raise DodaiError(STORE_FAILED, said, "restore the document from a backup", exit_code=1)
        written_to = self.folder / WRITTEN_TO if self.folder else None
        if written_to and written_to.exists() and written_to.read_bytes() != _mark(key):
            what = "another document than" if found else "nothing instead of"
            said = f"the store of `{self.env}` answers with {what} the one that this machine wrote to"
            fix = f"sign in to the right account, or restore it; if it was made anew on purpose, remove `{written_to}`"
            raise DodaiError(STORE_FAILED, said, fix, exit_code=1)
        return found

    def _times(self, values: Mapping[str, str]) -> dict[str, dict[str, float]]:
        try:
            found = json.loads(values.get(TIMES, "{}"))
            return {name: {version: float(at) for version, at in times.items()} for name, times in found.items()}
        except (ValueError, TypeError, AttributeError):
            return {}


def document_of(text: bytes, where: str) -> dict[str, str]:
    """The names and texts in a JSON object, or a list of objects with `key` and `value`; DOD563 for anything else.

    Two values under one name are refused: another reader may take the other one.
    """
    try:
        found = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        raise _not_understood(where, "no JSON") from None
    if isinstance(found, list) and not isinstance(found, _Pairs):
        try:
            found = _Pairs((one["key"], one["value"]) for one in map(dict, found))
        except (TypeError, KeyError, ValueError):
            raise _not_understood(where, "a list whose entries have no `key` and `value`") from None
    if not isinstance(found, _Pairs) or not all(_is_text(name) and _is_text(value) for name, value in found):
        raise _not_understood(where, "not an object of names and texts")
    if len(dict(found)) < len(found):
        raise _not_understood(where, "two values under one name")
    return dict(found)


class _Pairs(list[tuple[Any, Any]]):
    """The pairs of a JSON object, each as often as it stands there."""


def _is_text(value: object) -> bool:
    """Whether it is a string of characters: JSON can also write halves of them, which no variable can carry."""
    return isinstance(value, str) and not _HALVES.search(value)


def _not_understood(where: str, what: str) -> DodaiError:
    return DodaiError(STORE_FAILED, f"{where} answers with {what}", "let it print one JSON object", exit_code=1)


def _mark(key: str) -> bytes:
    """What this machine remembers of a document: nothing that helps to guess a value in it."""
    return hashlib.sha256(key.encode()).hexdigest()[:16].encode()


def _entries(values: Mapping[str, str], key: str) -> dict[str, list[str]]:
    plain = {name: value for name, value in values.items() if "." not in name}
    return {name: [_version(name, one, key) for one in value.split(",")] for name, value in plain.items()}


def _version(name: str, value: str, key: str) -> str:
    return hmac.new(bytes.fromhex(key), f"{name}\0{value}".encode(), "sha256").hexdigest()[:12]
