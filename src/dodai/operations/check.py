"""The rules of operations: what the manifest and the ids of rules, drills and tests decide."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from dodai.core.fact import Cost
from dodai.core.finding import Finding, Place
from dodai.core.manifest import Manifest
from dodai.core.rule import rule
from dodai.operations import codes
from dodai.operations.policy import OperationsPolicy


@dataclass(frozen=True, slots=True)
class Proofs:
    """Everything that can turn red: codes of rules, ids of drills, and those tests that the manifest names."""

    cost: ClassVar[Cost] = "static"
    ids: frozenset[str]


@rule(codes.NO_PUBLIC_SERVICE, needs=(Manifest,))
def one_public_service(manifest: Manifest) -> Iterator[Finding]:
    services = OperationsPolicy.from_manifest(manifest).services
    public = [name for name, service in services.items() if service.public]
    if services and len(public) != 1:
        said = f"{len(public)} services are public: {', '.join(f'`{name}`' for name in public) or 'none'}"
        yield Finding(codes.NO_PUBLIC_SERVICE, said, Place(manifest.path))


@rule(codes.SERVICE_CYCLE, needs=(Manifest,))
def no_service_cycle(manifest: Manifest) -> Iterator[Finding]:
    try:
        OperationsPolicy.from_manifest(manifest).start_order()
    except ValueError as error:
        yield Finding(codes.SERVICE_CYCLE, str(error), Place(manifest.path))


@rule(codes.UNPROVEN_LIMITATION, needs=(Manifest, Proofs))
def every_resolved_limitation_is_proven(manifest: Manifest, proofs: Proofs) -> Iterator[Finding]:
    for limitation in OperationsPolicy.from_manifest(manifest).limitations:
        proof = limitation.resolved_by
        if not proof or proof in proofs.ids:
            continue
        nearest = difflib.get_close_matches(proof, sorted(proofs.ids), n=1)
        said = f"`{limitation.id}` is resolved by `{proof}`, which is no rule, drill or test"
        fix = f"did you mean `{nearest[0]}`?" if nearest else ""
        yield Finding(codes.UNPROVEN_LIMITATION, said, _place(manifest, proof), fix=fix)


def _place(manifest: Manifest, proof: str) -> Place:
    lines = manifest.text.decode("utf-8", "replace").split("\n")
    number = next((n for n, line in enumerate(lines, 1) if "resolved_by" in line and proof in line), None)
    return Place(manifest.path, number) if number else Place(manifest.path)


RULES = (one_public_service, no_service_cycle, every_resolved_limitation_is_proven)
