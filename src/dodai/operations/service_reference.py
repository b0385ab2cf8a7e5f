"""References to services in environment variables: `{backend.address}` is where `backend` listens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from dodai.core.errors import DodaiError
from dodai.core.suggestion import nearest
from dodai.operations import codes
from dodai.operations.policy import Service

_REFERENCE = re.compile(r"\{([A-Za-z0-9][A-Za-z0-9_-]*)\.(address|host|port|url)\}")


def referred(service: Service) -> Iterator[tuple[str, str]]:
    """Each variable of `service` with the name of a service that its value refers to."""
    for variable, value in service.env.items():
        for match in _REFERENCE.finditer(value):
            yield variable, match[1]


def filled(value: str, addresses: Mapping[str, str]) -> str:
    """`value` with `address`, `host`, `port` and `url` of the services in `addresses` (`host:port` by name)."""

    def part(match: re.Match[str]) -> str:
        address = addresses[match[1]]
        host, _, port = address.rpartition(":")
        return {"address": address, "host": host, "port": port, "url": f"http://{address}"}[match[2]]

    return _REFERENCE.sub(part, value)


def require_services(service: Service, known: Sequence[str]) -> None:
    """DOD311 when a variable of `service` refers to a service that is not there."""
    for variable, name in referred(service):
        if name not in known:
            raise unknown_reference(service.name, variable, name, known)


def unknown_reference(service: str, variable: str, name: str, known: Sequence[str]) -> DodaiError:
    """DOD311 for a variable of `service` that refers to `name`."""
    near = nearest(name, known)
    return DodaiError(
        codes.UNKNOWN_REFERENCE,
        f"`{variable}` in `[service.{service}.env]` refers to `{name}`, and there is no `[service.{name}]`",
        f"did you mean `{near}`?" if near else codes.UNKNOWN_REFERENCE.fix.en,
        exit_code=2,
    )
