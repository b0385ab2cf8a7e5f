"""Registry of images: manifests by digest over the OCI distribution API, and the program that an image holds."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import field

from dodai.core.dataclass import dataclass
from dodai.standins.standin_server import Asked, Reply, StandIn, route


@dataclass(frozen=True, slots=True)
class MachineImage:
    """What an image holds here: a folder, a command in it, variables. `light`: the stand-in answers in its place.

    A light one takes no process of its own: the stand-in says `version` to every check (for fleets of hundreds).
    """

    folder: str
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    light: bool = False

    def manifest(self) -> bytes:
        """An OCI image manifest whose digest is of what the image holds."""
        held = json.dumps([self.folder, self.command, dict(self.env), self.light]).encode()
        layer = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": _digest(held), "size": len(held)}
        kind = "application/vnd.oci.image.manifest.v1+json"
        return json.dumps({"schemaVersion": 2, "mediaType": kind, "config": layer, "layers": []}).encode()


class RegistryStandIn(StandIn):
    """Answers HEAD and GET of manifests; `push` puts an image there, `prune` takes it away."""

    def __init__(self, token: str, *, port: int = 0) -> None:
        super().__init__({token: frozenset({"*"})}, port=port)
        self.images: dict[str, MachineImage] = {}
        self._manifests: dict[tuple[str, str], bytes] = {}
        self._children: dict[str, str] = {}
        self.routes = (
            route("HEAD", "/v2/{name}/manifests/{digest}", self._show, "read"),
            route("GET", "/v2/{name}/manifests/{digest}", self._show, "read"),
        )

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def push(self, name: str, image: MachineImage, *, index: bool = False) -> str:
        """The reference of the image by its digest; `index`: as buildx pushes one, with a statement of its origin."""
        manifest = image.manifest()
        digest = _digest(manifest)
        self._manifests[name, digest] = manifest
        self.images[digest] = image
        if index:
            platforms = {digest: ("linux", "amd64"), _digest(b"origin" + manifest): ("unknown", "unknown")}
            content = _index(platforms)
            self._manifests[name, _digest(content)] = content
            self._children[_digest(content)] = digest
            digest = _digest(content)
        return f"{self.host}/{name}@{digest}"

    def child(self, digest: str) -> str:
        """What a machine runs of the image with that digest, and shows as its own: of an index the manifest for it."""
        return self._children.get(digest, digest)

    def prune(self, reference: str) -> None:
        name, _, digest = reference.removeprefix(f"{self.host}/").partition("@")
        self._manifests.pop((name, digest), None)

    def bearer(self, headers: Mapping[str, str]) -> str:
        """The password of HTTP Basic."""
        try:
            said = base64.b64decode(headers.get("authorization", "").removeprefix("Basic ")).decode()
        except ValueError:
            return ""
        return said.partition(":")[2]

    def _show(self, asked: Asked) -> Reply:
        found = self._manifests.get((asked.params["name"], asked.params["digest"]))
        if found is None:
            return Reply(404, {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]})
        kind = json.loads(found)["mediaType"]
        return Reply(200, found, {"content-type": kind, "docker-content-digest": asked.params["digest"]})


def _index(platforms: Mapping[str, tuple[str, str]]) -> bytes:
    """An OCI image index of the manifests with these digests, and what each is for."""
    kind = "application/vnd.oci.image.manifest.v1+json"
    parts = [
        {"mediaType": kind, "digest": digest, "size": 1, "platform": {"os": os, "architecture": architecture}}
        for digest, (os, architecture) in platforms.items()
    ]
    return json.dumps(
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": parts}
    ).encode()


class PublicRegistryStandIn(StandIn):
    """A registry such as Docker's or GitHub's: nobody reads without a token, which its service gives to anybody.

    https://docs.docker.com/reference/api/registry/auth. The token reads what is `public`, and nothing else.
    """

    def __init__(self) -> None:
        super().__init__({"": frozenset({"*"})})
        self.public: set[tuple[str, str]] = set()
        self.issued: dict[str, str] = {}
        self.routes = (
            route("GET", "/service/token", self._token),
            route("HEAD", "/v2/{owner}/{name}/manifests/{digest}", self._show),
            route("GET", "/v2/{owner}/{name}/manifests/{digest}", self._show),
        )

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def bearer(self, headers: Mapping[str, str]) -> str:
        """Each path decides by itself who may ask."""
        del headers
        return ""

    def _token(self, asked: Asked) -> Reply:
        """For the scope that is asked for; whoever sends credentials that are none is refused."""
        if "authorization" in asked.headers or asked.query.get("service") != self.host:
            return Reply(401, {"details": "incorrect username or password"})
        token = secrets.token_hex(8)
        self.issued[token] = asked.query.get("scope", "")
        return Reply(200, {"token": token, "expires_in": 300})

    def _show(self, asked: Asked) -> Reply:
        repository, digest = f"{asked.params['owner']}/{asked.params['name']}", asked.params["digest"]
        scope = f"repository:{repository}:pull"
        kind, _, token = asked.headers.get("authorization", "").partition(" ")
        allowed = any(name == repository for name, _ in self.public) and self.issued.get(token) == scope
        if kind != "Bearer" or not allowed:
            said = f'Bearer realm="{self.url}/service/token",service="{self.host}",scope="{scope}"'
            return Reply(401, {"errors": [{"code": "UNAUTHORIZED"}]}, {"www-authenticate": said})
        if (repository, digest) not in self.public:
            return Reply(404, {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]})
        return Reply(200, _index({digest: ("linux", "amd64")}), {"docker-content-digest": digest})


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
