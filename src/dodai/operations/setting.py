"""What services are told beyond their release: addresses, the database, and secrets."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from dodai.core.database_url import with_login
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.csrf.policy import told
from dodai.operations import codes
from dodai.operations.environment import Environment
from dodai.operations.policy import Service
from dodai.operations.ports import Login
from dodai.operations.secret import (
    DATABASE_LOGIN,
    EDGE_KEY,
    KEY_RINGS,
    RotationState,
    entries,
    new_login,
    new_value,
    unfit,
)
from dodai.operations.service_limits import filled, referred, require_services

_FOR_PEERS = ("csrf", "dependency", "observability")


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The settings of `environment`'s services. `required`: the ids of the migrations of a release."""

    environment: Environment
    required: Callable[[str], Awaitable[tuple[str, ...]]]

    async def missing(self) -> tuple[str, ...]:
        """The names of secrets without a value; DOD562 (exit 1) for a value that no variable can carry."""
        known = self.environment.secrets.get()
        self._refuse_two_values(known)
        self._refuse_unfit((*KEY_RINGS, *self.environment.project.policy.secrets), known)
        login = (DATABASE_LOGIN,) if self.environment.logins else ()
        edge = (EDGE_KEY,) if self.environment.sends_key else ()
        names = (*KEY_RINGS, *login, *edge, *self.environment.project.policy.secrets)
        elsewhere = self.environment.config.control_secret
        return tuple(name for name in names if name != elsewhere and not known.get(name, "").strip())

    async def complete(self) -> None:
        """Every missing secret gets a random value where the store is for development; DOD560 elsewhere.

        DOD560 too for what its issuer makes, where services run at a vendor: nobody would accept a random one.
        """
        store, here = self.environment.secrets, self.environment
        missing = await self.missing()
        theirs = {one.name for one in here.project.policy.secrets.values() if one.rotation == "external"}
        others = theirs if here.host is None else set[str]()
        lacking = (name for name in missing if name not in (DATABASE_LOGIN, EDGE_KEY))
        if refused := tuple(name for name in lacking if not store.makes_up_values or name in others):
            raise self._without_value(refused)
        roles = self.environment.config.database_roles
        made = {name: new_login(roles) if name == DATABASE_LOGIN else new_value(name) for name in missing}
        store.put({**store.get(), **made})

    async def of_service(self, service: Service, release: str = "") -> Mapping[str, str]:
        """What `service` of `release` is told, secrets included; without a release nothing that depends on one."""
        here = self.environment
        policy, known, wanted = here.project.policy, here.secrets.get(), self.secret_names(service)
        if absent := tuple(name for name in wanted if not known.get(name, "").strip()):
            raise self._without_value(absent)
        self._refuse_unfit(wanted, known)
        self._refuse_two_values(known)
        values = {name: known[name] for name in wanted}
        if EDGE_KEY in values and service.ready_kind == "http":
            values["DODAI_HEALTH_PATH"] = service.ready_path  # the vendor's own checks come without the key
        if here.host is not None and here.edge_keys is None:
            values["DODAI_EDGE_KEY_FILE"] = ""  # the key of this machine's own edge, which stands before nobody here
        values["DODAI_PUBLIC_ORIGINS"] = ",".join(await here.origins())
        if service.kind == "server" and service.protocol == "http" and not service.app:
            project = here.released(release) if release else here.project
            values["DODAI_SETTINGS"] = peer_settings(project.manifest.data, service.name)
        for need in (name for name in service.needs if policy.services[name].kind == "server"):
            values[f"{_shout(need)}_ADDR"] = await here.compute.address(need)
        if service.name in policy.database.used_by:
            url, login = here.database.url(direct=False), Login.of(known.get(DATABASE_LOGIN, ""))
            signs_in = url and here.logins and login.role
            values[policy.database.variable] = with_login(url, login.role, login.password) if signs_in else url
            if release:
                values["DODAI_REQUIRED_SCHEMA"] = ",".join(await self.required(release))
        return values

    def _refuse_unfit(self, names: Iterable[str], known: Mapping[str, str]) -> None:
        for name in names:
            if reason := known.get(name, "").strip() and unfit(known[name]):
                said = f"the store of `{self.environment.name}` has a value for `{name}` that is of no use: {reason}"
                raise DodaiError(codes.SECRET_VALUE_UNUSABLE, said, codes.SECRET_VALUE_UNUSABLE.fix.en, exit_code=1)

    def _refuse_two_values(self, known: Mapping[str, str]) -> None:
        """DOD572 (exit 1) for a secret in the middle of its overlap that the manifest does not let overlap any more."""
        for secret in self.environment.project.policy.secrets.values():
            state = RotationState.read(known, secret.name)
            both = state is not None and state.overlaps and len(entries(known.get(secret.name, ""))) > 1
            if both and secret.rotation != "overlap":
                said = (
                    f"`{secret.name}` of `{self.environment.name}` has its old value beside the new one, and its "
                    f"`rotation` is `{secret.rotation}` now: its services would take both for one value"
                )
                raise DodaiError(codes.ROTATION_CHANGED, said, codes.ROTATION_CHANGED.fix.en, exit_code=1)

    def _without_value(self, names: tuple[str, ...]) -> DodaiError:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        said = f"`{self.environment.name}` has no value for `{names[0]}`{more}"
        return DodaiError(codes.SECRET_MISSING, said, codes.SECRET_MISSING.fix.en, exit_code=1)

    def secret_names(self, service: Service) -> tuple[str, ...]:
        """The variables of `service` that are secrets."""
        secrets = self.environment.project.policy.secrets.values()
        own = [secret.name for secret in secrets if service.name in secret.used_by]
        edge = (EDGE_KEY,) if self.environment.sends_key and service.public else ()
        return tuple(dict.fromkeys((*KEY_RINGS, *edge, *own)))

    async def own_variables(self, service: Service) -> Mapping[str, str]:
        """The variables that the manifest gives `service`, with the addresses they refer to; DOD311 for no service."""
        require_services(service, tuple(self.environment.project.policy.services))
        addresses = {name: await self.environment.compute.address(name) for _, name in referred(service)}
        return {name: filled(value, addresses) for name, value in service.env.items()}

    def digest(self, told: Mapping[str, str]) -> str:
        return self.environment.secrets.digest(told)


def peer_settings(sections: Mapping[str, Any], service: str) -> str:
    """What a web tier in another language needs of the manifest, as JSON: it has no TOML reader of its own.

    Of `[csrf]` that is what holds in `service`: it knows nothing of the others.
    """
    found = {name: sections[name] for name in _FOR_PEERS if name in sections}
    if "csrf" in found:
        found["csrf"] = told(found["csrf"], service, sections.get("service") or {})
    return json.dumps(found, sort_keys=True)


def _shout(name: str) -> str:
    return "".join(char if char.isalnum() else "_" for char in name).upper()
