"""The CSRF protection of a process, from its config: closed wherever nobody wrote a reason why it is off."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dodai.core.errors import DodaiError
from dodai.csrf.codes import (
    EXEMPTION_WITHOUT_SERVICE,
    KEYS_MALFORMED,
    MANIFEST_OF_ANOTHER,
    OFF_WITHOUT_SERVICE,
    OWN_CHECK_MISSING,
    OWN_CHECK_UNPROVEN,
    SERVICE_UNKNOWN,
)
from dodai.csrf.enforce import gate_of
from dodai.csrf.enforce.csrf_protection import CsrfProtection, is_plain_loopback
from dodai.csrf.enforce.entrance import own_check_seen
from dodai.csrf.policy import CsrfPolicy, Services, nobodys
from dodai.frameworks import lets_through, own_check, watch_own_check
from dodai.observability.codes import RUNTIME_SETTINGS

if TYPE_CHECKING:
    from dodai.runtime.config import RuntimeConfig
    from dodai.runtime.process import Runtime

_DEVELOPMENT = frozenset({"", "dev", "development", "local", "test"})
_LOUD = """\
dodai: DOD180 `DODAI_CSRF_KEYS` is not set: this process made a CSRF key of its own, for development. Its tokens are \
refused by every other process and after a restart. fix: set `DODAI_CSRF_KEYS` to `kid:base64url` with 32 random bytes
"""

_OFF = """\
dodai: `[service.{service}] csrf = "off"`: requests to its application are not checked for forgery, because: {reason}
"""

_REPORT = """\
dodai: `[csrf] mode = "report"`: forged requests to this application reach it, and their lines say so
"""

_NOT_WATCHED = """\
dodai: the `[[csrf.exemption]]` of {routes} does not hold here: nobody can see which handler a request gets to. fix: \
wrap the application itself, and put what stands in between around the wrapper
"""

_NO_MANIFEST = """\
dodai: no `dodai.toml` was found from `{folder}`, and `DODAI_MANIFEST` names none: what it says of `{service}` does \
not hold here. fix: set `DODAI_MANIFEST` to it
"""

_NO_SERVICE = """\
dodai: {why}: {keys} of the manifest does not hold here. fix: if `{manifest}` is its manifest, say which service it \
is where it is wrapped, `wrap(app, service="{service}")`, as the manifest calls it
"""


def csrf_for(
    runtime: Runtime,
    app: Any,
    service: str = "",
    subject: Callable[..., Any] | None = None,
    *,
    by_code: bool = True,
) -> CsrfProtection | None:
    """What decides about the state-changing requests of `app`; None only where the reason is written why nothing does.

    `service` is what the code says that the application is, `PROJECT/SERVICE` by the names in its manifest. What lets
    more requests pass in a manifest holds only in an application that says so: an environment variable or a working
    folder is easily that of another one. Without a manifest it is the code that may let them pass, by the config that
    it gives this application itself (`by_code`), and not by one that it gave another one before.

    Raises DOD180 for a bad ring, or for none outside a development setting; DOD181 for a bad origin; DOD184 for a mode
    that rests on the public origin when there is none; DOD186 for one that leaves the token to a check that is not on,
    DOD162 where that check lets forged requests through; DOD165 for a service that is none of the manifest's; DOD187
    for a manifest that is another application's; DOD188 where `DODAI_SERVICE` is one that is off, and the application
    does not say that it is it; DOD189 for an exemption of which nobody can say whose it is.
    """
    config = runtime.config
    services = config.sections.get("service") or {}
    named = _service_of(config, service, services, by_code=by_code)
    if reason := (by_code and config.csrf_off) or _reason(config.service, named, services):
        _tell(_OFF, service=named or config.service, reason=reason)
        return None
    policy = _policy_of(config, services)
    policy = policy.of_service(named, services) if named else _closed(policy, config, service, services)
    if policy.mode == "report":
        _tell(_REPORT)
    if policy.mode == "framework":
        _prove_own_check(app)
    development, origins = is_development(config), config.public_origins
    if service and not config.sections and not development:
        _tell(_NO_MANIFEST, folder=str(Path.cwd()), service=service)
    gate = gate_of(
        app,
        policy=policy,
        keys=config.csrf_keys or _own_key(runtime, development=development, needed=policy.mode != "framework"),
        origins=origins,
        subject=subject,
        # A developer's browser speaks plain http, in which a Secure cookie would not come back.
        secure=not development if not origins else None,
        development=development,
    )
    if policy.mode == "framework" and not (gate.watched and watch_own_check(app, own_check_seen)):
        raise _unproven("it cannot be seen in front of every handler whether the framework's own check has run")
    if policy.exemptions and not gate.watched:
        _tell(_NOT_WATCHED, routes=_listed(row.route for row in policy.exemptions))
    return gate


def _service_of(config: RuntimeConfig, said: str, services: Services, *, by_code: bool) -> str:
    """The service that the application is, `said` by its code; empty where it says none, or the manifest has none."""
    project, _, name = said.partition("/")
    own = str((config.sections.get("project") or {}).get("name") or "")
    if said and not (project and name):
        meant = f"{own or 'PROJECT'}/{name or (project if project != own else 'SERVICE')}"
        what = f'`wrap(..., service="{said}")` does not say which service of which project it is: `{meant}`'
        raise DodaiError(SERVICE_UNKNOWN, what, SERVICE_UNKNOWN.fix.en, exit_code=2)
    if config.manifest is None:
        return (name or config.service) if by_code else ""
    if said and project != own:
        what = f'`wrap(..., service="{said}")`, and `{config.manifest}` is the manifest of `{own}`'
        raise DodaiError(MANIFEST_OF_ANOTHER, what, MANIFEST_OF_ANOTHER.fix.en, exit_code=2)
    if said and services and name not in services:
        what = f'`wrap(..., service="{said}")`, and the manifest has {_listed(services)}'
        raise DodaiError(SERVICE_UNKNOWN, what, SERVICE_UNKNOWN.fix.en, exit_code=2)
    return name if name in services else ""


def _reason(given: str, named: str, services: Services) -> str:
    """Why requests to the service `named` are not checked; empty where they are.

    DOD188 where no name is given and `given`, what the process is called, is that of a service which is off.
    """
    row = services.get(named or given) or {}
    if row.get("csrf") != "off":
        return ""
    if not named:
        said = f'`DODAI_SERVICE` is `{given}`, which has `csrf = "off"`, and the application does not say that it is it'
        raise DodaiError(OFF_WITHOUT_SERVICE, said, OFF_WITHOUT_SERVICE.fix.en, exit_code=2)
    if not (reason := str(row.get("csrf_reason") or "").strip()):
        said = f'`[service.{named}] csrf = "off"` has no `csrf_reason`'
        fix = "write why no browser can make a forged request to this service, or remove the key"
        raise DodaiError(RUNTIME_SETTINGS, said, fix, exit_code=2)
    return reason


def _policy_of(config: RuntimeConfig, services: Services) -> CsrfPolicy:
    """`[csrf]`; DOD189 where it cannot be told whose an exemption is."""
    policy = CsrfPolicy.from_manifest(config.sections.get("csrf") or {})
    for row in policy.unassigned(services):
        code = EXEMPTION_WITHOUT_SERVICE
        raise DodaiError(code, nobodys(row, services), code.fix.en, exit_code=2)
    return policy


def _closed(policy: CsrfPolicy, config: RuntimeConfig, said: str, services: Services) -> CsrfPolicy:
    """What holds in an application that is no service of the manifest: nothing that lets more requests pass.

    What it would have, by what its process is called, is told; `said` is the name that the code gives it, if any.
    """
    given = config.service if config.service in services else ""
    exemptions = policy.of_service(given, services).exemptions if given else policy.exemptions
    reports = policy.mode == "report"
    keys = [f"the `[[csrf.exemption]]` of {_listed(row.route for row in exemptions)}"] * bool(exemptions)
    keys += ['`[csrf] mode = "report"`'] * reports + ["`[csrf] trusted_origins`"] * bool(policy.trusted_origins)
    why = f"the manifest has no service `{said}`" if said else "the application does not say which service it is"
    if keys:
        name = given or (next(iter(services)) if len(services) == 1 else "SERVICE")
        project = (config.sections.get("project") or {}).get("name")
        _tell(
            _NO_SERVICE,
            why=why,
            keys=" and ".join(keys),
            manifest=str(config.manifest),
            service=said or f"{project}/{name}",
        )
    return replace(policy, exemptions=(), trusted_origins=(), mode="both" if reports else policy.mode)


def _prove_own_check(app: Any) -> None:
    """Raise unless the framework's own check is on and, asked itself, refuses forged requests."""
    if not own_check(app):
        said = '`[csrf] mode = "framework"`, and the application has no check of its own that is on for every view'
        raise DodaiError(OWN_CHECK_MISSING, said, OWN_CHECK_MISSING.fix.en, exit_code=2)
    if said := lets_through(app):
        raise _unproven(said)


def _unproven(said: str) -> DodaiError:
    return DodaiError(
        OWN_CHECK_UNPROVEN, f'`[csrf] mode = "framework"`: {said}', OWN_CHECK_UNPROVEN.fix.en, exit_code=2
    )


def _tell(words: str, **named: str) -> None:
    """Say a line on standard error, at once: a server may end without flushing."""
    sys.stderr.write(words.format(**named))
    sys.stderr.flush()


def _listed(routes: Iterable[str]) -> str:
    return ", ".join(f"`{route}`" for route in routes)


def is_development(config: RuntimeConfig) -> bool:
    """True when nothing says that this is deployed: no release, no edge, no public origin beyond this machine, no keys.

    There a process may make a key of its own, cookies go over plain http, and what comes around the layer is only told.
    So one sign is enough against it; keys are none where `DODAI_ENV` itself says that this is for development.
    """
    if config.release or config.edge_key_file is not None or config.edge_keys or config.env not in _DEVELOPMENT:
        return False
    if config.csrf_keys and not config.env:
        return False
    table = (config.sections.get("env") or {}).get(config.env) or {}
    elsewhere = any(table.get(name) not in (None, "", "local") for name in ("provider", "compute", "edge"))
    if elsewhere or table.get("protected"):
        return False
    return not config.public_origins or is_plain_loopback(config.public_origins)


def _own_key(runtime: Runtime, *, development: bool, needed: bool) -> str:
    if needed and not development:
        raise DodaiError(KEYS_MALFORMED, "`DODAI_CSRF_KEYS` is not set", KEYS_MALFORMED.fix.en, exit_code=2)
    if not runtime.development_key:
        name = os.urandom(2).hex()  # tokens of another process are then told to be of an unknown key
        secret = base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode("ascii")
        runtime.development_key = f"{name}:{secret}"
        if needed:
            _tell(_LOUD)
    return runtime.development_key
