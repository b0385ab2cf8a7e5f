"""The provider `neon`: a branch of a Neon project, and what of it is asked by PostgreSQL itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dodai.core.dataclass import dataclass
from dodai.migrations.policy import SIDE_SCHEMA, MigrationsPolicy
from dodai.migrations.ports import Copies
from dodai.operations.ports import DatabaseService
from dodai.operations.provider import Opening, Provider
from dodai.providers.neon.neon_api import ADDRESS, BASE_URL, TOKEN, neon
from dodai.providers.neon.neon_branches import NeonBranches
from dodai.providers.neon.neon_database import BranchCopies, NeonDatabase
from dodai.vendor_api import api_of, token_from

COLD_START_S = 15
"""A compute that was idle takes a moment."""


@dataclass(frozen=True, slots=True)
class PostgresBehind:
    """`dodai.providers.neon.neon_database.ServerBehind`: psycopg is loaded when something is asked."""

    log_schema: str = SIDE_SCHEMA

    def answers(self, url: str, /) -> None:
        from dodai.providers.postgres.connection import connect

        connect(url, timeout_s=COLD_START_S).close()

    def major(self, url: str, /) -> int:
        from dodai.providers.postgres.control.inspect import server_version

        return server_version(url)

    def clock_offset_s(self, url: str, /) -> float | None:
        from dodai.providers.postgres.clock import offset_s

        return offset_s(url)

    def tokens(self, url: str, token: int, /) -> Mapping[str, int]:
        from dodai.providers.postgres.restore_beside import newest_tokens

        return newest_tokens(url, token)

    def carry(self, url: str, tokens: Mapping[str, int], /) -> None:
        from dodai.providers.postgres.restore_beside import carry_tokens

        carry_tokens(url, tokens, self.log_schema)


def _neon(opening: Opening) -> NeonDatabase:
    policy = opening.config.neon
    address = opening.variables.get(ADDRESS, "") or BASE_URL
    branches = NeonBranches(lambda: api_of(neon, address, token_from(opening.variables, TOKEN, "Neon")), policy.project)
    name = policy.database or opening.project.policy.database.name
    return NeonDatabase(
        branches,
        policy.branch,
        name,
        policy.role,
        PostgresBehind((opening.project.migrations or MigrationsPolicy()).log_schema),
        policy.allowed_ips,
        policy.restore_points,
    )


def _database(opening: Opening) -> DatabaseService:
    return _neon(opening)


def _copies(opening: Opening, note: Callable[[str], None]) -> Copies:
    return BranchCopies(_neon(opening), note)


PROVIDER = Provider(
    database=_database,
    copies=_copies,
    keys=("neon",),
    required=("neon.project", "neon.role"),
)
