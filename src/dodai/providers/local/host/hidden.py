"""What must not be written down: the secrets of a process, found in what it says, also when they arrive in pieces."""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from heapq import heapify, heappop, heapreplace
from urllib.parse import quote, unquote, urlsplit

HIDDEN = b"[secret]"
SHORTEST_SECRET = 6  # shorter ones would blot out ordinary words
SHORTEST_LINE = 16  # of a value with several lines, such as a key in PEM, each is a secret of its own
_SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSWORD|PASSWD|KEY|CREDENTIAL|DSN")


class Mask:
    """Replaces every one of `values` in a stream of bytes.

    `feed` holds back what may be the beginning of a value until more comes; `rest` gives it out.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        # Not one regular expression of them all: `re` keeps up to 512 for as long as the process lives, with the
        # secrets of every release that ever was in them.
        self._values = {form.encode() for value in values for form in _forms(value)}
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        data = self._held + data
        cut = self._begins(data)
        self._held = data[cut:]
        return self.of(data[:cut])

    def rest(self) -> bytes:
        held, self._held = self._held, b""
        return self.of(held)

    def of(self, data: bytes) -> bytes:
        """`data`, which is whole, without the values."""
        kept, position = [], 0
        for start, end in self._found(data):
            kept += [data[position:start], HIDDEN]
            position = end
        return b"".join([*kept, data[position:]]) if kept else data

    def _found(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Where values stand in `data`, none over another: of those that begin first the longest."""
        found = [(start, -len(value), value) for value in self._values if (start := data.find(value)) >= 0]
        heapify(found)
        position = 0
        while found:
            start, negative, value = found[0]
            if start >= position:
                position = start - negative
                yield start, position
            following = data.find(value, position)
            if following < 0:
                heappop(found)
            else:
                heapreplace(found, (following, negative, value))

    def _begins(self, data: bytes) -> int:
        """Where the first value begins that `data` may have only the beginning of; its length for nowhere."""
        cut = len(data) - max((_overlap(data, value) for value in self._values), default=0)
        crossing = (start for start, end in self._found(data) if start < cut < end)
        return min(crossing, default=cut)


def _overlap(data: bytes, value: bytes) -> int:
    """How many bytes at the end of `data` are the beginning, and not the whole, of `value`."""
    return next((size for size in range(min(len(value) - 1, len(data)), 0, -1) if data.endswith(value[:size])), 0)


def _forms(value: str) -> Iterator[str]:
    """A value as programs print it: as it is, inside JSON, inside a URL, in base64, and line by line."""
    yield value
    yield from (encode(value.encode()).decode().rstrip("=") for encode in (b64encode, urlsafe_b64encode))
    yield json.dumps(value)[1:-1]
    yield quote(value, safe="")
    yield from (line for line in map(str.strip, value.splitlines()[1:-1]) if len(line) >= SHORTEST_LINE)


def secret_values(environment: Mapping[str, str], names: Iterable[str] = ()) -> set[str]:
    """What must not be written down: the values of `names`, values under names that say so, passwords inside URLs."""
    declared = frozenset(names)
    found = {
        value
        for name, value in environment.items()
        if name in declared or (_SECRET_NAME.search(name) and not name.endswith("_FILE"))
    }
    found |= {part.rpartition(":")[2] for value in found for part in value.split(",")}  # key rings: `kid:key,kid:key`
    for value in environment.values():
        password = _password(value)
        found |= {password, unquote(password)}
    return {value for value in found if len(value) >= SHORTEST_SECRET}


def _password(value: str) -> str:
    """As it stands in the URL, which may be percent-encoded."""
    try:
        return urlsplit(value).password or "" if "://" in value else ""
    except ValueError:
        return ""
