"""The secrets of a local environment: a file that its owner alone can read, filled with random values."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dodai.engine.private_file import create_private, write_private


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
        try:
            found: dict[str, str] = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return found

    def put(self, values: Mapping[str, str], /) -> None:
        write_private(self.path, json.dumps(dict(values), indent=1).encode())

    def digest(self, told: Mapping[str, str], /) -> str:
        words = json.dumps(dict(told), sort_keys=True).encode()
        return hmac.new(self._key(), words, "sha256").hexdigest()[:16]

    def _key(self) -> bytes:
        """Without a key of this environment's own, a value could be guessed from its digest."""
        return create_private(self.folder / "digest.key", secrets.token_bytes(32))

    def versions(self) -> Mapping[str, str]:
        values = self.get()
        if not values:
            return {}
        key = self._key()
        digests = {name: hmac.new(key, f"{name}\0{value}".encode(), "sha256") for name, value in values.items()}
        return {name: digest.hexdigest()[:12] for name, digest in digests.items()}
