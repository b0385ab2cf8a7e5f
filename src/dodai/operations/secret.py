"""The secrets of a project: those of the manifest and dodai's own key rings, and the state of a rotation.

A rotation keeps what it needs to go on or back in the store, beside the secret and under a name that no service has:
`SESSION_SECRET.rotation`. Values are never in the journal, so this is what survives a crash.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from dodai.core.dataclass import dataclass
from dodai.operations.policy import OperationsPolicy, Secret
from dodai.operations.ports import EdgeSpec, Login

CSRF_KEYS, IDENTITY_KEYS = "DODAI_CSRF_KEYS", "DODAI_IDENTITY_KEYS"
KEY_RINGS = (CSRF_KEYS, IDENTITY_KEYS)
"""dodai's own key rings: every service gets them, whether or not the manifest names them."""
DATABASE_LOGIN = "DODAI_DATABASE_LOGIN"
"""Role and password that services sign in with at the database, where an environment has `database_roles`."""
EDGE_KEY = "DODAI_EDGE_KEY"
"""By what services know their edge. It is kept beside the edge, and services read it from a file."""
EDGE_REQUEST_S = EdgeSpec(routes=()).response_timeout_s
"""How long a request that the edge sent with a key can be under way: then the edge itself has given it up."""
PROOF_S = 120.0
"""How long a proof of identity between services can be in use: its lifetime with the skew of both clocks, doubled."""
MAX_VALUE_BYTES, CARRIED_BYTES = 64 * 1024, 127 * 1024
"""How long a value may be, and what a store has for one: two while it is rotated. Linux takes 128 KiB, name and all."""
_OWNER = "dodai"
_ID_CHARS = 16
_KEY_BYTES = 32


def new_login(roles: Sequence[str], existing: str = "") -> str:
    """A new password for the role that the `existing` login is not of."""
    idle = next(role for role in roles if role != Login.of(existing).role)
    return f"{idle}:{secrets.token_urlsafe(_KEY_BYTES)}"


def inventory(
    policy: OperationsPolicy, token_age_s: float, *, edge_key: bool = False, login: bool = False
) -> dict[str, Secret]:
    """Every secret by name; `token_age_s` is how long a CSRF token is accepted.

    `edge_key`, `login`: dodai makes the key of the edge, and what services sign in with at the database.

    What the manifest says of a key ring holds, apart from who gets it and how it is changed.
    """
    everybody = tuple(policy.services)
    found = dict[str, Secret]()
    for name, overlap_s in ((CSRF_KEYS, token_age_s), (IDENTITY_KEYS, PROOF_S)):
        said = policy.secrets.get(name, Secret(everybody, name=name, owner=_OWNER))
        found[name] = replace(said, used_by=everybody, rotation="overlap", overlap_s=overlap_s)
    if login and policy.database.used_by:
        used_by = policy.database.used_by
        found[DATABASE_LOGIN] = Secret(used_by, name=DATABASE_LOGIN, owner=_OWNER, rotation="dual-role")
    if edge_key and policy.public_service:
        used_by = (policy.public_service.name,)
        key = Secret(used_by, name=EDGE_KEY, owner=_OWNER, rotation="overlap", overlap_s=EDGE_REQUEST_S)
        found[EDGE_KEY] = key
    return found | {name: secret for name, secret in policy.secrets.items() if name not in found}


def new_value(name: str, existing: str = "") -> str:
    """A random value; for a key ring, an entry whose id is not in the `existing` one and sorts after all of them."""
    if name not in KEY_RINGS:
        return secrets.token_urlsafe(_KEY_BYTES)
    key_id = _id_after({entry.partition(":")[0] for entry in entries(existing)})
    return f"{key_id}:" + base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).decode().rstrip("=")


def _id_after(taken: set[str]) -> str:
    """The id of the next key: lines show a user under the key whose id sorts first, so that no new one changes that."""
    if not taken:
        return "k1"
    last = max(taken)
    plain = last.rstrip("0123456789")
    number = last[len(plain) :]
    following = f"{plain}{int(number or 0) + 1:0{len(number)}d}"
    fitting = (name for name in (following, f"{last}1") if name > last and len(name) <= _ID_CHARS)
    return next(fitting, f"z{secrets.token_hex(4)}")


def unfit(value: str) -> str:
    """Why no environment variable can carry `value`; `""` when one can. Never a part of it."""
    if not value.strip(", \r\n\t"):  # commas part the values of a secret with `overlap`
        return "it is empty"
    if len(value.encode()) > CARRIED_BYTES:
        return f"it is longer than {CARRIED_BYTES} bytes"
    return "it contains a NUL byte, which ends an environment variable" if "\0" in value else ""


def notes_of(name: str) -> str:
    """Under which name the store keeps what a rotation of the secret `name` needs."""
    return f"{name}.rotation"


def entries(value: str) -> list[str]:
    """The values in `new,old`, the one that signs first."""
    return [entry.strip() for entry in value.split(",") if entry.strip()]


@dataclass(frozen=True, slots=True, repr=False)
class RotationState:
    """Of the rotation that `nonce` names: the value before it and the new one. Once it is `over`, it holds neither.

    `signed`: something may have been made with the new value. `back`: it is taken back after that, so that both stay
    recognised. `since_s`: when the value in front took its place, in seconds since the epoch; 0 when nobody saw it.
    `overlaps`: it left both values beside each other, until a later change drops the old one.
    """

    nonce: str
    old: str = ""
    new: str = ""
    over: bool = False
    signed: bool = False
    back: bool = False
    since_s: float = 0.0
    overlaps: bool = False

    @classmethod
    def read(cls, values: Mapping[str, str], name: str) -> RotationState | None:
        """The newest of `name`; None when it was never rotated here."""
        found = values.get(notes_of(name))
        return cls(**json.loads(found)) if found else None

    def ended(self, since_s: float = 0.0, nonce: str = "", *, overlaps: bool | None = None) -> RotationState:
        """What is left to know of it: no value, since when the one in front is there, and whether another one is."""
        both = self.overlaps if overlaps is None else overlaps
        return RotationState(nonce, over=True, since_s=since_s or self.since_s, overlaps=both)

    def written(self, values: Mapping[str, str], name: str) -> dict[str, str]:
        """`values` with this as the newest rotation of `name`."""
        return {**values, notes_of(name): json.dumps(asdict(self))}
