"""What a look at the network of an environment came to: plain values, one for each thing that was tried."""

from __future__ import annotations

from dodai.core.dataclass import dataclass

REFUSED = 403
"""What a service answers to who does not come through its edge."""


@dataclass(frozen=True, slots=True)
class OriginSeen:
    """How an origin answered. `problem` is what is wrong with its TLS, `plain` with its answer to plain http.

    `old_tls` is a version below 1.2 that it accepts. `unreachable`: why nothing was seen. `unknown`: what else was not
    seen, and why.
    """

    origin: str
    version: str = ""
    problem: str = ""
    ends_in_s: float | None = None
    old_tls: str = ""
    plain: str = ""
    unreachable: str = ""
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class DirectSeen:
    """The statuses of requests beside the edge, without its key and with a forged one; `refused_by`: no connection.

    `unknown`: why neither proves anything.
    """

    address: str
    statuses: tuple[int, ...] = ()
    refused_by: str = ""
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class PortSeen:
    """Whether an address took a connection; `unknown`: why that could not be tried."""

    address: str
    taken: bool = False
    refused_by: str = ""
    unknown: str = ""
