"""The provider `postgres`: a PostgreSQL that somebody else runs, by its address."""

from __future__ import annotations

from dodai.core import proposal
from dodai.core.errors import DodaiError
from dodai.migrations.policy import MigrationsPolicy
from dodai.operations import codes
from dodai.operations.ports import DatabaseService
from dodai.operations.provider import Opening, Provider


def _database(opening: Opening) -> DatabaseService:
    from dodai.providers.postgres.by_url import PostgresByUrl  # psycopg is an extra

    config, policy = opening.config, opening.project.migrations or MigrationsPolicy()
    return PostgresByUrl(
        direct=config.database_url,
        pooled=config.database_pooled_url,
        password=lambda: _password(opening),
        folder=opening.folder,
        control_url=opening.control_address,
        plain_hosts=tuple(policy.plain_hosts),
        log_schema=policy.log_schema,
    )


def _password(opening: Opening) -> str:
    """What the secret that the manifest names holds; "" where it names none, DOD560 (exit 1) while it has no value."""
    name = opening.config.database_password
    if not name:
        return ""
    value = (opening.secrets.get() if opening.secrets else {}).get(name, "")
    if not value:
        env = opening.config.name
        said = f"`{env}` has no value for `{name}`, the password of its database"
        raise DodaiError(codes.SECRET_MISSING, said, f"`{proposal.SECRETS_SET(env=env, name=name)}`", exit_code=1)
    return value


PROVIDER = Provider(
    database=_database,
    keys=("database_url", "database_pooled_url", "database_password"),
    required=("database_url",),
)
