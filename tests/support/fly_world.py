"""An account at Fly on this machine: the stand-ins of the Machines API and of the registry, and an app that serves."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.vendor_spec import Allowed, Spec

from dodai.standins.fly import FlyStandIn, MachineImage, RegistryStandIn

TOKEN = "fm2_for-tests"
MACHINES_API = Spec(
    "fly-machines-2026.json",
    "https://api.machines.dev",
    (
        Allowed("every operation needs a token, and the file declares no 401 but for tokens", status=401),
        Allowed("a deploy token of another app is refused", status=403),
        Allowed("what is not there", status=404),
        Allowed("a request timed out waiting, as the prose of `wait` says", status=408),
        Allowed("a lease is held by somebody else; a name is taken (reports of users quote it)", status=409),
        Allowed("a machine that runs is not deleted without force", status=412),
        Allowed("ErrorResponse lists `insufficient_capacity`; no operation declares its status", status=422),
        Allowed("the page on rate limits", status=429),
        Allowed("logs are of the platform's API, transcribed from what flyctl asks", path="/api/v1/apps/"),
        Allowed("counters are of Prometheus behind the platform's API", path="/prometheus/"),
        Allowed("a gateway fails", status=500),
        Allowed("a gateway fails", status=502),
        Allowed("a gateway fails", status=503),
        Allowed("a gateway fails", status=504),
    ),
)
CHECK = {"type": "http", "path": "/readyz", "interval": "200ms", "timeout": "1s", "method": "get"}


def served(port: int = 443, check: Mapping[str, object] | None = None) -> dict:
    """The configuration of a machine as `fly launch` writes one."""
    service = {
        "protocol": "tcp",
        "internal_port": 8080,
        "ports": [{"port": port, "handlers": ["tls", "http"] if port == 443 else ["http"]}],
        "checks": [dict(CHECK if check is None else check)],
    }
    return {
        "env": {"PRIMARY_REGION": "nrt"},
        "guest": {"cpu_kind": "shared", "cpus": 1, "memory_mb": 256},
        "restart": {"policy": "on-failure", "max_retries": 1},
        "services": [service],
        "metadata": {"fly_platform_version": "v2", "fly_process_group": "app"},
    }


@dataclass(frozen=True)
class FlyWorld:
    """The stand-ins, and what a command needs to reach them."""

    fly: FlyStandIn
    registry: RegistryStandIn

    @property
    def variables(self) -> dict[str, str]:
        return {
            "FLY_API_TOKEN": f"FlyV1 {TOKEN}",  # as `fly tokens create` prints it
            "FLY_API_HOSTNAME": self.fly.url,
            "FLY_API_BASE_URL": self.fly.url,
            "FLY_REGISTRY_HOST": self.registry.host,
            "FLY_PROXY_LAG_S": str(self.fly.noticed_s),
        }

    def image(self, folder: Path, *command: str, name: str = "web", light: bool = False, index: bool = False) -> str:
        """An image of what is in `folder`, in the registry; its reference by digest."""
        return self.registry.push(name, MachineImage(str(folder), command, light=light), index=index)

    def settle(self, app: str) -> None:
        """Until every machine of the app passes its checks."""
        end = time.monotonic() + 20
        while not all(one.routable and one.checks for one in self.fly.machines(app)):
            assert time.monotonic() < end, self.fly.log(app)
            time.sleep(0.05)

    def calls(self, start: str = "") -> list[str]:
        """What was asked and changed something, in order."""
        return [
            f"{one.method} {one.path}"
            for one in self.fly.exchanges
            if one.method != "GET" and one.path.startswith(start)
        ]


@contextmanager
def fly_world(token: str = TOKEN, **options) -> Iterator[FlyWorld]:
    tokens = {token: frozenset({"*"}), "read-only": frozenset({"read"})}
    with RegistryStandIn(token) as registry, FlyStandIn(registry, tokens, **options) as fly:
        yield FlyWorld(fly, registry)
