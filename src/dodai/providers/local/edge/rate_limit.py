"""Rate limits of the edge: what each client was let through with lately, kept in memory and within bounds."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import field

from dodai.core.dataclass import dataclass
from dodai.operations.ports import RateLimit
from dodai.providers.local.edge.request_checks import readings

MOST_CLIENTS = 10_000
"""Of one limit; of more, those who asked the longest ago begin anew."""
IPV6_PREFIX = 64
"""What one line is given: within it a visitor has as many addresses as they like (RFC 6177)."""
SHARED = ("127.0.0.1", "::1", "")
"""Where everybody on this machine comes from who chose nothing else, dodai's own journeys among them."""


@dataclass(slots=True)
class RateLimiter:
    """Counts what was let through, in a window that moves with the clock; what was refused does not count.

    `clock` is monotonic, `wall` what a relief ends by.
    """

    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    most_clients: int = MOST_CLIENTS
    _let_in: dict[str, OrderedDict[str, deque[float]]] = field(default_factory=dict)

    def refused(self, limits: Sequence[RateLimit], method: str, target: bytes, address: str) -> tuple[str, float]:
        """The limit that holds this request back and for how many seconds; ("", 0.0) where it was let in, and counted.

        An address that everybody of this machine shares says nothing about who asks: it is never held back.
        """
        client, now = _client(address), self.clock()
        if not client:
            return "", 0.0
        asked = [limit for limit in limits if self._concerns(limit, method, target)]
        counted = [(limit, self._times(limit, client, now)) for limit in asked]
        full = [
            (times[0] + limit.window_s - now, limit.name) for limit, times in counted if len(times) >= limit.requests
        ]
        if full:
            wait_s, name = max(full)
            return name, wait_s
        for _, times in counted:
            times.append(now)
        return "", 0.0

    def _concerns(self, limit: RateLimit, method: str, target: bytes) -> bool:
        return method in limit.methods and self.wall() >= limit.relieved_until_s and _leads_to(limit.path, target)

    def _times(self, limit: RateLimit, client: str, now: float) -> deque[float]:
        """When the client was let in within the window."""
        clients = self._let_in.setdefault(limit.name, OrderedDict())
        times = clients.setdefault(client, deque())
        clients.move_to_end(client)
        while len(clients) > self.most_clients:
            clients.popitem(last=False)
        while times and times[0] <= now - limit.window_s:
            times.popleft()
        return times


def _leads_to(path: str, target: bytes) -> bool:
    """Whether a server may take the target for the path, however it is spelled."""
    wanted = path.rstrip("*").encode()
    every = readings(target.partition(b"?")[0])
    return any(one.startswith(wanted) if path.endswith("*") else one == wanted for one in every)


def _client(address: str) -> str:
    """Who asks, by the address that they came from; `""` for whoever is on this machine."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        parsed = parsed.ipv4_mapped or parsed
    if str(parsed) in SHARED:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed)


def client_of(peer: str, header: str, headers: Sequence[tuple[bytes, bytes]]) -> str:
    """The address of whoever asks: the peer, or what a proxy on this machine says in the declared `header`.

    The last value of the last such header counts: what stands before it came with the request, from anybody.
    """
    if not header or peer not in SHARED:
        return peer
    name = header.lower().encode()
    said = [value for field_name, value in headers if field_name.lower() == name]
    last = said[-1].rpartition(b",")[2].strip().decode("latin-1") if said else ""
    try:
        return str(ipaddress.ip_address(last))
    except ValueError:
        return peer
