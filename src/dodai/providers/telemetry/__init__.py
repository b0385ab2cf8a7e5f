"""An engine that telemetry is read back from, asked over HTTP: VictoriaLogs, for lines.

Standard library only: `dodai trace` asks, and loading an HTTP client takes longer than its whole lookup in files. The
`Authorization` of the environment is sent to the engine and never on a redirect.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from dodai.core.dataclass import dataclass

VARIABLE = "DODAI_TELEMETRY_AUTHORIZATION"
TIMEOUT_S = 30.0


class _Stay(HTTPRedirectHandler):
    """The library would send the header on to wherever a redirect leads."""

    def redirect_request(self, *_: object) -> None:
        return None


@contextmanager
def answer(
    address: str, path: str, query: Mapping[str, str], environ: Mapping[str, str] = os.environ
) -> Iterator[IO[bytes]]:
    """The body of what `address` answers; raises `OSError` with its status, and `ValueError` before a secret would be
    sent in the clear.
    """
    request = Request(f"{address.rstrip('/')}{path}?{urlencode(query)}")  # noqa: S310 - the callers take http and https
    if said := environ.get(VARIABLE, ""):
        if not _private(address):
            raise ValueError(f"{VARIABLE} is set and would be readable on the way: use https")
        request.add_header("Authorization", said)
    try:
        with build_opener(_Stay).open(request, timeout=TIMEOUT_S) as body:
            yield body
    except HTTPError as error:
        hint = "" if error.code not in (401, 403) else f", set {VARIABLE}" if not said else f" to what {VARIABLE} says"
        raise OSError(f"answered {error.code}{hint}") from error
    except URLError as error:
        raise OSError(str(error.reason)) from error


def _private(address: str) -> bool:
    """Whether nobody on the way can read it."""
    target = urlsplit(address)
    if target.scheme == "https":
        return True
    try:
        return ip_address(target.hostname or "").is_loopback
    except ValueError:
        return target.hostname == "localhost"


_MOST = 5000


@dataclass(frozen=True, slots=True)
class VictoriaLogs:
    """`dodai.observability.ports.KeptLines` at `address`."""

    address: str

    def lines(self, ids: Sequence[str], since_s: float, until_s: float | None) -> tuple[list[dict[str, Any]], int]:
        asked = {"query": " or ".join(f'"{one}"' for one in ids), "limit": str(_MOST), "start": f"{since_s:.0f}"}
        if until_s is not None:
            asked["end"] = f"{until_s:.0f}"
        found, torn = [], 0
        with answer(self.address, "/select/logsql/query", asked) as rows:
            for row in rows:
                try:
                    line = json.loads(json.loads(row)["_msg"])
                except (ValueError, KeyError, TypeError):
                    torn += 1
                    continue
                if isinstance(line, dict):
                    found.append(line)
                else:
                    torn += 1
        return found, torn
