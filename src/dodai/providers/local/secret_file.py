"""The secrets of a local environment: a file that its owner alone can read, filled with random values."""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path

from dodai.core.dataclass import dataclass
from dodai.engine.private_file import create_private, damaged, read_json, write_private

KEY_BYTES = 32
REMEMBERED = 8
"""Of how many values of a secret, beside those in use, it is known since when they exist."""


@dataclass(frozen=True, slots=True)
class SecretFile:
    """`dodai.operations.ports.SecretStore` in `folder`; never in a release or a journal."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "secrets.json"

    @property
    def makes_up_values(self) -> bool:
        return True

    def get(self) -> Mapping[str, str]:
        """DOD385 (exit 4) for a file that holds anything but names and texts."""
        instead = "move it away: every secret then gets a new value by the next deploy"
        found = read_json(self.path, dict, instead) or {}
        if not all(isinstance(value, str) for value in found.values()):
            raise damaged(self.path, "a value in it is no text", instead)
        return found

    def put(self, values: Mapping[str, str], /) -> None:
        seen, now = self._seen(), time.time()
        write_private(self.path, json.dumps(dict(values), indent=1).encode())
        times = {name: self._with_times(seen.get(name, {}), held, now) for name, held in self._entries().items()}
        write_private(self.times_path, json.dumps(times, indent=1).encode())

    @property
    def times_path(self) -> Path:
        return self.folder / "secret-times.json"

    def since(self) -> Mapping[str, float]:
        """What was killed between the values and their times leaves a version without one: not known, never wrong."""
        seen, found = self._seen(), self._entries()
        return {name: seen[name][held[0]] for name, held in found.items() if held[0] in seen.get(name, {})}

    def _entries(self) -> dict[str, list[str]]:
        """The versions of each of the values that stand beside each other, the one that signs first."""
        split = {name: value.split(",") for name, value in self.get().items() if "." not in name}
        return {name: [self._versions({name: one})[name] for one in held] for name, held in split.items()}

    @staticmethod
    def _with_times(known: Mapping[str, float], held: list[str], now: float) -> dict[str, float]:
        """A value that comes back is as old as it was: those that were replaced last are remembered."""
        times = dict(list(known.items())[-REMEMBERED:])
        return times | {version: known.get(version, now) for version in held}

    def _seen(self) -> dict[str, dict[str, float]]:
        try:
            found = json.loads(self.times_path.read_text("utf-8"))
            return {name: {version: float(at) for version, at in times.items()} for name, times in found.items()}
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            return {}

    def digest(self, told: Mapping[str, str], /) -> str:
        words = json.dumps(dict(told), sort_keys=True).encode()
        return hmac.new(self._key(), words, "sha256").hexdigest()[:16]

    def _key(self) -> bytes:
        """Without a key of this environment's own, a value could be guessed from its digest: DOD385 for a short one."""
        key = create_private(self.folder / "digest.key", secrets.token_bytes(KEY_BYTES))
        if len(key) < KEY_BYTES:
            instead = "move it away: what runs is then called started with other values until the next deploy"
            raise damaged(self.folder / "digest.key", f"it has {len(key)} bytes of {KEY_BYTES}", instead)
        return key

    def versions(self) -> Mapping[str, str]:
        return self._versions(self.get())

    def _versions(self, values: Mapping[str, str]) -> dict[str, str]:
        known = {name: value for name, value in values.items() if "." not in name}
        if not known:
            return {}
        key = self._key()
        digests = {name: hmac.new(key, f"{name}\0{value}".encode(), "sha256") for name, value in known.items()}
        return {name: digest.hexdigest()[:12] for name, digest in digests.items()}
