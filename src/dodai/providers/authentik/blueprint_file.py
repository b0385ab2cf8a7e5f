"""A blueprint file of a release: what it says of the application, read without asking Authentik."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.providers.authentik import codes
from dodai.providers.authentik.authentik_api import APPLICATION, CLIENT, SIGNS_IN

TAGS = frozenset(
    f"!{name}"
    for name in (
        *("KeyOf", "Find", "FindObject", "Context", "Format", "Condition", "If", "Env", "File"),
        *("Enumerate", "Value", "Index", "AtIndex", "ParseJSON"),
    )
)
"""Authentik's own: https://docs.goauthentik.io/customize/blueprints/v1/tags."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """A value that only the server can work out, `!KeyOf client` for example."""

    tag: str
    value: Any


@dataclass(frozen=True, slots=True)
class BlueprintEntry:
    """One object that a blueprint describes, and the line where it begins."""

    line: int
    model: Any
    id: Any
    state: Any
    identifiers: Mapping[str, Any]
    attrs: Mapping[str, Any]

    def says(self, name: str) -> Any:
        """The value of a field; None where nothing is said of it."""
        return self.attrs.get(name, self.identifiers.get(name))


@dataclass(frozen=True, slots=True)
class BlueprintFile:
    """`path` as the manifest names it; `text` without the space around it, as Authentik keeps it."""

    path: str
    text: str
    entries: tuple[BlueprintEntry, ...]

    def refuse_other(self, slug: str, client_id: str, redirect_uris: tuple[str, ...]) -> None:
        """DOD766 (exit 2) where it says something else than the manifest; what only the server knows is left to it."""
        for line, said in self._contradictions(slug, client_id, redirect_uris):
            shown = f"{self.path}:{line}: {said}"
            raise DodaiError(codes.BLUEPRINT_DISAGREES, shown, codes.BLUEPRINT_DISAGREES.fix.en, exit_code=2)

    def _contradictions(self, slug: str, client_id: str, redirect_uris: tuple[str, ...]) -> Iterator[tuple[int, str]]:
        client = self._client_of(slug)
        if client is None:
            return
        said = client.says("client_id")
        if client_id and isinstance(said, str) and said != client_id:
            yield client.line, f"the client id is `{said}`, and `client_id` of the manifest `{client_id}`"
        if client.says("client_type") == "public":
            yield client.line, "the client is `public`: whoever has its id would get tokens without a secret"
        rows = client.says("redirect_uris")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            return
        words = [[row.get(name, "") for name in ("redirect_uri_type", "matching_mode", "url")] for row in rows]
        if any(not isinstance(word, str) for row in words for word in row):
            return
        given = [(mode, url) for kind, mode, url in words if kind in SIGNS_IN]
        for mode, url in given:
            if mode != "strict":
                yield client.line, f"the redirect URI `{url}` is a {mode}: it may match somebody else's address"
            elif url not in redirect_uris:
                yield client.line, f"the redirect URI `{url}` is not in `redirect_uris` of the manifest"
        for uri in redirect_uris:
            if ("strict", uri) not in given:
                yield client.line, f"`{uri}`, in `redirect_uris` of the manifest, is no redirect URI of it"

    def _client_of(self, slug: str) -> BlueprintEntry | None:
        """The client of the application, where both are described here."""
        mine = [one for one in self.entries if one.model == APPLICATION and one.says("slug") == slug]
        key = mine[0].says("provider") if mine else None
        if not (isinstance(key, Tagged) and key.tag == "!KeyOf"):
            return None
        return next((one for one in self.entries if one.model == CLIENT and one.id == key.value), None)


def read_blueprint(root: Path, path: str) -> BlueprintFile:
    """The file `path` below `root`; DOD761 (exit 2) with the line where it is not a blueprint."""
    try:
        text = (root / path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise _unreadable(path, f"cannot be read: {why}") from None
    try:
        tree = yaml.compose(text, Loader=_Loader)
        found = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _unreadable(path, f"is not YAML: {error.problem}", mark.line + 1 if mark else 0) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _unreadable(path, f"is not YAML: {error}") from None
    return BlueprintFile(path, text, tuple(_entries(path, tree, found)))


def _entries(path: str, tree: Any, found: object) -> Iterator[BlueprintEntry]:
    if not isinstance(found, dict) or found.get("version", 1) != 1:
        raise _unreadable(path, "has no `version: 1`", 1)
    rows = found.get("entries")
    if not isinstance(rows, list) or not rows:
        raise _unreadable(path, "has no list of `entries`", 1)
    nodes = next(value for key, value in tree.value if key.value == "entries").value
    for row, node in zip(rows, nodes, strict=True):
        line = node.start_mark.line + 1
        if not isinstance(row, dict):
            raise _unreadable(path, "an entry is not a mapping", line)
        model, identifiers, attrs = row.get("model"), row.get("identifiers"), row.get("attrs") or {}
        if not isinstance(model, Tagged) and not (isinstance(model, str) and model.count(".") == 1):
            raise _unreadable(path, f"an entry has no `model`, such as `{APPLICATION}`", line)
        if not isinstance(identifiers, dict | Tagged) or not identifiers:
            raise _unreadable(path, "an entry has no `identifiers`: nobody could tell which object it is", line)
        yield BlueprintEntry(
            *(line, model, row.get("id"), row.get("state", "present")),
            identifiers if isinstance(identifiers, dict) else {},
            attrs if isinstance(attrs, dict) else {},
        )


def _unreadable(path: str, said: str, line: int = 0) -> DodaiError:
    where = f"{path}:{line}" if line else path
    code = codes.BLUEPRINT_UNREADABLE
    return DodaiError(code, f"{where}: the blueprint {said}", code.fix.en, exit_code=2)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # it has no types here
    """Builds plain values, and keeps Authentik's tags for the server; any other tag is an error."""


def _tagged(loader: yaml.SafeLoader, node: Any) -> Tagged:
    if isinstance(node, yaml.ScalarNode):
        return Tagged(node.tag, loader.construct_scalar(node))
    if isinstance(node, yaml.SequenceNode):
        return Tagged(node.tag, loader.construct_sequence(node, deep=True))
    return Tagged(node.tag, loader.construct_mapping(node, deep=True))


for _tag in TAGS:
    _Loader.add_constructor(_tag, _tagged)
