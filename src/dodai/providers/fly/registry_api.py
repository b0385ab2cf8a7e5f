"""An OCI registry as far as it is used: whether an image is there under its digest (OCI distribution specification)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from urllib.parse import quote

from dodai.core.dataclass import dataclass
from dodai.providers.fly import codes
from dodai.vendor_api import ApiToken, Operation, Rate, Vendor, VendorError, api_of, nothing

REGISTRY_HOST, DEFAULT_HOST = "FLY_REGISTRY_HOST", "registry.fly.io"
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)


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
        name, _, digest = reference.partition("@")
        host, _, repository = name.partition("/")
        token = self.token()
        secret = base64.b64encode(f"x:{token.value}".encode()).decode() if host == self.host else ""
        plain = host.partition(":")[0] in ("127.0.0.1", "localhost")
        api = api_of(registry, f"{'http' if plain else 'https'}://{host}", ApiToken(token.variable, secret))
        asked = Operation(
            name="manifest_head",
            method="HEAD",
            path=f"/v2/{quote(repository)}/manifests/{{digest}}",
            reply=nothing,
            source="transcribed",
        )
        try:
            found = api.call_now(asked, path={"digest": digest}, deadline_s=20.0)
        except VendorError as error:
            if error.status != 404:
                raise
            raise api.error(codes.IMAGE_GONE, f"`{host}` has no image `{repository}@{digest}`", "rejected") from None
        if (there := found.headers.get("docker-content-digest", digest)) != digest:
            said = f"`{host}` answers `{there}` for `{repository}@{digest}`"
            raise api.error(codes.IMAGE_GONE, said, "rejected")
