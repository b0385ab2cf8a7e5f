"""The edge gate: who knows the edge key is a trusted hop, everybody else is refused."""

from __future__ import annotations

import contextlib
import errno
import hmac
import sys
import time
from collections.abc import MutableMapping
from dataclasses import field
from pathlib import Path
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.runtime.config import KEY_FORM, RuntimeConfig, keys_of

EDGE_KEY_HEADER = b"x-edge-key"
_LENGTH = len(EDGE_KEY_HEADER)
LIVENESS_PATH = "/healthz"
_RELOAD_S = 1.0
_WANT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN, errno.EIO})
"""Errors of a machine in need, in which the keys that were read before still count."""
_ASKING = frozenset({"GET", "HEAD"})


@dataclass(slots=True)
class EdgeGate:
    """Compares `x-edge-key` in constant time with the keys in `file`, one per line, and those that it was `told`.

    A line that is no key (`KEY_FORM`), as a comment, opens nothing.

    Without either it is open. An edge that shares a file with us also strips what clients may not say; one whose key we
    were told, as a vendor's, passes on whatever they sent: its key opens the gate and vouches for nothing else.
    `health_path` is what the vendor's own checks ask for, from inside and without a key.

    A rotation needs no restart: a key that does not match makes it read the file again if that changed, so that a new
    key counts from its first use; and once a second it looks anyway, so that a key that was removed stops counting.
    A file that lost its keys, or cannot be read any more, closes it, loudly: a key that somebody took away on purpose
    must not go on counting. Who replaces a file renames a whole one over it, so nobody sees one that is half written.
    """

    file: Path | None
    told: tuple[str, ...] = ()
    health_path: str = ""
    _keys: tuple[bytes, ...] = ()
    _stamp: tuple[int, ...] = ()
    _checked_at: float = field(default=0.0)
    _lost: bool = False

    def __post_init__(self) -> None:
        if self.file is not None:
            self._load(self.file)
        elif self.told:
            self._keys = tuple(key.encode() for key in self.told)

    @property
    def is_open(self) -> bool:
        return self.file is None and not self.told

    @property
    def vouches(self) -> bool:
        """Whether who has a key is a hop of ours, whose ids, users and addresses count."""
        return self.file is not None

    def is_known(self, scope: MutableMapping[str, Any], headers: dict[bytes, bytes]) -> bool:
        """True when the request carries one valid key; removes every `x-edge-key` from `scope` and `headers`."""
        given = headers.pop(EDGE_KEY_HEADER, None)
        if given is None:
            return False
        sent = scope["headers"]
        if len(sent) == len(headers) + 1 and type(sent) is list:
            # No name stands twice, so the key is in there exactly once: the way of every request from the edge.
            try:
                at = sent.index((EDGE_KEY_HEADER, given))
            except ValueError:  # pairs that are lists
                pass
            else:
                scope["headers"] = remaining = sent.copy()
                del remaining[at]
                return self.knows(given)
        remaining = [pair for pair in sent if len(pair[0]) != _LENGTH or pair[0].lower() != EDGE_KEY_HEADER]
        single = len(sent) - len(remaining) == 1
        scope["headers"] = remaining
        return single and self.knows(given)

    def knows(self, given: bytes | None) -> bool:
        """True when `given`, what one `x-edge-key` said, is one of the keys; for who keeps headers in another form."""
        if given is None or self.is_open:
            return False
        return self._matches(given) if self.file is None else self._knows(given, self.file)

    def lets_pass(self, path: str, method: str) -> bool:
        """Whether a request without a key may go on: to ask for liveness or health, and everywhere while it is open."""
        return self.is_open or (method in _ASKING and path in (LIVENESS_PATH, self.health_path or LIVENESS_PATH))

    @property
    def reason(self) -> str:
        """Why a request is not trusted, as its line says it."""
        return "edge_keys_lost" if self._lost else "edge_key_missing"

    def _knows(self, given: bytes, file: Path) -> bool:
        now = time.monotonic()
        if now - self._checked_at >= _RELOAD_S:
            self._checked_at = now
            self._load(file)
        return self._matches(given) or (self._load(file) and self._matches(given))

    def _matches(self, given: bytes) -> bool:
        found = False
        for key in self._keys:
            found |= hmac.compare_digest(given, key)
        return found

    def _load(self, file: Path) -> bool:
        """True when there are other keys now; want of descriptors or memory says nothing about them."""
        try:
            status = file.stat()
            # the change time as well: what may be read is taken away without a new modification time
            stamp: tuple[int, ...] = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size)
            if stamp == self._stamp:
                return False
            keys = keys_of(file.read_bytes().splitlines())
            why = "" if keys else f"no line is one: {KEY_FORM}"
        except OSError as error:
            if error.errno in _WANT:
                return False
            keys, stamp, why = (), (), error.strerror or type(error).__name__
        changed = keys != self._keys
        self._keys, self._stamp = keys, stamp
        self._tell(file, why)
        return changed and bool(keys)

    def _tell(self, file: Path, why: str) -> None:
        """Say once that the gate is closed for everybody, and once that it is not any more."""
        if self._lost == bool(why):
            return
        self._lost = bool(why)
        said = f"has no key any more ({why}): every request is refused until it has one" if why else "has a key again"
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"dodai: the file of the edge's key `{file}` {said}\n")
            sys.stderr.flush()


def edge_gate(config: RuntimeConfig) -> EdgeGate:
    """The gate of a process; a file of keys goes before those in a variable, with which alone checks need no key."""
    if config.edge_key_file:
        return EdgeGate(config.edge_key_file)
    return EdgeGate(None, config.edge_keys, config.health_path)
