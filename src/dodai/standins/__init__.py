"""Stand-ins: stateful doubles of the vendors' APIs on this machine, with real parts behind them.

A driver is sent to one by its address and a token, and by nothing else; no driver imports them.
"""

from __future__ import annotations

from dodai.standins.api_fault import ApiFault, ApiFaults
from dodai.standins.standin_server import Asked, Exchange, Reply, StandIn, StandInRefusal, StandInRoute, route

__all__ = ["ApiFault", "ApiFaults", "Asked", "Exchange", "Reply", "StandIn", "StandInRefusal", "StandInRoute", "route"]
