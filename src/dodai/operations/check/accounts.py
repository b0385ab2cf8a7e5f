"""The rules about accounts at vendors: machines, database, edge and sign-in beside what the manifest says of them.

The rows are those of `dodai doctor ENV --live`, so both say the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from dodai.core.dataclass import dataclass
from dodai.core.errors import Code
from dodai.core.fact import Cost, Unknown
from dodai.core.finding import Finding
from dodai.core.manifest import Manifest
from dodai.core.rule import declared, rule
from dodai.core.text import counted
from dodai.operations import codes
from dodai.operations.check.secrets import place_of
from dodai.operations.ports import DoctorRow


@dataclass(frozen=True, slots=True)
class AccountState:
    """One part of the environment `env` at the vendor `vendor`, each row one thing that was looked at."""

    cost: ClassVar[Cost] = "live"
    env: str
    vendor: str
    rows: tuple[DoctorRow, ...]

    @property
    def gaps(self) -> tuple[Unknown, ...]:
        return tuple(Unknown(f"`{one.name}`: {one.seen}", one.fix) for one in self.rows if _is_unseen(one))

    @property
    def seen(self) -> str:
        """How much was looked at, and how much of that is as it should be."""
        looked = [one for one in self.rows if not _is_unseen(one)]
        differ = sum(one.code is not None and not one.remark for one in looked)
        unseen = len(self.rows) - len(looked)
        said = f"`{self.env}` at {self.vendor}: {counted(len(looked), 'thing')} looked at, {differ} not as the manifest"
        return said + (f" says, {unseen} not seen" if unseen else " says")


def _is_unseen(row: DoctorRow) -> bool:
    """What is missing without being a difference keeps something from being looked at."""
    return row.unseen or (row.verdict == "missing" and row.code is None)


class ComputeAccount(AccountState):
    """Apps, machines, secrets, certificates."""


class DatabaseAccount(AccountState):
    """The server, and what its vendor says of it."""


class EdgeAccount(AccountState):
    """The zone."""


class SignInAccount(AccountState):
    """The application that people sign in with."""


@rule(codes.ACCOUNT_MACHINES, needs=(Manifest, ComputeAccount))
def machines_are_as_the_manifest_says(manifest: Manifest, account: ComputeAccount) -> Iterator[Finding]:
    return _differences(codes.ACCOUNT_MACHINES, manifest, account)


@rule(codes.ACCOUNT_SECRETS, needs=(Manifest, ComputeAccount))
def secrets_there_are_those_of_the_manifest(manifest: Manifest, account: ComputeAccount) -> Iterator[Finding]:
    return _differences(codes.ACCOUNT_SECRETS, manifest, account)


@rule(codes.ACCOUNT_CERTIFICATE, needs=(Manifest, ComputeAccount))
def every_name_has_a_certificate_there(manifest: Manifest, account: ComputeAccount) -> Iterator[Finding]:
    return _differences(codes.ACCOUNT_CERTIFICATE, manifest, account)


@rule(codes.OTHER_TOOLS_FILE, needs=(Manifest, ComputeAccount))
def files_of_the_vendors_tools_say_the_same(manifest: Manifest, account: ComputeAccount) -> Iterator[Finding]:
    return _differences(codes.OTHER_TOOLS_FILE, manifest, account)


@rule(codes.ACCOUNT_DATABASE, needs=(Manifest, DatabaseAccount))
def the_database_is_as_the_manifest_says(manifest: Manifest, account: DatabaseAccount) -> Iterator[Finding]:
    return _differences(codes.ACCOUNT_DATABASE, manifest, account)


@rule(codes.ACCOUNT_EDGE, needs=(Manifest, EdgeAccount))
def the_zone_is_as_the_manifest_says(manifest: Manifest, account: EdgeAccount) -> Iterator[Finding]:
    return _differences(codes.ACCOUNT_EDGE, manifest, account)


@rule(codes.ACCOUNT_SIGN_IN, needs=(Manifest, SignInAccount))
def sign_in_is_as_the_manifest_says(manifest: Manifest, account: SignInAccount) -> Iterator[Finding]:
    return _differences(codes.ACCOUNT_SIGN_IN, manifest, account)


def _differences(code: Code, manifest: Manifest, account: AccountState) -> Iterator[Finding]:
    place = place_of(manifest, "env", account.env)
    for one in account.rows:
        if one.code is code:
            said = f"{one.name}: {one.seen}"
            yield Finding(code, said, place, fix=one.fix, level="warning" if one.remark else None)


RULES = declared(globals())
