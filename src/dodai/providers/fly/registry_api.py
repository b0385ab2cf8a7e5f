"""An OCI registry as far as it is used: whether an image is there under its digest, and what is in an index.

After the OCI distribution and image specifications.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import field
from urllib.parse import parse_qsl, quote, urlsplit

from dodai.core.dataclass import dataclass
from dodai.providers.fly import codes
from dodai.vendor_api import Api, ApiToken, Operation, Rate, Vendor, VendorAnswer, VendorError, api_of, nothing, one
from dodai.vendor_api.codes import TOKEN_LACKS, TOKEN_REFUSED

REGISTRY_HOST, DEFAULT_HOST = "FLY_REGISTRY_HOST", "registry.fly.io"
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


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


@dataclass(frozen=True, slots=True)
class RegistryToken:
    """What an authorization service gives; `access_token` is another name of the same."""

    token: str = ""
    access_token: str = ""


def registry() -> Vendor:
    """A registry as a vendor; Fly's takes the API token as the password of any user."""
    return Vendor(name="the registry", scheme="Basic", rates={"": Rate(10.0, 20)}, headers={"accept": _MANIFESTS})


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry at `host`; images of another one are asked for there, with no credentials of ours."""

    host: str
    token: Callable[[], ApiToken]

    def prove(self, reference: str) -> None:
        """That the image is there and is the one that its digest names; DOD712 when it is not, or is not for everybody.

        DOD701 and DOD702 where Fly's own registry does not let the token read it.
        """
        api, found, _ = self._found(reference)
        digest = reference.partition("@")[2]
        if (there := found.headers.get("docker-content-digest", digest)) != digest:
            said = f"the registry answers `{there}` for `{reference}`"
            raise api.error(codes.IMAGE_GONE, said, "rejected")

    def child(self, reference: str) -> str:
        """The digest of what a machine of Fly, which is linux/amd64, runs of an index; "" where the image is none."""
        api, _, headers = self._found(reference)
        asked = Operation(
            name="manifest_get",
            method="GET",
            path=_path(reference),
            reply=one(ImageIndex),
            source="transcribed",
        )
        index = api.call_now(asked, headers=headers, deadline_s=20.0).value
        wanted = ImagePlatform("linux", "amd64")
        return next((part.digest for part in index.manifests if part.platform == wanted), "")

    def _found(self, reference: str) -> tuple[Api, VendorAnswer[None], Mapping[str, str]]:
        """Where the image is, what was answered about it, and what has to be sent to read it."""
        name, _, digest = reference.partition("@")
        host, repository = place_of(name)
        token, ours = self.token(), host == self.host
        secret = base64.b64encode(f"x:{token.value}".encode()).decode() if ours else ""
        plain = host.partition(":")[0] in ("127.0.0.1", "localhost")
        api = api_of(registry, f"{'http' if plain else 'https'}://{host}", ApiToken(token.variable, secret))
        asked = Operation(
            name="manifest_head",
            method="HEAD",
            path=_path(reference),
            reply=nothing,
            source="transcribed",
            ok=(200, 401, 403),
        )
        headers: dict[str, str] = {}
        try:
            found = api.call_now(asked, deadline_s=20.0)
            if found.status == 401 and not ours and (told := _anonymous(found.headers, repository, token.variable)):
                headers = {"authorization": f"Bearer {told}"}
                found = api.call_now(asked, headers=headers, deadline_s=20.0)
        except VendorError as error:
            if error.status != 404:
                raise
            raise api.error(codes.IMAGE_GONE, f"`{host}` has no image `{repository}@{digest}`", "rejected") from None
        if found.status != 200 and ours:
            said = f"`{host}` does not let `{token.variable}` read `{repository}` ({found.status}): "
            said += "it ended, or is not for the images of this app"
            code = TOKEN_REFUSED if found.status == 401 else TOKEN_LACKS
            raise api.error(code, said, "rejected", found.status)
        if found.status != 200:
            said = f"`{host}` has no image `{repository}@{digest}` that everybody may read ({found.status})"
            raise api.error(codes.IMAGE_GONE, said, "rejected", found.status)
        return api, found, headers


def _path(reference: str) -> str:
    name, _, digest = reference.partition("@")
    return f"/v2/{quote(place_of(name)[1])}/manifests/{digest}"


def place_of(name: str) -> tuple[str, str]:
    """The host that is asked for an image and its name there, as `docker pull` understands `name`.

    https://github.com/distribution/reference (`splitDockerDomain`): without a host it is `docker.io`, where a name
    alone is below `library`; that registry is at `registry-1.docker.io`.
    """
    host, _, rest = name.partition("/")
    if not rest or not ({".", ":"} & set(host) or host == "localhost"):
        host, rest = "docker.io", name
    if host not in ("docker.io", "index.docker.io"):
        return host, rest
    return "registry-1.docker.io", rest if "/" in rest else f"library/{rest}"


def _anonymous(headers: Mapping[str, str], repository: str, variable: str) -> str:
    """A token for reading what everybody may read, from the service that a 401 names; "" where it names none.

    https://docs.docker.com/reference/api/registry/auth. Nothing of ours is sent there, nothing in clear text (DOD709).
    """
    kind, _, said = headers.get("www-authenticate", "").partition(" ")
    told = dict(_PARAMETER.findall(said))
    realm = urlsplit(told.get("realm", ""))
    if kind.lower() != "bearer" or not realm.netloc:
        return ""
    query: dict[str, str | int] = {"scope": told.get("scope", f"repository:{repository}:pull")}
    query |= {name: value for name, value in (*parse_qsl(realm.query), ("service", told.get("service", ""))) if value}
    path = re.sub("[{}]", lambda brace: brace[0] * 2, realm.path or "/")
    asked = Operation(name="registry_token", method="GET", path=path, reply=one(RegistryToken), source="transcribed")
    with closing(Api(registry(), f"{realm.scheme}://{realm.netloc}", ApiToken(variable, ""))) as api:
        try:
            found = api.call_now(asked, query=query, deadline_s=20.0).value
        except VendorError as error:
            if error.status not in (401, 403):
                raise
            return ""
    return found.token or found.access_token
