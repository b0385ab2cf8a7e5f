"""A signature over a plan: what is signed, and which signatures count."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, field, fields
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

from dodai.core.dataclass import dataclass
from dodai.engine.moment import read_moment
from dodai.operations.gates import Gates

NAMESPACE = "plan@dodai"
"""The purpose in the sense of `ssh-keygen -Y`: a signature made for git or for a file is none for a plan."""


@dataclass(frozen=True, slots=True)
class Signed:
    """Words with a signature: who is said to have made it, and for which purpose (`ssh-keygen -Y -n`)."""

    principal: str
    signature: str
    message: bytes
    namespace: str

    @property
    def is_whole(self) -> bool:
        """Whether a program can be asked about it: one name in one line, a signature in ASCII."""
        named = self.principal.split() == [self.principal] and self.principal.isprintable()
        return named and bool(self.signature) and self.signature.isascii()


@dataclass(frozen=True, slots=True)
class Approval:
    """`plan` is the whole hash, so what, where, from and over which release is signed. Times are the journal's own.

    `account` is who ran `dodai approve`, as the machine or the CI claims it; only the signature counts. `seq` is its
    place in the journal.
    """

    plan: str
    env: str
    principal: str
    signed_at: str
    expires_at: str
    signature: str = ""
    account: str = ""
    seq: int = field(default=0, compare=False)

    @property
    def message(self) -> bytes:
        """The bytes that are signed."""
        lines = ("dodai approval 1", self.env, self.plan, self.principal, self.signed_at, self.expires_at)
        return "".join(f"{line}\n" for line in lines).encode()

    @classmethod
    def from_data(cls, data: Mapping[str, Any], seq: int) -> Approval:
        """As it was recorded. What is no text is empty: such a record counts for nothing, and stops nobody else's."""
        names = [one.name for one in fields(cls) if one.name != "seq"]
        return cls(**{name: one if isinstance(one := data.get(name), str) else "" for name in names}, seq=seq)

    @property
    def signed(self) -> Signed:
        return Signed(self.principal, self.signature, self.message, NAMESPACE)

    def as_data(self) -> dict[str, Any]:
        """The data of its journal event."""
        return {name: value for name, value in asdict(self).items() if name != "seq"}


class Verifier(Protocol):
    """Tells whose signature it is, without a secret."""

    def key(self, signed: Signed, signers: str, now: datetime) -> str:
        """The fingerprint of the key that signed the message as its principal; `""` for none of `signers`."""
        ...

    def names(self, key: str, signers: str) -> tuple[str, ...]:
        """Every name, or pattern of names, under which `signers` has the key of that fingerprint."""
        ...


class Signatures(Verifier, Protocol):
    """Judges signatures, and makes them with a key of the person who asks."""

    def sign(self, message: bytes, key: Path, namespace: str = NAMESPACE) -> str:
        """The signature of `message` by `key`, a private key, or a public one whose secret part an agent holds."""
        ...

    def principal(self, key: Path, signers: str) -> str:
        """Who `key` signs as by `signers`; DOD369 (exit 1) when that is nobody, or nobody in particular."""
        ...


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """The plan that wants to pass: its hash and environment, who carries it out, where in the journal it was let in.

    `spent` is the place of the last plan of the same hash that passed: what was signed before it is used up.
    """

    plan: str
    env: str
    actor: str
    now: datetime
    spent: int = 0


@dataclass(frozen=True, slots=True)
class Count:
    """The approvals that count, each with its key, and a reason for each that does not."""

    good: tuple[tuple[Approval, str], ...]
    refused: tuple[str, ...]


def count(found: Iterable[Approval], asked: ApprovalRequest, gates: Gates, verifier: Verifier) -> Count:
    """Which of `found` count for `asked`: one for each person and each key, where it was first recorded."""
    good: dict[str, tuple[Approval, str]] = {}
    refused, seen = list[str](), set[bytes]()
    for approval in sorted(found, key=lambda one: one.seq):
        if approval.message in seen:
            continue  # a record of the same words again adds nothing
        seen.add(approval.message)
        reason = _why_not_valid(approval, asked, gates)
        key = "" if reason else verifier.key(approval.signed, gates.signers, asked.now)
        if not reason and not key:
            reason = "is no signature of a key that may sign"
        if not reason and any(is_same_person(name, asked.actor) for name in verifier.names(key, gates.signers)):
            reason = "is with a key of the one who deploys"
        if not reason and (approval.principal in good or key in {other for _, other in good.values()}):
            reason = "is by somebody, or with a key, that signed already"
        if reason:
            refused.append(f"`{approval.principal}` at {approval.signed_at}: {reason}")
        else:
            good[approval.principal] = (approval, key)
    return Count(tuple(good.values()), tuple(refused))


def is_same_person(principal: str, actor: str) -> bool:
    """Whether `hana@example.com` is the account `hana`: the whole name or what stands before the `@`, in any case.

    An actor that a CI claims carries the account of the machine as well, so that claiming another name is no way round.
    `principal` may be a pattern of `allowed_signers`: `*@example.com` is everybody there.
    """
    names = {name.casefold() for name in (actor.partition(" ")[0], *re.findall(r"account ([^\s)]+)", actor))}
    whole = principal.casefold()
    return any(fnmatchcase(name, pattern) for name in names for pattern in (whole, whole.partition("@")[0]))


def _why_not_valid(approval: Approval, asked: ApprovalRequest, gates: Gates) -> str:
    """Why it does not count whatever its signature is worth."""
    signed, expires = read_moment(approval.signed_at), read_moment(approval.expires_at)
    if approval.principal.split() != [approval.principal] or not approval.principal.isprintable():
        return "names nobody"  # a line break in a name would move the words that are signed
    if signed is None or expires is None:
        return "has no times that can be read"
    if not approval.signature.isascii():
        return "is no signature of a key that may sign"
    if (approval.plan, approval.env) != (asked.plan, asked.env):
        return f"is for the plan `{approval.plan[:12]}` of `{approval.env}`, this is `{asked.plan[:12]}`"
    if approval.seq <= asked.spent:
        return "is used up: a plan it approved was carried out"
    if is_same_person(approval.principal, asked.actor):
        return "is by the one who deploys"
    if signed > asked.now:
        return "is from the future by the clock of the control database"
    lasts_s = min((expires - signed).total_seconds(), gates.approval_age_s)
    if (asked.now - signed).total_seconds() > lasts_s:
        return f"expired {lasts_s / 3600:g} h after it was given"
    return ""
