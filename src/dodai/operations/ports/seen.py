"""What a look at an environment came to: rows of `dodai doctor`, origins, ports; plain values."""

from __future__ import annotations

from typing import Literal

from dodai.core.dataclass import dataclass
from dodai.core.errors import Code, DodaiError

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

    @property
    def let_in(self) -> tuple[str, ...]:
        """Each of the two requests that was not refused, in words."""
        hows = ("without the edge's key", "with a forged one")
        answered = zip(self.statuses, hows, strict=False)
        return tuple(f"`{self.address}` answers {status} {how}" for status, how in answered if status != REFUSED)


@dataclass(frozen=True, slots=True)
class PortSeen:
    """Whether an address took a connection; `unknown`: why that could not be tried."""

    address: str
    taken: bool = False
    refused_by: str = ""
    unknown: str = ""


RowState = Literal["ok", "warning", "absent", "missing"]
"""`absent`: it is not there, and nothing here needs it; `missing`: something does."""


@dataclass(frozen=True, slots=True)
class DoctorRow:
    """One thing that was looked at: what it is, what was seen, and what to do when it is not good.

    `code`: the account of a vendor is not as the manifest says, or (`remark`) the manifest says nothing of it and a
    person should know. `unseen`: it could not be looked at, so nobody knows how it is.
    """

    name: str
    verdict: RowState
    seen: str
    needed_for: str = ""
    fix: str = ""
    code: Code | None = None
    remark: bool = False
    unseen: bool = False


def row_of_error(name: str, error: DodaiError, needed_for: str, code: Code) -> DoctorRow:
    """A thing that could not be looked at, or that is known not to be there: `error.data` says `absent` then."""
    absent = bool(error.data.get("absent"))
    return DoctorRow(
        name, "missing", error.message, needed_for, error.fix, code=code if absent else None, unseen=not absent
    )
