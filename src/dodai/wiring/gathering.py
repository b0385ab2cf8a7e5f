"""One check of one repository: each fact gathered once, only when a rule needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from datetime import date
from pathlib import Path
from typing import Any

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.extras import missing_extra
from dodai.core.fact import Unknown
from dodai.operations.project import Project

NO_MANIFEST = Unknown(
    "there is no dodai.toml", f"write one: `{proposal.EXPLAIN_MANIFEST()}` prints every key", by_manifest=True
)


@dataclass(frozen=True)
class Gathering:
    """`project` is None without a manifest; `sources` say how each kind of fact is gathered.

    `target` is the environment that live facts are about; without `lifespan` no application's is started.
    """

    root: Path
    project: Project | None
    today: date
    sources: Mapping[type, Callable[[Gathering], Any]]
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
