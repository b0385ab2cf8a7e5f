"""Signatures of people, made and judged by OpenSSH's own `ssh-keygen -Y`."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.operations.approval import NAMESPACE, Signed
from dodai.operations.codes import APPROVAL_NEEDED

PERSON_S = 120.0
"""Somebody may have to type a passphrase or touch a key."""
MACHINE_S = 10.0


@dataclass(frozen=True, slots=True)
class SshKeygen:
    """`dodai.operations.approval.Signatures`. Needs OpenSSH 8.2 or newer."""

    program: str = "ssh-keygen"

    def key(self, signed: Signed, signers: str, now: datetime) -> str:
        """The fingerprint of the key (`SHA256:…`); whether the key is valid is asked for `now`, not by our clock."""
        with _files(signers=signers, signature=signed.signature) as folder:
            at = now.astimezone(UTC).strftime("%Y%m%d%H%M%S")
            words = ("-Y", "verify", "-f", "signers", "-I", signed.principal, "-n", signed.namespace, "-s", "signature")
            done = self._run((*words, "-O", f"verify-time={at}"), folder, signed.message)
        found = re.search(r" key (SHA256:\S+)", done.stdout.decode("utf-8", "replace"))
        return found[1] if done.returncode == 0 and found else ""

    def names(self, key: str, signers: str) -> tuple[str, ...]:
        """Every name, or pattern of names, under which `signers` has the key of that fingerprint."""
        lines = [line for line in signers.splitlines() if key in map(_fingerprint, line.split())]
        return tuple(name for line in lines for name in line.split()[0].strip('"').split(","))

    def sign(self, message: bytes, key: Path, namespace: str = NAMESPACE) -> str:
        """The signature of `message` by `key`, a private key, or a public one whose secret part an agent holds."""
        with _files(message=message.decode()) as folder:
            done = self._run(
                ("-Y", "sign", "-f", str(key.absolute()), "-n", namespace, "message"), folder, patience_s=PERSON_S
            )
            if done.returncode != 0:
                said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
                raise _refused(f"`{key}` signed nothing: {said}", "name a key that you can sign with: `--key FILE`")
            return (folder / "message.sig").read_text("ascii")

    def principal(self, key: Path, signers: str) -> str:
        """Who `key` stands for in `signers`; DOD369 (exit 1) when that is nobody, or nobody in particular."""
        public = _public(key)
        lines = [line for line in signers.splitlines() if public in line.split()]
        if not lines:
            raise _refused(
                f"`{key}` does not stand in `allowed_signers`", "have it added, or sign with another: `--key FILE`"
            )
        name = lines[0].split()[0].partition(",")[0].strip('"')
        if re.search(r"[*?!]", name):
            raise _refused(f"`{key}` stands for `{name}`, which is nobody in particular", "say who signs: `--as NAME`")
        return name

    def _run(
        self, words: Sequence[str], folder: Path, data: bytes = b"", patience_s: float = MACHINE_S
    ) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                [self.program, *words],
                cwd=folder,
                input=data,
                capture_output=True,
                timeout=patience_s,
                check=False,
                env={**os.environ, "TZ": "UTC", "LC_ALL": "C"},
            )
        except FileNotFoundError:
            raise _refused("there is no `ssh-keygen` on this machine", "install OpenSSH 8.2 or newer") from None
        except subprocess.TimeoutExpired:
            raise _refused(f"`ssh-keygen` did not end within {patience_s:g} s", "try again") from None


def _fingerprint(word: str) -> str:
    """As `ssh-keygen` prints that of a public key: SHA-256 of what its base64 part says; `""` for another word."""
    try:
        data = base64.b64decode(word, validate=True)
    except ValueError:
        return ""
    return "SHA256:" + base64.b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def _public(key: Path) -> str:
    """The base64 part of a public key, given by its own file or by that of the private one."""
    for path in (key.with_name(key.name + ".pub"), key):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            words = path.read_text("utf-8").split()
            if len(words) > 1 and words[0].startswith(("ssh-", "sk-", "ecdsa-")):
                return words[1]
    raise _refused(f"there is no public key at `{key}` or `{key}.pub`", "name the key to sign with: `--key FILE`")


@contextmanager
def _files(**texts: str) -> Iterator[Path]:
    """A folder of ours alone with these files in it, gone after the block."""
    with tempfile.TemporaryDirectory(prefix="dodai-sign-") as folder:
        for name, text in texts.items():
            (Path(folder) / name).write_text(text, "utf-8")
        yield Path(folder)


def _refused(message: str, fix: str) -> DodaiError:
    return DodaiError(APPROVAL_NEEDED, message, fix, exit_code=1)
