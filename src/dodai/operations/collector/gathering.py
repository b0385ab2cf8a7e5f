"""Facts of one repository: each gathered once, when a rule needs it, what providers know through `FactPorts`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.extras import missing_extra
from dodai.core.fact import Unknown
from dodai.operations.project import Project

if TYPE_CHECKING:
    from dodai.core.finding import Finding
    from dodai.csrf.check.web_tier import RouteSource
    from dodai.migrations.policy import MigrationsPolicy
    from dodai.migrations.ports import MigrationTarget, Shadow, Tool
    from dodai.operations.environment import Environment

NO_MANIFEST = Unknown(
    "there is no dodai.toml", f"write one: `{proposal.EXPLAIN_MANIFEST()}` prints every key", by_manifest=True
)


class FactPorts(Protocol):
    """What facts are gathered through, beside the files of the repository; each is asked for when a rule needs it."""

    def open(self, project: Project, name: str, /) -> Environment: ...
    def problems_of(self, project: Project, name: str, /) -> tuple[Finding, ...]: ...
    def unkept_limits_of(self, project: Project, name: str, /) -> tuple[Finding, ...]: ...
    def target(self, project: Project, root: Path, url: Callable[[], str], /) -> MigrationTarget: ...
    def tool_of(self, project: Project, policy: MigrationsPolicy, root: Path, /) -> Tool | None: ...
    def shadow_of(self, project: Project | None, /) -> Shadow: ...
    def database_to_migrate(self, project: Project, env: str, /) -> AbstractContextManager[str]: ...
    def route_source(self) -> RouteSource | None:
        """What reads a web tier in Remix or React Router; None without the extra `remix`."""
        ...

    def proofs(self, project: Project, /) -> frozenset[str]:
        """The id of every rule and of every drill of the project."""
        ...


@dataclass(frozen=True)
class Gathering:
    """`project` is None without a manifest; `sources` say how each kind of fact is gathered, through `ports`.

    `target` is the environment that live facts are about; without `lifespan` no application's is started.
    """

    root: Path
    project: Project | None
    today: date
    sources: Mapping[type, Callable[[Gathering], Any]]
    ports: FactPorts
    base: str = ""
    everything: bool = False
    target: str = ""
    lifespan: bool = True
    known: dict[type, Any] = field(default_factory=dict)

    def fact(self, kind: type) -> Any:
        """The fact of that kind, `NotApplicable`, or `Unknown` with the reason it could not be gathered."""
        if kind not in self.known:
            source = self.sources.get(kind)
            try:
                self.known[kind] = source(self) if source else Unknown(f"nothing gathers `{kind.__name__}`")
            except DodaiError as error:
                self.known[kind] = Unknown(str(error), error.fix)
            except ModuleNotFoundError as error:
                absent = missing_extra(error)
                if absent is None:
                    raise
                self.known[kind] = Unknown(str(absent), absent.fix)
        return self.known[kind]
