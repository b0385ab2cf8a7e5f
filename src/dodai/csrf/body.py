"""The token field of a form, searched for while the body arrives, so that no more is read than is needed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, Protocol
from urllib.parse import unquote_to_bytes

SearchState = Literal["more", "found", "missing", "duplicated", "too_late", "unreadable"]

BUFFER_BYTES = 256 * 1024
"""How much may be held back in front of the token, files included; what a refused upload can cost in memory."""

_HEADER_BYTES = 16 * 1024
_PADDING_BYTES = 128
_VALUE_BYTES = 1024
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]", re.ASCII)
_PARAMETER = re.compile(
    rb';[ \t]*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^;"\s]*)[ \t]*', re.DOTALL
)


class Search(Protocol):
    """A search that is fed the body and says when it has seen enough; `value` is set when `state` is `found`."""

    state: SearchState
    value: str

    def feed(self, chunk: bytes, *, last: bool) -> SearchState: ...


def open_search(content_types: Sequence[bytes], field: str, search_bytes: int) -> Search | SearchState:
    """The search for a body of this content type, or its outcome when no byte has to be read.

    `missing`: the type has no form fields (JSON, text/plain, none). `unreadable`: it contradicts itself.
    """
    if len(content_types) != 1:
        return "unreadable" if content_types else "missing"
    media, semicolon, rest = content_types[0].partition(b";")
    kind = media.strip().lower()
    if kind == b"application/x-www-form-urlencoded":
        return UrlencodedSearch(field.encode(), search_bytes)
    if kind != b"multipart/form-data":
        return "missing"
    parameters = parse_parameters(semicolon + rest)
    boundary = parameters.get(b"boundary", b"") if parameters is not None else b""
    if not _BOUNDARY.fullmatch(boundary):
        return "unreadable"
    return MultipartSearch(field.encode(), boundary, search_bytes)


def parse_parameters(text: bytes) -> dict[bytes, bytes] | None:
    """The `; name=value` parameters of a header, names in lower case; None when malformed or a name stands twice."""
    found: dict[bytes, bytes] = {}
    position = 0
    text = text.rstrip(b" \t;")
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None or match[1].lower() in found:
            return None
        value = match[2]
        found[match[1].lower()] = (
            re.sub(rb"\\(.)", rb"\1", value[1:-1], flags=re.DOTALL) if value[:1] == b'"' else value
        )
        position = match.end()
    return found


class UrlencodedSearch:
    """The first `search_bytes` of `name=value&name=value`."""

    __slots__ = ("_data", "_field", "_limit", "state", "value")

    def __init__(self, field: bytes, search_bytes: int) -> None:
        self._field = field
        self._limit = search_bytes
        self._data = bytearray()
        self.state: SearchState = "more"
        self.value = ""

    def feed(self, chunk: bytes, *, last: bool) -> SearchState:
        if last and not self._data and len(chunk) <= self._limit:
            self.state = self._read(chunk, cut=False)
            return self.state
        cut = len(self._data) + len(chunk) > self._limit
        self._data += chunk[: self._limit - len(self._data)]
        if last or cut:
            self.state = self._read(bytes(self._data), cut=cut)
        return self.state

    def _read(self, data: bytes, *, cut: bool) -> SearchState:
        pairs = data.split(b"&")
        if cut:
            pairs.pop()
        found, field = [], self._field
        for pair in pairs:
            name, _, value = pair.partition(b"=")
            if name == field or ((b"%" in name or b"+" in name) and _unquoted(name) == field):
                found.append(value)
        if not found:
            return "too_late" if cut else "missing"
        if len(found) > 1:
            return "duplicated"
        self.value = _unquoted(found[0][: 3 * _VALUE_BYTES]).decode("latin-1")
        return "found"


def _unquoted(text: bytes) -> bytes:
    spaced = text.replace(b"+", b" ")
    return unquote_to_bytes(spaced) if b"%" in spaced else spaced


class MultipartSearch:
    """The parts of a `multipart/form-data` body (RFC 7578) up to the first file behind the token.

    A part with a `filename` is a file: it is skipped, and is never the token. At most `search_bytes` of everything else
    and `BUFFER_BYTES` of all are looked at.
    """

    __slots__ = ("_data", "_delimiter", "_field", "_found", "_left", "_part", "_pos", "_seen", "state", "value")

    def __init__(self, field: bytes, boundary: bytes, search_bytes: int) -> None:
        self._field = field
        self._delimiter = b"\r\n--" + boundary
        self._left = search_bytes
        self._seen = 0
        self._data = b""
        self._pos = 0
        self._part: Literal["start", "preamble", "delimiter", "headers", "field", "token", "file"] = "start"
        self._found: list[bytes] = []
        self.state: SearchState = "more"
        self.value = ""

    def feed(self, chunk: bytes, *, last: bool) -> SearchState:
        self._data = self._data[self._pos :] + chunk if self._pos < len(self._data) else chunk
        self._pos = 0
        self._seen += len(chunk)
        while self.state == "more" and self._step(last=last):
            pass
        if self.state == "more" and self._left < 0:
            self._end("too_late")
        if self.state == "more" and self._seen > BUFFER_BYTES:
            self._end("too_late")
        if self.state == "more" and last:
            self._end("unreadable")
        return self.state

    def _step(self, *, last: bool) -> bool:
        """Consume one piece; False when more data is needed."""
        if self._part == "start":
            return self._start(last=last)
        if self._part == "delimiter":
            return self._after_delimiter()
        if self._part == "headers":
            return self._headers()
        return self._content()

    def _start(self, *, last: bool) -> bool:
        first = self._delimiter[2:]
        if len(self._data) < len(first) and not last:
            return False
        if self._data.startswith(first):
            self._pos, self._part = len(first), "delimiter"
        else:
            self._part = "preamble"
        return True

    def _content(self) -> bool:
        end = self._data.find(self._delimiter, self._pos)
        stop = end if end >= 0 else max(self._pos, len(self._data) - len(self._delimiter) + 1)
        if self._part == "token" and len(self._found[-1]) <= _VALUE_BYTES:
            self._found[-1] += self._data[self._pos : min(stop, self._pos + _VALUE_BYTES + 1)]
        if self._part != "file":
            self._left -= stop - self._pos
        self._pos = stop
        if end < 0 or self._left < 0:
            return False
        self._pos, self._part = end + len(self._delimiter), "delimiter"
        return True

    def _after_delimiter(self) -> bool:
        data, pos = self._data, self._pos
        if len(data) - pos < 2:
            return False
        if data.startswith(b"--", pos):
            self._end("missing")
            return False
        end = data.find(b"\r\n", pos, pos + _PADDING_BYTES)
        if data[pos : end if end >= 0 else pos + _PADDING_BYTES].strip(b" \t\r"):
            self._end("unreadable")
            return False
        if end < 0:
            if len(data) - pos >= _PADDING_BYTES:
                self._end("unreadable")
            return False
        self._pos, self._part = end, "headers"
        return True

    def _headers(self) -> bool:
        end = self._data.find(b"\r\n\r\n", self._pos, self._pos + _HEADER_BYTES)
        if end < 0:
            if len(self._data) - self._pos >= _HEADER_BYTES:
                self._end("unreadable")
            return False
        lines = self._data[self._pos : end].split(b"\r\n")[1:]
        self._left -= end + 4 - self._pos
        self._pos = end + 4
        if any(b"\r" in line or b"\n" in line for line in lines):
            self._end("unreadable")  # werkzeug ends the headers at two of them: the value would be another one there
            return False
        return self._open_part(lines) and self._left >= 0

    def _open_part(self, lines: list[bytes]) -> bool:
        name, is_file = disposition(lines)
        if name is None:
            self._end("unreadable")
            return False
        self._part = "file" if is_file else "field"
        if is_file and self._found:
            self._end("found")
            return False
        if name == self._field and not is_file:
            self._part = "token"
            self._found.append(b"")
        return True

    def _end(self, outcome: SearchState) -> None:
        complete = self._found[:-1] if self._part == "token" else self._found
        if len(self._found) > 1:
            self.state = "duplicated"
        elif complete:
            self.state, self.value = "found", complete[0].decode("latin-1")
        else:
            self.state = outcome


def disposition(lines: list[bytes]) -> tuple[bytes | None, bool]:
    """(field name, is it a file) of the headers of one part; a name of None: they cannot be read."""
    found: list[bytes] = []
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            return None, False
        name, colon, value = line.partition(b":")
        if colon and name.strip().lower() == b"content-disposition":
            found.append(value.strip())
    if len(found) != 1:
        return (None, False) if found else (b"", False)
    kind, semicolon, rest = found[0].partition(b";")
    parameters = parse_parameters(semicolon + rest)
    if parameters is None or kind.strip().lower() != b"form-data":
        return None, False
    return parameters.get(b"name", b""), b"filename" in parameters or b"filename*" in parameters
