"""The accounts at vendors that the target of a check uses, each part asked once and read only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dodai.core.fact import NotApplicable
from dodai.operations.check import ComputeAccount, DatabaseAccount, EdgeAccount, SignInAccount
from dodai.operations.collector import NO_MANIFEST, Gathering
from dodai.operations.ports import KeptEdge

if TYPE_CHECKING:
    from dodai.operations.environment import Environment


def compute_account(gathering: Gathering) -> Any:
    """The apps, machines, secrets and certificates of the target."""
    here = _opened(gathering)
    if here is None:
        return NO_MANIFEST
    if here.host is not None:
        return NotApplicable(f"the services of `{here.name}` run on this machine")
    if not (rows := here.accounts()):
        return NotApplicable(f"nothing looks at accounts of `{here.config.provider_of('compute')}`")
    return ComputeAccount(here.name, here.config.provider_of("compute"), rows)


def database_account(gathering: Gathering) -> Any:
    """The database of the target and what its vendor says of it."""
    here = _opened(gathering)
    if here is None:
        return NO_MANIFEST
    vendor = here.config.provider_of("database")
    if vendor == "local":
        return NotApplicable(f"the database of `{here.name}` runs on this machine")
    from dodai.operations.run.account_rows import database_rows

    rows = tuple(database_rows(here))
    return DatabaseAccount(here.name, vendor, rows) if rows else NotApplicable("no service uses a database")


def edge_account(gathering: Gathering) -> Any:
    """The zone of the target."""
    here = _opened(gathering)
    if here is None:
        return NO_MANIFEST
    vendor = here.config.provider_of("edge")
    if not isinstance(here.edge, KeptEdge):
        return NotApplicable(f"the edge of `{here.name}` (`{vendor}`) keeps no configuration of its own")
    from dodai.operations.run.account_rows import edge_rows

    return EdgeAccount(here.name, vendor, tuple(edge_rows(here)))


def sign_in_account(gathering: Gathering) -> Any:
    """The application that people of the target sign in with."""
    here = _opened(gathering)
    if here is None:
        return NO_MANIFEST
    if here.identity is None:
        return NotApplicable(f"`[env.{here.name}]` names no `identity`")
    from dodai.operations.run.account_rows import sign_in_rows

    return SignInAccount(here.name, here.config.provider_of("identity"), tuple(sign_in_rows(here)))


def _opened(gathering: Gathering) -> Environment | None:
    return gathering.ports.open(gathering.project, gathering.target) if gathering.project else None
