"""The provider `local`: the Host of this machine, and the PostgreSQL that it runs."""

from __future__ import annotations

from dodai.operations.ports import DatabaseService
from dodai.operations.provider import Opening, Provider
from dodai.providers.local.host import HostClient, client
from dodai.providers.local.host.local_edge import EdgeKeyFile, LocalEdge
from dodai.providers.local.host.log_reader import LogFolder
from dodai.providers.local.host.state import StateFolder
from dodai.providers.local.release_tree import ReleaseTrees
from dodai.providers.local.secret_file import SecretFile
from dodai.providers.postgres.supervised import SupervisedPostgres


def _host(opening: Opening) -> HostClient:
    return client(opening.folder, opening.config.name)


def _database(opening: Opening) -> DatabaseService:
    migrations, host = opening.project.migrations, opening.host or _host(opening)
    database = opening.project.policy.database
    if migrations is None:
        return SupervisedPostgres(database, host, opening.folder)
    return SupervisedPostgres(database, host, opening.folder, migrations.table, migrations.log_schema)


PROVIDER = Provider(
    compute=_host,
    artifacts=lambda opening: ReleaseTrees(opening.folder / "releases"),
    database=_database,
    edge=lambda opening: LocalEdge(_host(opening)),
    identity=lambda _: None,  # whatever the application signs in with is a service of its own here
    secrets=lambda opening: SecretFile(opening.folder),
    host=_host,
    edge_keys=lambda opening: EdgeKeyFile(opening.folder / "edge-keys", StateFolder(opening.folder.absolute())),
    logs=lambda opening: LogFolder(opening.folder, tuple(opening.project.policy.services)),
    keys=("port", "client_header"),
    production=False,
    together={"edge": "compute", "database": "compute"},
)
