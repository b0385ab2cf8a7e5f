"""The edge that the Host runs, and the keys by which services know it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from dodai.core.dataclass import dataclass
from dodai.engine.private_file import write_private
from dodai.operations.ports import EdgeSpec, EdgeState
from dodai.operations.secret import EDGE_KEY, entries
from dodai.providers.local.host import state
from dodai.providers.local.host.host_client import HostClient
from dodai.providers.local.host.state import StateFolder
from dodai.providers.local.secret_file import SecretFile


@dataclass(frozen=True, slots=True)
class LocalEdge:
    """`dodai.operations.ports.Edge`: the edge that the Host runs."""

    host: HostClient

    def under(self, token: int) -> LocalEdge:
        return LocalEdge(self.host.under(token))

    async def observe(self) -> EdgeState:
        status = await self.host.status()
        differs: tuple[str, ...] = ()
        if status.edge_key and status.edge_key != state.edge_key_version(state.edge_key(self.host.folder)):
            differs = ("it sends another key than the first one in `edge.key`",)
        return EdgeState(url=status.edge, serves=status.edge_serves, differs=differs)

    async def apply(self, spec: EdgeSpec) -> EdgeState:
        return EdgeState(url=await self.host.edge(spec))


@dataclass(frozen=True, slots=True)
class EdgeKeyFile(SecretFile):
    """`dodai.operations.ports.SecretStore` of one secret, the edge's key: `keys` is the file that services read.

    What else a rotation writes down stands in `folder`. The keys are written first: what is killed in between is seen
    as what it is, and written again.
    """

    keys: StateFolder

    def get(self) -> Mapping[str, str]:
        noted = SecretFile.get(self)
        if not self.keys.edge_key.exists():
            return noted
        return {**noted, EDGE_KEY: ",".join(self.keys.edge_key.read_text().split())}

    def put(self, values: Mapping[str, str], /) -> None:
        if values.get(EDGE_KEY, "") != self.get().get(EDGE_KEY, ""):
            lines = "".join(f"{key}\n" for key in entries(values[EDGE_KEY]))
            readers = self.keys.edge_key.stat() if self.keys.edge_key.exists() else None
            write_private(self.keys.edge_key, lines.encode())
            if readers and readers.st_gid != os.getegid():  # of services with an account of their own
                os.chown(self.keys.edge_key, -1, readers.st_gid)
                self.keys.edge_key.chmod(0o640)
        SecretFile.put(self, values)
