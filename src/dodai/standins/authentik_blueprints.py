"""The blueprints of the Authentik stand-in: kept, looked at entry by entry, applied by a worker a moment later."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, Protocol

import yaml

from dodai.core.dataclass import dataclass
from dodai.standins.standin_server import Asked, Reply

WORKER_S = 0.05
_APPLICATION, _CLIENT = "authentik_core.application", "authentik_providers_oauth2.oauth2provider"
_FIELDS = {
    _APPLICATION: frozenset({"slug", "name", "provider", "group", "meta_launch_url", "policy_engine_mode"}),
    _CLIENT: frozenset(
        {
            *("pk", "name", "client_id", "client_secret", "client_type", "redirect_uris", "signing_key"),
            *("authorization_flow", "invalidation_flow", "property_mappings", "sub_mode", "issuer_mode"),
        }
    ),
}
"""The two models that are carried out, with those of their fields that a blueprint may set here."""


class Directory(Protocol):
    """What blueprints change: applications by slug, clients by number."""

    applications: dict[str, dict[str, Any]]
    clients: dict[int, dict[str, Any]]


class UnsoundBlueprintError(ValueError):
    """Why a text is not applied, in Authentik's manner."""


@dataclass(frozen=True, slots=True)
class _Found:
    """`!Find`, or another tag that is looked up among what the stand-in has not: it becomes nothing."""


@dataclass(frozen=True, slots=True)
class _KeyOf:
    """`!KeyOf`: the object of an earlier entry with that id."""

    id: str


class BlueprintShelf:
    """Every blueprint, by its name. `works` False: nobody applies anything. `ends` other than `successful`: so does
    every application, and nothing is changed. `spoils` changes what an application has just made, as somebody might.
    """

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.rows: dict[str, dict[str, Any]] = {}
        self.works, self.ends = True, "successful"
        self.spoils: Callable[[], None] | None = None
        self._one = threading.RLock()
        self._queue: list[threading.Timer] = []

    def add(self, name: str, content: str = "", *, status: str = "unknown", path: str = "") -> dict[str, Any]:
        """A blueprint as somebody left it there."""
        row: dict[str, Any] = {
            "pk": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
            "name": name,
            "path": path,
            "context": {},
            "enabled": True,
            "content": content.strip(),
            "status": status,
            "last_applied": _now(),
            "last_applied_hash": "",
            "managed_models": [],
            "metadata": {},
        }
        if status == "successful":
            row["last_applied_hash"] = _digest(row["content"])
        self.rows[name] = row
        return row

    # --- the API ---

    def listed(self, asked: Asked) -> list[dict[str, Any]]:
        name, path = asked.query.get("name", ""), asked.query.get("path", "")
        with self._one:  # Authentik saves all that an application changes of a row at once
            rows = [dict(row) for row in self.rows.values()]
        return [row for row in rows if name in ("", row["name"]) and path in ("", row["path"])]

    def shown(self, asked: Asked) -> Reply:
        with self._one:
            row = self._named(asked)
            return Reply(200, dict(row)) if row else _GONE

    def made(self, asked: Asked) -> Reply:
        with self._one:
            if problems := self._problems(asked.body, None):
                return Reply(400, problems)
            row = self.add(asked.body["name"].strip(), asked.body.get("content", ""))
            row |= {name: asked.body[name] for name in ("enabled", "context", "path") if name in asked.body}
            return Reply(201, dict(row))

    def changed(self, asked: Asked) -> Reply:
        with self._one:
            if (row := self._named(asked)) is None:
                return _GONE
            if problems := self._problems(asked.body, row):
                return Reply(400, problems)
            told = {name: asked.body[name] for name in ("enabled", "context", "path", "name") if name in asked.body}
            if "content" in asked.body:
                told["content"] = asked.body["content"].strip()
            if (name := told.get("name", "").strip()) and name != row["name"]:
                self.rows[name] = self.rows.pop(row["name"])
                told["name"] = name
            row |= told | {"last_applied": _now()}  # Authentik writes the time at every save
            return Reply(200, dict(row))

    def removed(self, asked: Asked) -> Reply:
        with self._one:
            row = self._named(asked)
            return Reply(204) if row and self.rows.pop(row["name"]) else _GONE

    def applied(self, asked: Asked) -> Reply:
        """Taken by the worker, which comes to it later; the reply shows the blueprint as it is before."""
        before = self.shown(asked)
        if before is not _GONE and self.works:
            timer = threading.Timer(WORKER_S, self._work, (asked.params["blueprint"],))
            timer.daemon = True
            self._queue.append(timer)
            timer.start()
        return before

    def idle(self) -> None:
        """Until the worker has come to everything that was asked of it."""
        while self._queue:
            self._queue.pop().join()

    def _named(self, asked: Asked) -> dict[str, Any] | None:
        return next((row for row in self.rows.values() if row["pk"] == asked.params["blueprint"]), None)

    def _problems(self, body: object, row: Mapping[str, Any] | None) -> dict[str, list[str]]:
        """Every field that is not right, the text among them; neither text nor path is an error of its own."""
        if not isinstance(body, dict):
            return {"non_field_errors": ["Invalid data. Expected a dictionary."]}
        found: dict[str, list[str]] = {}
        kinds = {"name": str, "path": str, "content": str, "enabled": bool, "context": dict}
        for name, kind in kinds.items():
            if name in body and not isinstance(body[name], kind):
                found[name] = [f"Not a valid {kind.__name__}."]
        if "name" not in body and row is None:
            found["name"] = ["This field is required."]
        elif "name" in body and "name" not in found:
            if not body["name"].strip() or "\0" in body["name"]:
                found["name"] = ["This field may not be blank."]
            elif body["name"].strip() in self.rows and (row is None or row["name"] != body["name"].strip()):
                found["name"] = ["Blueprint Instance with this name already exists."]
        if "path" in body and "path" not in found and body["path"] and not body["path"].startswith("oci://"):
            found["path"] = ["Blueprint file does not exist"]
        if "content" in body and "content" not in found and body["content"].strip():
            try:
                self._outcome(body["content"])
            except UnsoundBlueprintError as error:
                found["content"] = ["Failed to validate blueprint", f"- {error}"]
        if not found and not body.get("path") and not body.get("content"):
            found["non_field_errors"] = ["Either path or content must be set."]
        return found

    # --- the worker ---

    def _work(self, pk: str) -> None:
        with self._one:
            row = next((one for one in self.rows.values() if one["pk"] == pk), None)
            if row is None or not row["enabled"]:
                return
            row["last_applied"] = _now()
            try:
                applications, clients = self._outcome(row["content"])
            except UnsoundBlueprintError:
                row["status"] = "error"
                return
            row["status"] = self.ends
            if self.ends == "successful":
                _take_over(self.directory.applications, applications)
                _take_over(self.directory.clients, clients)
                row["last_applied_hash"] = _digest(row["content"])
                if self.spoils:
                    self.spoils()

    def _outcome(self, content: str) -> tuple[dict[str, dict[str, Any]], dict[int, dict[str, Any]]]:
        """Applications and clients as they would be: all entries, or an error and none."""
        try:
            text = yaml.load(content, Loader=_AppliedLoader)  # noqa: S506 - a SafeLoader
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise UnsoundBlueprintError(f"Invalid YAML: {type(error).__name__}") from None
        if not isinstance(text, dict) or text.get("version", 1) != 1 or not isinstance(text.get("entries"), list):
            raise UnsoundBlueprintError("Invalid blueprint version")
        applications, clients = deepcopy(self.directory.applications), deepcopy(self.directory.clients)
        known: dict[str, int | str] = {}
        for entry in text["entries"]:
            if not isinstance(entry, dict) or not isinstance(entry.get("identifiers"), dict):
                raise UnsoundBlueprintError("Entry invalid: No or invalid identifiers")
            said = {**(entry.get("attrs") or {}), **entry["identifiers"]}
            said = {name: _resolved(value, known) for name, value in said.items()}
            model, absent = entry.get("model"), entry.get("state") == "absent"
            unknown = sorted(str(name) for name in set(said) - _FIELDS.get(str(model), frozenset(said)))
            if unknown:
                raise UnsoundBlueprintError(f"Entry invalid: Invalid field: {unknown[0]}")
            if model == _CLIENT:
                key: int | str = _client(clients, said, entry["identifiers"], absent=absent)
            elif model == _APPLICATION:
                key = _application(applications, said, clients, absent=absent)
            else:
                raise UnsoundBlueprintError(f"App or Model does not exist: {model}")
            known[str(entry.get("id", ""))] = key
        return applications, clients


def _client(
    clients: dict[int, dict[str, Any]], said: dict[str, Any], identifiers: Mapping[str, Any], *, absent: bool
) -> int:
    pk = said.pop("pk", None)
    names = [name for name in identifiers if name != "pk"]
    key = next(
        (n for n, row in clients.items() if n == pk or (names and all(row.get(name) == said[name] for name in names))),
        0,
    )
    if absent:
        clients.pop(key, None)
        return key
    if not key:
        key = max([6, *clients]) + 1
        if not said.get("name"):
            raise UnsoundBlueprintError("Entry invalid: Serializer errors {'name': 'This field is required.'}")
        clients[key] = {"client_id": uuid.uuid4().hex, "client_type": "confidential", "redirect_uris": []}
    uris = said.get("redirect_uris", [])
    if not isinstance(uris, list) or any(
        not isinstance(one, dict)
        or one.get("matching_mode") not in ("strict", "regex")
        or not isinstance(one.get("url"), str)
        or one.get("redirect_uri_type", "logout") not in ("authorization", "logout")
        for one in uris
    ):
        raise UnsoundBlueprintError("Entry invalid: Serializer errors {'redirect_uris': 'Invalid data.'}")
    if said.get("client_type", "public") not in ("public", "confidential"):
        raise UnsoundBlueprintError("Entry invalid: Serializer errors {'client_type': 'not a valid choice.'}")
    if any(not isinstance(said.get(name) or "", str) for name in ("name", "client_id", "client_secret")):
        raise UnsoundBlueprintError("Entry invalid: Serializer errors: Not a valid string.")
    kept = ("name", "client_id", "client_secret", "client_type", "redirect_uris")
    clients[key] |= {name: value for name, value in said.items() if name in kept and value is not None}
    for one in clients[key]["redirect_uris"]:
        if one.get("redirect_uri_type") == "authorization":  # shown with each that has no other
            del one["redirect_uri_type"]
    return key


def _application(
    applications: dict[str, dict[str, Any]],
    said: Mapping[str, Any],
    clients: Mapping[int, object],
    *,
    absent: bool,
) -> str:
    slug, name = said.get("slug"), said.get("name", "")
    if not isinstance(slug, str) or not slug or not isinstance(name, str):
        raise UnsoundBlueprintError("Entry invalid: Serializer errors {'slug': 'This field is required.'}")
    if absent:
        applications.pop(slug, None)
        return slug
    if said.get("provider") is not None and said["provider"] not in clients:
        raise UnsoundBlueprintError("Entry invalid: Serializer errors {'provider': 'Invalid pk'}")
    row = applications.setdefault(slug, {"name": name or slug, "provider": None})
    row |= {key: said[key] for key in ("name", "provider") if key in said}
    return slug


def _take_over(there: dict[Any, dict[str, Any]], made: Mapping[Any, dict[str, Any]]) -> None:
    """What was there stays the same object: others hold on to it."""
    for key in set(there) - set(made):
        del there[key]
    for key, row in made.items():
        there.setdefault(key, {}).update(row)


def _resolved(value: Any, known: Mapping[str, int | str]) -> Any:
    if isinstance(value, _KeyOf):
        if value.id not in known:
            raise UnsoundBlueprintError(f"Entry invalid: KeyOf: failed to find entry with `id` of `{value.id}`")
        return known[value.id]
    return None if isinstance(value, _Found) else value


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _digest(text: str) -> str:
    return hashlib.sha512(text.encode()).hexdigest()


class _AppliedLoader(yaml.SafeLoader):  # type: ignore[misc]  # it has no types here
    """YAML with the two kinds of tags that are carried out here."""


_AppliedLoader.add_constructor("!KeyOf", lambda loader, node: _KeyOf(str(loader.construct_scalar(node))))
for _tag in ("!Find", "!Env", "!File", "!Context"):
    _AppliedLoader.add_constructor(_tag, lambda _loader, _node: _Found())
_GONE = Reply(404, {"detail": "No BlueprintInstance matches the given query."})
