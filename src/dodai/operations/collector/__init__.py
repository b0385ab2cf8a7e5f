"""Facts of a project, gathered from its repository and through its ports, and the report of the rules over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dodai.core import codes, proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.extras import missing_extra
from dodai.core.fact import Cost, Unknown
from dodai.core.finding import Finding, Place
from dodai.core.rule import Acceptance, Report, Rule, Undecided, evaluate
from dodai.operations.project import Project

if TYPE_CHECKING:
    from dodai.csrf.check.web_tier import RouteSource
    from dodai.migrations.policy import MigrationsPolicy
    from dodai.migrations.ports import MigrationTarget, Shadow, Tool
    from dodai.operations.environment import Environment

_DEARNESS: Mapping[Cost, int] = {"static": 0, "local": 1, "live": 2}
_LEFT_OUT: Mapping[Cost, str] = {"local": "left out by `--fast`", "live": "asked with `--target ENV` only"}


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


def facts_for(rules: Iterable[Rule], gathering: Gathering) -> dict[type, Any]:
    """Each fact that one of the rules needs."""
    return {need: gathering.fact(need) for rule in rules for need in rule.needs}


def report_of(gathering: Gathering, rules: Sequence[Rule], areas: tuple[str, ...], cost: Cost) -> Report:
    """The report of `rules`, the areas that were asked for in it; facts that cost more than `cost` are not gathered."""
    chosen = [rule for rule in rules if _DEARNESS[rule.cost] <= _DEARNESS[cost]]
    accepted, expired = _acceptances(gathering.project, gathering.today)
    report = evaluate(chosen, facts_for(chosen, gathering), accepted=accepted, today=gathering.today)
    seen = tuple(str(fact.seen) for fact in gathering.known.values() if hasattr(fact, "seen"))
    left = tuple(Undecided(rule, _LEFT_OUT[rule.cost]) for rule in rules if rule not in chosen)
    return replace(report, findings=(*expired, *report.findings), left_out=left, seen=seen).insisting_on(areas)


def _acceptances(project: Project | None, today: date) -> tuple[tuple[Acceptance, ...], tuple[Finding, ...]]:
    if project is None:
        return (), ()
    rows = tuple(Acceptance(**raw) for raw in project.manifest.data["check"]["accept"])
    expired = tuple(
        Finding(
            codes.ACCEPTANCE_EXPIRED,
            f"`{row.code}` was accepted until {row.expires.isoformat()}: {row.reason}",
            Place(project.manifest.path),
        )
        for row in rows
        if row.expires < today
    )
    return rows, expired
