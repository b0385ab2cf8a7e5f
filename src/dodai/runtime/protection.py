"""The CSRF protection of a process, from its config: closed wherever nobody wrote a reason why it is off."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dodai.core.errors import DodaiError
from dodai.core.refusal import Refusal
from dodai.csrf.codes import (
    EXEMPTION_WITHOUT_SERVICE,
    KEYS_MALFORMED,
    MANIFEST_OF_ANOTHER,
    OFF_FOR_ANOTHER,
    OWN_CHECK_MISSING,
    OWN_CHECK_UNPROVEN,
)
from dodai.csrf.enforce import gate_of
from dodai.csrf.enforce.csrf_protection import CsrfProtection, is_plain_loopback
from dodai.csrf.enforce.entrance import own_check_seen
from dodai.csrf.policy import CsrfPolicy, checked_services, nobodys
from dodai.frameworks import lets_through, own_check, watch_own_check
from dodai.runtime.own_application import OwnApplication, stranger_to

if TYPE_CHECKING:
    from dodai.runtime.config import RuntimeConfig
    from dodai.runtime.process import Runtime

_DEVELOPMENT = frozenset({"", "dev", "development", "local", "test"})
_LOUD = """\
dodai: DOD180 `DODAI_CSRF_KEYS` is not set: this process made a CSRF key of its own, for development. Its tokens are \
refused by every other process and after a restart. fix: set `DODAI_CSRF_KEYS` to `kid:base64url` with 32 random bytes
"""

_NAMELESS = """\
dodai: `DODAI_SERVICE` is not set or names none of the services of the manifest (`{service}`): no `[[csrf.exemption]]` \
holds in this process. fix: set `DODAI_SERVICE` to the service whose application this is
"""

_NOT_ITS_APPLICATION = """\
dodai: {doubt}: the `[[csrf.exemption]]` of {routes} does not hold here. fix: set `DODAI_SERVICE` to the service whose \
application this is, or name the application in its `app`, and in `cwd` where it is imported from
"""

_OFF = """\
dodai: `[service.{service}] csrf = "off"`: requests to its application are not checked for forgery, because: {reason}
"""


_OFF_ELSEWHERE = "dodai: {code} {unseen}. fix: {fix}\n"

_REPORT = """\
dodai: `[csrf] mode = "report"`: forged requests to this process reach the application, and their lines say so
"""

_NOT_WATCHED = """\
dodai: the `[[csrf.exemption]]` of {routes} does not hold here: nobody can see which handler a request gets to. fix: \
wrap the application itself, and put what stands in between around the wrapper
"""

_OF_ANOTHER = """\
dodai: {doubt}: {keys} of its `[csrf]` does not hold here. fix: set `DODAI_SERVICE` to the service whose application \
this is, or name the application in its `app`, and in `cwd` where it is imported from
"""


class Unchecked:
    """What stands in front of an application whose requests nobody checks: only that of the service that is off."""

    refusal = Refusal(403, OFF_FOR_ANOTHER, "csrf_off_for_another")

    def __init__(self, own: OwnApplication) -> None:
        self._own = own
        self._told = False

    @property
    def is_settled(self) -> bool:
        """Whether this is the application of the service, whatever else comes."""
        return self._own.is_settled

    def lets_pass(self) -> bool:
        """Whether this is the application of the service; where it is not, that is said, once."""
        if self._own.is_own():
            return True
        if not self._told:
            self._told = True
            _tell(_OFF_ELSEWHERE, code=OFF_FOR_ANOTHER.id, unseen=self._own.unseen, fix=OFF_FOR_ANOTHER.fix.en)
        return False


class NotItsApplicationError(Exception):
    """Raised in front of an application that is not the one which is served unchecked."""

    refusal = Unchecked.refusal


def csrf_for(
    runtime: Runtime, app: Any, layer: Any, subject: Callable[..., Any] | None = None
) -> CsrfProtection | Unchecked:
    """What decides about the state-changing requests of `app` in `layer`; `Unchecked` only where `csrf_off` says why.

    Raises DOD180 for a bad ring, or for none outside a development setting; DOD181 for a bad origin; DOD184 for a mode
    that rests on the public origin when there is none; DOD186 for one that leaves the token to a check that is not on,
    DOD162 where that check lets forged requests through; DOD187 for a manifest that is another application's, DOD188
    where it is off for a service whose application this is not; DOD189 for an exemption of which nobody can say whose
    it is.
    """
    config = runtime.config
    if config.found is not None and (source := stranger_to(config.found, config.sections)):
        said = (
            f"`{source}` would be served by the rules of `{config.found}`, which nobody named and which is not its own"
        )
        raise DodaiError(MANIFEST_OF_ANOTHER, said, MANIFEST_OF_ANOTHER.fix.en, exit_code=2)
    if config.csrf_off:
        return _off(config, app, layer)
    development = is_development(config)
    own = OwnApplication(app, layer, config, strict=not development)
    policy = _policy_of(config, own)
    if policy.mode == "framework":
        _prove_own_check(app)
    origins = config.public_origins

    def gate_for(policy: CsrfPolicy) -> CsrfProtection:
        return gate_of(
            app,
            policy=policy,
            keys=config.csrf_keys or _own_key(runtime, development=development, needed=policy.mode != "framework"),
            origins=origins,
            subject=subject,
            # A developer's browser speaks plain http, in which a Secure cookie would not come back.
            secure=not development if not origins else None,
            development=development,
        )

    gate = gate_for(policy)
    if policy.mode == "framework" and not (gate.watched and watch_own_check(app, own_check_seen)):
        raise _unproven("it cannot be seen in front of every handler whether the framework's own check has run")
    if policy.exemptions and not gate.watched:
        _tell(_NOT_WATCHED, routes=_listed(row.route for row in policy.exemptions))
    return _for_own(gate, policy, own, gate_for)


def _policy_of(config: RuntimeConfig, application: OwnApplication) -> CsrfPolicy:
    """`[csrf]` with the exemptions of this service; DOD189 where it cannot be told whose they are."""
    services = config.sections.get("service") or {}
    policy = CsrfPolicy.from_manifest(config.sections.get("csrf") or {})
    for row in policy.unassigned(services):
        code = EXEMPTION_WITHOUT_SERVICE
        raise DodaiError(code, nobodys(row, services), code.fix.en, exit_code=2)
    own = policy.of_service(config.service, services)
    if policy.exemptions and config.service not in services and len(checked_services(services)) > 1:
        _tell(_NAMELESS, service=config.service)
    if application.is_another:
        return _of_another(own, application.doubt)
    if own.mode == "report":
        _tell(_REPORT)
    return own


def _of_another(policy: CsrfPolicy, doubt: str) -> CsrfPolicy:
    """What of `policy` holds in an application that its service does not name: nothing that lets more pass."""
    if policy.exemptions:
        _tell(_NOT_ITS_APPLICATION, doubt=doubt, routes=_listed(row.route for row in policy.exemptions))
    reports = policy.mode == "report"
    if keys := ['`mode = "report"`'] * reports + ["`trusted_origins`"] * bool(policy.trusted_origins):
        _tell(_OF_ANOTHER, doubt=doubt, keys=" and ".join(keys))
    return replace(policy, exemptions=(), trusted_origins=(), mode="both" if reports else policy.mode)


def _for_own(
    gate: CsrfProtection, policy: CsrfPolicy, own: OwnApplication, gate_for: Callable[[CsrfPolicy], CsrfProtection]
) -> CsrfProtection:
    """The gate, in which what lets more pass holds in the application of the service; where not, that is said, once."""
    if own.is_settled or not (policy.exemptions or policy.trusted_origins or policy.mode == "report"):
        return gate
    told = set[str]()

    def belongs_elsewhere(*routes: str) -> bool:
        if own.is_own():
            return False
        if new := [route for route in routes if route not in told]:
            told.update(new)
            _tell(_NOT_ITS_APPLICATION, doubt=own.unseen, routes=_listed(new))
        return True

    def settle(here: CsrfProtection) -> CsrfProtection:
        gate.settle(gate)
        if own.is_apart():
            return gate_for(_of_another(policy, own.unseen))
        belongs_elsewhere(*(row.route for row in policy.exemptions))
        return here

    return replace(gate, belongs_elsewhere=belongs_elsewhere, settle=settle)


def _off(config: RuntimeConfig, app: Any, layer: Any) -> Unchecked:
    """Say that nothing is checked and why; DOD188 when the reason is not seen to be that of this application."""
    # Where no manifest has a service, it is the code that says so, of the one application that it wraps.
    strict = bool(config.sections.get("service")) and not is_development(config)
    own = OwnApplication(app, layer, config, strict=strict)
    if own.doubt:
        raise DodaiError(OFF_FOR_ANOTHER, own.doubt, OFF_FOR_ANOTHER.fix.en, exit_code=2)
    _tell(_OFF, service=config.service, reason=config.csrf_off)
    return Unchecked(own)


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
