"""Releases made of images: the tree of a release with one file that names an image digest for each service."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.operations.ports import Artifacts, ReleaseFile
from dodai.providers.fly import codes
from dodai.providers.fly.registry_api import Registry

IMAGES = "dodai.images.json"
"""The file in a release; its content has a part in the release's id."""
_DIGEST = re.compile(r"[a-z0-9][\w.:/-]*@sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ImageReleases:
    """`Artifacts` for an environment that runs images: `trees` keeps what a release is made of besides them.

    `services` are those that need an image. A release is proven when its files and every image are there.
    """

    trees: Artifacts
    registry: Registry
    services: tuple[str, ...]

    def publish(self, source: str, /, include: Sequence[str] = ()) -> str:
        """The tree as it is; its images are those of a file `dodai.images.json` there, or `derive` adds them."""
        return self.trees.publish(source, include)

    def identify(self, source: str, without: Sequence[str] = (), /) -> str:
        return self.trees.identify(source, without)

    def derive(self, release: str, changes: Mapping[str, bytes | None], /) -> str:
        return self.trees.derive(release, changes)

    def with_images(self, release: str, images: Mapping[str, str]) -> str:
        """The id of `release` with these images; DOD711 for a reference that is no digest, or a service left out."""
        for service, reference in images.items():
            if not _DIGEST.fullmatch(reference):
                said = f"the image of `{service}` is `{reference}`: a tag can mean another image tomorrow"
                raise DodaiError(codes.NO_IMAGE, said, "name it by its digest: `NAME@sha256:…`", exit_code=2)
        changed = self.trees.derive(release, {IMAGES: json.dumps(dict(images), indent=1, sort_keys=True).encode()})
        for service in self.services:
            self.reference(changed, service)
        return changed

    def path(self, release: str, /) -> str:
        return self.trees.path(release)

    def reference(self, release: str, service: str, /) -> str:
        """The image of a service by its digest; DOD711 when the release names none."""
        images = self._images(release)
        if service in images:
            return images[service]
        said = f"release `{release}` names no image for `{service}`"
        fix = f"`{proposal.DEPLOY_IMAGE(env='ENV', service=service)}`"
        raise DodaiError(codes.NO_IMAGE, said, fix, exit_code=2)

    def _images(self, release: str) -> Mapping[str, str]:
        try:
            found = json.loads((Path(self.trees.path(release)) / IMAGES).read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError:
            found = None
        if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
            said = f"`{IMAGES}` of release `{release}` is not a table of images"
            raise DodaiError(codes.NO_IMAGE, said, codes.NO_IMAGE.fix.en, exit_code=2)
        return found

    def entries(self, release: str, /) -> tuple[ReleaseFile, ...]:
        return self.trees.entries(release)

    def digest(self, release: str, /) -> str:
        return self.trees.digest(release)

    def proven(self, release: str, /) -> str:
        """The digest of the files as they are; DOD712 when the registry lacks one of the images."""
        proven = self.trees.proven(release)
        for service in self.services:
            self.registry.prove(self.reference(release, service))
        return proven

    def published(self) -> tuple[str, ...]:
        return self.trees.published()

    def prune(self, keep: int, in_use: Sequence[str], /) -> tuple[str, ...]:
        return self.trees.prune(keep, in_use)
