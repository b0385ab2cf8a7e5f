"""An OCI registry as far as it is used: whether an image is there under its digest, and what is in an index.

After the OCI distribution and image specifications.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import field
from typing import TypeVar
from urllib.parse import quote

from dodai.core.dataclass import dataclass
from dodai.providers.fly import codes
from dodai.vendor_api import Api, ApiToken, Operation, Rate, Vendor, VendorAnswer, VendorError, api_of, nothing, one
from dodai.vendor_api.contract import Reader

REGISTRY_HOST, DEFAULT_HOST = "FLY_REGISTRY_HOST", "registry.fly.io"
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ImagePlatform:
    """What a manifest of an index is for."""

    os: str = ""
    architecture: str = ""


@dataclass(frozen=True, slots=True)
class ImagePart:
    """A manifest that an index names."""

    digest: str
    platform: ImagePlatform = field(default_factory=ImagePlatform)


@dataclass(frozen=True, slots=True)
class ImageIndex:
    """A manifest, of which only what an index names is read; it names nothing where it is no index."""

    manifests: tuple[ImagePart, ...] = ()


def registry() -> Vendor:
    """A registry as a vendor; Fly's takes the API token as the password of any user."""
    return Vendor(name="the registry", scheme="Basic", rates={"": Rate(10.0, 20)}, headers={"accept": _MANIFESTS})


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry at `host`; images of another one are asked for there, with no credentials of ours."""

    host: str
    token: Callable[[], ApiToken]

    def prove(self, reference: str) -> None:
        """That the image is there and is the one that its digest names; DOD712 when it is not."""
        api, found = self._ask("HEAD", reference, nothing)
        digest = reference.partition("@")[2]
        if (there := found.headers.get("docker-content-digest", digest)) != digest:
            said = f"the registry answers `{there}` for `{reference}`"
            raise api.error(codes.IMAGE_GONE, said, "rejected")

    def child(self, reference: str) -> str:
        """The digest of what a machine of Fly, which is linux/amd64, runs of an index; "" where the image is none."""
        _, found = self._ask("GET", reference, one(ImageIndex))
        wanted = ImagePlatform("linux", "amd64")
        return next((part.digest for part in found.value.manifests if part.platform == wanted), "")

    def _ask(self, method: str, reference: str, reply: Reader[T]) -> tuple[Api, VendorAnswer[T]]:
        name, _, digest = reference.partition("@")
        host, _, repository = name.partition("/")
        token = self.token()
        secret = base64.b64encode(f"x:{token.value}".encode()).decode() if host == self.host else ""
        plain = host.partition(":")[0] in ("127.0.0.1", "localhost")
        api = api_of(registry, f"{'http' if plain else 'https'}://{host}", ApiToken(token.variable, secret))
        asked = Operation(
            name=f"manifest_{method.lower()}",
            method=method,
            path=f"/v2/{quote(repository)}/manifests/{{digest}}",
            reply=reply,
            source="transcribed",
        )
        try:
            return api, api.call_now(asked, path={"digest": digest}, deadline_s=20.0)
        except VendorError as error:
            if error.status != 404:
                raise
            raise api.error(codes.IMAGE_GONE, f"`{host}` has no image `{repository}@{digest}`", "rejected") from None
