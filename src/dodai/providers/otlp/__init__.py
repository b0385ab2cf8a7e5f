"""OTLP over HTTP, protobuf, and remote write: where lines, spans and metrics leave to. https://opentelemetry.io/docs/specs/otlp/"""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping, Sequence
from dataclasses import field

import httpx2

from dodai.core.dataclass import dataclass
from dodai.observability.policy import ExportSection
from dodai.observability.ports import RetryLaterError
from dodai.providers.otlp.counters import HEADERS, Series, metrics, snappy, write_request
from dodai.providers.otlp.records import Line, logs, spans

TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Otlp:
    """`dodai.observability.ports.Destination` at `section.url`. A path that is empty takes nothing."""

    section: ExportSection
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def send(self, lines: Sequence[tuple[Line, bytes]]) -> None:
        """Twice the same is possible when the first answer was lost; a record has its ids to tell by."""
        if self.section.logs:
            self._post(self.section.logs, logs(lines))
        if self.section.traces and (body := spans(lines)):
            self._post(self.section.traces, body)

    def measure(self, counters: Sequence[Series], since_s: float, now_s: float) -> None:
        if self.section.metrics and counters:
            self._post(self.section.metrics, metrics(counters, since_s, now_s))

    def write(self, exposition: str, now_s: float, instance: str) -> None:
        packed = snappy(write_request(exposition, now_s, instance))
        self._send(self.section.remote_write, packed, HEADERS)

    def _post(self, path: str, body: bytes) -> None:
        headers = {"content-type": "application/x-protobuf", "content-encoding": "gzip"}
        self._send(path, gzip.compress(body, 1), headers)

    def _send(self, path: str, packed: bytes, known: Mapping[str, str]) -> None:
        headers = dict(known)
        if self.section.variable:
            headers["authorization"] = self.environ.get(self.section.variable, "")
        try:
            url = self.section.url.rstrip("/") + path
            answer = httpx2.post(url, content=packed, headers=headers, timeout=TIMEOUT_S)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise OSError(f"no answer ({type(error).__name__})") from error
        if answer.status_code >= 300:
            after = answer.headers.get("retry-after", "")
            if after.isdigit():
                raise RetryLaterError(f"answered {answer.status_code}, come back in {after} s", float(after))
            raise OSError(f"answered {answer.status_code}")
