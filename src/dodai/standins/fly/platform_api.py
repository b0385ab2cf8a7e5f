"""The API of the platform, `api.fly.io`, which is not a part of the Machines API: output of an app and its counters."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dodai.core.dataclass import dataclass
from dodai.standins.fly.app_logs import AppLogs
from dodai.standins.fly.app_metrics import AppMetrics
from dodai.standins.fly.machine_process import FlyAppState
from dodai.standins.standin_server import Asked, Handler, Reply, StandInRoute, route

ORGANISATION = "standin"
_MACAROON = re.compile("(fm1r|fm1a|fm2)_")


@dataclass(frozen=True, slots=True)
class PlatformApi:
    """Of the apps of one organisation."""

    apps: Mapping[str, FlyAppState]
    logs: AppLogs
    metrics: AppMetrics

    def routes(self) -> list[StandInRoute]:
        return [
            route("GET", "/api/v1/apps/{app}/logs", _under(self._logs), "read"),
            route("GET", "/prometheus/{organisation}/api/v1/query_range", _under(self._query_range), "read"),
        ]

    def _logs(self, asked: Asked) -> Reply:
        if asked.params["app"] not in self.apps:
            return Reply(404, {"error": "app not found"})
        token, instance, region = (asked.query.get(name, "") for name in ("next_token", "instance", "region"))
        if token and not token.isdigit():
            return Reply(400, {"error": "next_token is not one of ours"})
        return Reply(200, self.logs.page(asked.params["app"], token, instance, region))

    def _query_range(self, asked: Asked) -> Reply:
        if asked.params["organisation"] != ORGANISATION:
            return Reply(404, {"error": "organization not found"})
        found = self.metrics.query_range(asked.query)
        if found is None:
            return Reply(422, {"status": "error", "errorType": "422", "error": "cannot parse the query"})
        return Reply(200, {"status": "success", "data": {"resultType": "matrix", "result": found}})


def _under(handler: Handler) -> Handler:
    """`FlyV1` before what `fly tokens create` makes, `Bearer` before other tokens, and nothing else: 401.

    https://fly.io/docs/monitoring/metrics/, and `BubblegumHeader` of superfly/fly-go tokens/tokens.go for the log.
    """

    def answered(asked: Asked) -> Reply:
        told = asked.headers.get("authorization", "")
        token = bare(told)
        wanted = f"{'FlyV1' if _MACAROON.match(token) else 'Bearer'} {token}"
        return handler(asked) if told == wanted else Reply(401, {"error": "not authenticated"})

    return answered


def bare(authorization: str) -> str:
    """A token without the schemes before it."""
    return re.sub(r"^((Bearer|FlyV1)\s+)*", "", authorization.strip(), flags=re.IGNORECASE)
