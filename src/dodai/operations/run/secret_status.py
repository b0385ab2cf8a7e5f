"""The secrets of an environment as they stand: who needs them, how old they are, whether what runs has them."""

from __future__ import annotations

import time
from collections.abc import Mapping

from dodai.core import proposal
from dodai.core.codes import UNKNOWN_WORD
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.suggestion import nearest
from dodai.csrf.policy import CsrfPolicy
from dodai.engine.plan import PlanRequest
from dodai.operations import codes
from dodai.operations.environment import Environment
from dodai.operations.policy import Secret
from dodai.operations.run.description import in_service
from dodai.operations.run.plans import deploy_ports
from dodai.operations.run.rotation import store_of
from dodai.operations.run.service_steps import ServiceSteps
from dodai.operations.secret import DATABASE_LOGIN, EDGE_KEY, RotationState, entries, inventory, unfit


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretStatus:
    """One secret of one environment. Never a value: `version` is a keyed digest of it, `""` where there is none.

    `age_s` None: nobody saw it change here. `old_until_s`: seconds until its old value may be dropped, 0 when it may be
    now, None when it has none. `unusable`: why no service can be given its value. `made`: dodai makes its
    first value itself.
    """

    secret: Secret
    version: str
    age_s: float | None
    old_until_s: float | None = None
    unusable: str = ""
    made: bool = False

    @property
    def state(self) -> str:
        """`missing`, `not made yet` (by the next deployment), `unusable`, `rotating`, `due`, `unknown age` or `ok`.

        `rotating`: the old value is still recognised.
        """
        if not self.version:
            return "not made yet" if self.made else "missing"
        if self.unusable:
            return "unusable"
        if self.old_until_s is not None:
            return "rotating"
        if not self.secret.every_s:
            return "ok"
        if self.age_s is None:
            return "unknown age"
        return "due" if self.age_s > self.secret.every_s else "ok"

    def in_words(self, env: str) -> str:
        """How it stands, as a sentence."""
        name = f"`{self.secret.name}` of `{env}`"
        if self.state == "missing":
            return f"{name} has no value"
        if self.state == "not made yet":
            return f"{name} gets its first value by the next deployment"
        if self.state == "unusable":
            return f"{name} has a value that is of no use: {self.unusable}"
        if self.state == "rotating":
            left = f"for {in_words(self.old_until_s)} more" if self.old_until_s else "and can go"
            return f"the old value of {name} is recognised {left}"
        if self.age_s is None:
            return f"nobody saw when {name} got its value"
        due = f", due every {in_words(self.secret.every_s)}" if self.secret.every_s else ""
        return f"{name} is {in_words(self.age_s)} old{due}"

    def next_command(self, env: str) -> str:
        """What to type about it now; `""` for nothing."""
        name, rotated = self.secret.name, self.secret.rotation != "external"
        if self.state == "rotating":
            return "" if self.old_until_s else proposal.SECRETS_FINISH(env=env, name=name)
        if self.state == "not made yet":
            return proposal.DEPLOY(env=env)
        if self.state in ("missing", "unusable", "due", "unknown age"):
            wanted = proposal.SECRETS_ROTATE if self.version and rotated else proposal.SECRETS_SET
            return wanted(env=env, name=name)
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsReport:
    """Every secret of `env`, and for each service that serves whether it was started with the values of now.

    `served` is empty where nothing serves, or where nobody knows (`unknown` says why).
    """

    env: str
    store: str
    secrets: tuple[SecretStatus, ...]
    served: Mapping[str, bool]
    unknown: str = ""

    @property
    def stale(self) -> tuple[str, ...]:
        """The services that run with other values than those in the store."""
        return tuple(name for name, current in self.served.items() if not current)

    @property
    def next_commands(self) -> tuple[str, ...]:
        named = [one.next_command(self.env) for one in self.secrets]
        restarts = [proposal.RESTART(env=self.env)] if self.stale else []
        return tuple(dict.fromkeys(command for command in [*restarts, *named] if command))


def known_secrets(here: Environment) -> dict[str, Secret]:
    """Every secret of the project by name, dodai's own key rings among them."""
    csrf = CsrfPolicy.from_manifest(here.project.manifest.section("csrf") or {})
    edge_key, login = here.edge_keys is not None or here.sends_key, here.logins is not None
    return inventory(here.project.policy, csrf.max_age_s, edge_key=edge_key, login=login)


def secret_of(here: Environment, name: str) -> Secret:
    """The secret of that name; DOD051 (exit 2) when the manifest has none."""
    known = known_secrets(here)
    if name not in known:
        near = nearest(name, sorted(known))
        fix = f"did you mean `{near}`?" if near else f"declare it: `[secret.{name}]`"
        raise DodaiError(UNKNOWN_WORD, f"`{name}` is not a secret of this project", fix, exit_code=2)
    return known[name]


def status_of_secret(here: Environment, secret: Secret, now_s: float) -> SecretStatus:
    """How one secret stands at `now_s`."""
    store = store_of(secret.name, here)
    versions, since, values = store.versions(), store.since(), store.get()
    at = since.get(secret.name)
    age_s = None if at is None else max(0.0, now_s - at)
    left_s = None
    if secret.rotation == "overlap" and len(entries(values.get(secret.name, ""))) > 1:
        left_s = max(0.0, secret.overlap_s - _signs_for_s(RotationState.read(values, secret.name), at, now_s))
    value = values.get(secret.name, "")
    version = versions.get(secret.name, "") if value.strip() else ""
    made = here.secrets.makes_up_values or secret.name in (EDGE_KEY, DATABASE_LOGIN)
    return SecretStatus(
        secret=secret, version=version, age_s=age_s, old_until_s=left_s, unusable=unfit(value), made=made
    )


def _signs_for_s(state: RotationState | None, at: float | None, now_s: float) -> float:
    """For how long the value in front is surely there: 0 when nobody knows, or while a rotation is under way."""
    if state is not None and not state.over:
        return 0.0
    known = [moment for moment in (at, state.since_s if state else None) if moment]
    return max(0.0, now_s - max(known)) if known else 0.0


async def report_of(here: Environment) -> SecretsReport:
    """Every secret of `here`, and whether what serves has the values of now. Nothing is created or changed."""
    now_s = time.time()
    rows = tuple(status_of_secret(here, secret, now_s) for secret in known_secrets(here).values())
    served, unknown = dict[str, bool](), ""
    try:
        served = await _served(here)
    except DodaiError as error:
        unknown = error.message
    store = here.config.provider_of("secrets")
    return SecretsReport(env=here.name, store=store, secrets=rows, served=served, unknown=unknown)


async def _served(here: Environment) -> dict[str, bool]:
    status, found = await here.compute.status(), dict[str, bool]()
    for service in status.services if status.running else ():
        live = next((one for one in service.instances if one.live), None)
        if live is None:
            continue
        released = here.released(live.release)
        there = await in_service(here, here.project.with_manifest(released.manifest.text))
        steps = ServiceSteps(PlanRequest("restart", here.name, live.release), deploy_ports(there, released.root))
        spec = there.project.policy.services.get(service.name)
        if spec is not None:
            found[service.name] = await steps.serves_as_told(spec, live)
    return found


def refuse_change(here: Environment, status: SecretStatus, change: str, *, at_once: bool) -> None:
    """DOD561 (exit 1) for a change that this secret does not take, or not yet; the fix is the one it does."""
    env, name, rotation = here.name, status.secret.name, status.secret.rotation
    said = fix = ""
    if change == "finish" and status.old_until_s is None:
        said, fix = f"`{name}` has no old value to drop", f"`{proposal.SECRETS_LIST(env=env)}` shows how it stands"
    elif change == "finish" and status.old_until_s and not at_once:
        said = f"what was made with the old value of `{name}` may be in use for {in_words(status.old_until_s)} more"
        fix = "wait, or add `--now`: whatever was made with it is refused from then on"
    elif change == "overlap" and status.old_until_s is not None:
        said = f"`{name}` still has an old value from the rotation before"
        left = f", in {in_words(status.old_until_s)}" if status.old_until_s else ""
        fix = f"finish that one first{left}: `{proposal.SECRETS_FINISH(env=env, name=name)}`"
    elif change == "replace" and name == EDGE_KEY and here.sends_key:
        said = f"visitors would be refused while the services of `{env}` learn `{name}`"
        fix = f"`{proposal.SECRETS_ROTATE(env=env, name=name)}`, then the same with `--finish --now`"
    elif change == "set" and name in (EDGE_KEY, DATABASE_LOGIN):
        said = f"nobody but dodai makes `{name}`"
        fix = f"`{proposal.SECRETS_ROTATE(env=env, name=name)}`"
    elif change in ("overlap", "replace") and rotation == "external":
        said = f"only its issuer can make a new value of `{name}`"
        fix = f"`{proposal.SECRETS_SET(env=env, name=name)}` with the value you get there"
    if said:
        raise DodaiError(codes.ROTATION_REFUSED, said, fix, exit_code=1)


def in_words(seconds: float) -> str:
    """`6 d 3 h`, `2 h 5 min`, `40 s`: the two largest units, rounded up."""
    left = int(seconds) + (seconds > int(seconds))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
