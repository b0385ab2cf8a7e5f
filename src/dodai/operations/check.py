"""The rules of operations that the manifest alone decides."""

from __future__ import annotations

from collections.abc import Iterator

from dodai.core.finding import Finding, Place
from dodai.core.manifest import Manifest
from dodai.core.rule import rule
from dodai.operations import codes
from dodai.operations.policy import OperationsPolicy


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


RULES = (one_public_service, no_service_cycle)
