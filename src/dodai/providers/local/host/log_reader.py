"""What the Host kept of the output of its processes, read back with its times; needs no Host that runs."""

from __future__ import annotations

import contextlib
import heapq
import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import field
from pathlib import Path
from typing import BinaryIO

from dodai.core.dataclass import dataclass
from dodai.operations.ports.logs import LogLine
from dodai.providers.local.host.child import log_path
from dodai.providers.local.host.log_file import times_of

_RELEASE = re.compile(r"(.+)-([0-9a-f]{16})(?:\.\d+)?")
PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LogFolder:
    """`dodai.operations.ports.Logs` over a state folder; `services` are those that have releases."""

    folder: Path
    services: tuple[str, ...] = ()

    def parts(self) -> tuple[str, ...]:
        return tuple(sorted({self._part(path)[0] for path in self._files()}))

    def read(self, part: str = "", /, since_s: float = 0.0) -> Iterator[LogLine]:
        del since_s  # all of it is here, and is as quickly left out by whoever reads
        every = (self._lines(path) for path in self._files(part))
        return heapq.merge(*every, key=lambda line: line.at)

    def follow(self, part: str = "", /, since_s: float = 0.0) -> Iterator[LogLine | None]:
        del since_s
        followed: dict[Path, Followed] = {}
        try:
            while True:
                for path in self._files(part):
                    if path not in followed:
                        followed[path] = Followed(path)
                came = [(line, path) for path, file in followed.items() for line in file.more()]
                for (at, text), path in sorted(came, key=lambda one: one[0][0]):
                    yield LogLine(at, *self._part(path), text)
                if not came:
                    yield None
        finally:
            for file in followed.values():
                file.close()

    def _files(self, part: str = "") -> list[Path]:
        found = (self.folder / "logs").glob("*.log") if (self.folder / "logs").is_dir() else []
        return [path for path in sorted(found) if part in ("", self._part(path)[0])]

    def _part(self, path: Path) -> tuple[str, str]:
        """Whose output it is, and of which release."""
        name = path.name.removesuffix(".log")
        for service in sorted(self.services, key=len, reverse=True):
            start = log_path(self.folder, f"{service}-").name.removesuffix(".log")
            if name.startswith(start):
                return service, name.removeprefix(start).partition(".")[0]  # the number of an instance
        found = _RELEASE.fullmatch(name)  # of a service that the manifest does not name any more
        return (found[1], found[2]) if found else (name, "")

    def _lines(self, path: Path) -> Iterator[LogLine]:
        for file in (path.with_name(f"{path.name}.1"), path):
            with contextlib.closing(Followed(file, older=False)) as one:
                for at, text in one.more():
                    yield LogLine(at, *self._part(path), text)


@dataclass(slots=True)
class Followed:
    """One log from its beginning, also past a rotation or the end of its file; with the one before if `older`."""

    path: Path
    older: bool = True
    _file: BinaryIO | None = None
    _rest: bytes = b""
    _at: int = 0
    _times: list[tuple[int, float]] = field(default_factory=list)

    def more(self) -> Iterator[tuple[float, str]]:
        """Lines that came since it was asked the last time, each with its time."""
        if self.older:
            self.older = False
            with contextlib.closing(Followed(self.path.with_name(f"{self.path.name}.1"), older=False)) as before:
                yield from before.more()
        while True:
            if self._file is None and not self._open():
                return
            yield from self._read()
            if self._is_current():
                return
            yield from self._read()  # what was written between the last look and the moment it was moved away
            self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._rest, self._at = None, b"", 0

    def _open(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            self._file = self.path.open("rb")
        return self._file is not None

    def _is_current(self) -> bool:
        """Whether the path still names the file that is read; one that is gone may come back under the name."""
        assert self._file is not None  # noqa: S101 - asked only while it is open
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return True

    def _read(self) -> Iterator[tuple[float, str]]:
        assert self._file is not None  # noqa: S101 - read only while it is open
        times: list[tuple[int, float]] = []
        while data := self._file.read(PIECE_BYTES):
            times = times or self._look_at_times()
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                yield _time_at(times, self._at), line.decode(errors="replace").rstrip("\r")
                self._at += len(line) + 1

    def _look_at_times(self) -> list[tuple[int, float]]:
        """When the file was written: that of the name it has now, which may be that of the one before."""
        assert self._file is not None  # noqa: S101 - asked only while it is open
        for path in (self.path, self.path.with_name(f"{self.path.name}.1")):
            with contextlib.suppress(OSError):
                if os.path.samestat(path.stat(), os.fstat(self._file.fileno())):
                    return list(_times(times_of(path).read_text().splitlines()))
        return []


def _times(lines: Iterable[str]) -> Iterator[tuple[int, float]]:
    for line in lines:
        offset, _, at = line.partition(" ")
        with contextlib.suppress(ValueError):
            yield int(offset), float(at)


def _time_at(times: list[tuple[int, float]], offset: int) -> float:
    """When what stands at `offset` was written; 0 for nobody noted it."""
    found = bisect_right(times, (offset, float("inf")))
    return times[found - 1][1] if found else 0.0
