"""The document of secrets as a file of age, written for every recipient and read with the key of one of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from importlib import import_module
from pathlib import Path
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.private_file import write_private
from dodai.operations.codes import STORE_FAILED
from dodai.operations.provider import Opening, Provider
from dodai.operations.secret_document import DocumentStore, document_of

IDENTITY = "DODAI_AGE_IDENTITY"
DEFAULT_IDENTITY = "~/.config/dodai/age.txt"


@dataclass(frozen=True, slots=True)
class AgeFile:
    """`operations.secret_document.SecretDocument` at `path`; `identity` is the file of the reader's private key."""

    path: Path
    recipients: tuple[str, ...]
    identity: Path = field(repr=False)

    def read(self) -> Mapping[str, str]:
        pyrage = _library()

        try:
            sealed = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            text = pyrage.decrypt(sealed, self._identities())
        except pyrage.DecryptError as error:
            fix = f"ask a recipient to add your key to `secrets_recipients` and to encrypt it anew ({error})"
            raise DodaiError(
                STORE_FAILED, f"`{self.path}` cannot be decrypted with `{self.identity}`", fix, exit_code=1
            ) from None
        return document_of(text, f"`{self.path}`")

    def write(self, values: Mapping[str, str], /) -> None:
        pyrage = _library()

        try:
            known = [pyrage.x25519.Recipient.from_str(one) for one in self.recipients]
        except pyrage.RecipientError:
            said = "a key in `secrets_recipients` is none of age (`age1…`)"
            raise DodaiError(
                STORE_FAILED, said, "write the public keys that `age-keygen` prints", exit_code=2
            ) from None
        text = json.dumps(dict(values), indent=1, sort_keys=True).encode()
        sealed = pyrage.encrypt(text, known, armored=True)
        try:
            pyrage.decrypt(sealed, self._identities())
        except pyrage.DecryptError:
            said = f"no key in `secrets_recipients` is that of `{self.identity}`: you could not read what you write"
            raise DodaiError(STORE_FAILED, said, "add your public key, or let a recipient do it", exit_code=1) from None
        try:
            write_private(self.path, sealed)
        except OSError as error:
            fix = "make room, or make the folder writable"
            raise DodaiError(
                STORE_FAILED, f"`{self.path}` cannot be written: {error.strerror}", fix, exit_code=1
            ) from None

    def _identities(self) -> list[object]:
        pyrage = _library()

        fix = f"`age-keygen -o {self.identity}`, or name yours in `{IDENTITY}`; then have its public key added"
        try:
            lines = self.identity.read_text("utf-8").splitlines()
        except OSError as error:
            said = f"the key file `{self.identity}` cannot be read: {error.strerror}"
            raise DodaiError(STORE_FAILED, said, fix, exit_code=1) from None
        keys = [line.strip() for line in lines if line.startswith("AGE-SECRET-KEY-")]
        try:
            found: list[object] = [pyrage.x25519.Identity.from_str(key) for key in keys]
        except pyrage.IdentityError:
            found = []
        if not found:
            raise DodaiError(STORE_FAILED, f"`{self.identity}` holds no key of age", fix, exit_code=1)
        return found


def _library() -> Any:
    """`pyrage` of the extra `age`, which has no types."""
    return import_module("pyrage")


def _store(opening: Opening) -> DocumentStore:
    config = opening.config
    identity = Path(opening.variables.get(IDENTITY) or DEFAULT_IDENTITY).expanduser()
    path = opening.project.root / (config.secrets_file or f"secrets/{config.name}.age")
    return DocumentStore(AgeFile(path, config.secrets_recipients, identity), config.name, opening.folder)


PROVIDER = Provider(secrets=_store, keys=("secrets_file", "secrets_recipients"), required=("secrets_recipients",))
