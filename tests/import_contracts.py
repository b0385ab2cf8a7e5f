"""A contract type for import-linter: what a package may reach, as a list of what is allowed instead of what is not."""

from __future__ import annotations

import sys

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class ReachContract(Contract):
    """The sources reach, also through other modules, nothing but the standard library and what is listed.

    `externals`: other distributions' top-level packages. `inside`: packages of ours besides the source itself; without
    it all of them. Sources that do not exist are left out, unless none does.
    """

    type_name = "reach"

    sources = fields.ListField(subfield=fields.StringField())
    externals = fields.ListField(subfield=fields.StringField(), required=False)
    inside = fields.ListField(subfield=fields.StringField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 - import-linter's signature
        sources = [source for source in self.sources if source in graph.modules]
        found: list[str] = [] if sources else [f"none of {', '.join(self.sources)} exists"]
        for source in sources:
            members = {source, *graph.find_descendants(source)}
            for reached in sorted(graph.find_upstream_modules(source, as_package=True)):
                if not self._allowed(reached, source):
                    chain = min(
                        (c for m in members if (c := graph.find_shortest_chain(importer=m, imported=reached))),
                        key=lambda chain: (len(chain), chain),
                    )
                    found.append(" -> ".join(chain))
        return ContractCheck(kept=not found, metadata={"found": found})

    def _allowed(self, reached: str, source: str) -> bool:
        top = reached.partition(".")[0]
        if top != source.partition(".")[0]:
            return top in sys.stdlib_module_names or top in (self.externals or ())
        allowed = (source, *self.inside) if self.inside is not None else (top,)
        return any(reached == each or reached.startswith(f"{each}.") for each in allowed)

    def render_broken_contract(self, check: ContractCheck) -> None:
        for chain in check.metadata["found"]:
            output.print_error(chain)
