"""`dodai.operations.ports.DeclaredIdentity` on Authentik: a blueprint of the repository, applied, seen, taken back."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dodai.core.dataclass import dataclass
from dodai.core.errors import Code, DodaiError
from dodai.engine.private_file import write_private
from dodai.operations.environment_policy import AuthentikPolicy
from dodai.operations.ports import DeclaredIdentity, IdentityService, IdentityState
from dodai.operations.provider import Opening, Provider
from dodai.providers.authentik import codes
from dodai.providers.authentik.authentik_api import (
    ADDRESS,
    APPLICATION,
    APPLY_BLUEPRINT,
    CLIENT,
    DELETE_BLUEPRINT,
    GET_BLUEPRINT,
    LIST_BLUEPRINTS,
    MAKE_BLUEPRINT,
    SET_BLUEPRINT,
    TOKEN,
    TRY_CHANGE,
    TRY_NEW,
    AuthentikBlueprint,
    authentik,
)
from dodai.providers.authentik.sign_in import AuthentikSignIn
from dodai.vendor_api import Operation, api_of, token_from

if TYPE_CHECKING:
    from dodai.providers.authentik.blueprint_file import BlueprintFile  # its YAML is of the extra `authentik`

PREVIOUS = "sign-in-previous.json"
ENDED_BADLY = frozenset({"warning", "error", "orphaned"})


@dataclass(frozen=True, slots=True)
class BlueprintSignIn:
    """Sign-in as `file` below `root` describes it, kept at Authentik as the blueprint `name`.

    `released` gives `[env.NAME.authentik]` of the release in a folder; `folder` keeps what was there before a plan.
    Authentik applies a blueprint in a worker: `applied_within_s` is how long that is waited for, `seen_within_s` until
    its effect has to be seen.
    """

    sign_in: AuthentikSignIn
    name: str
    file: str
    root: Path
    folder: Path
    released: Callable[[Path], AuthentikPolicy]
    plan: str = ""
    poll_s: float = field(default=0.5, repr=False)
    applied_within_s: float = 60.0
    seen_within_s: float = 5.0

    def of_release(self, tree: str, /) -> DeclaredIdentity | None:
        """What its file says is judged by its own manifest: today's may name other addresses."""
        policy = self.released(Path(tree))
        if not policy.blueprint_file:
            return None
        sign_in = replace(
            self.sign_in, slug=policy.application, redirect_uris=policy.redirect_uris, client_id=policy.client_id
        )
        name = policy.blueprint or policy.application
        return replace(self, sign_in=sign_in, name=name, file=policy.blueprint_file, root=Path(tree))

    def of_plan(self, plan_id: str, /) -> DeclaredIdentity:
        return replace(self, plan=plan_id)

    @property
    def changed(self) -> bool:
        return self._previous().get("plan") == self.plan

    async def observe(self) -> IdentityState:
        return await asyncio.to_thread(self._observed)

    async def differs(self) -> tuple[str, ...]:
        return await asyncio.to_thread(self._differs)

    async def possible(self) -> None:
        await asyncio.to_thread(self._tried)

    async def apply(self) -> None:
        await asyncio.to_thread(self._brought_about)

    async def back(self) -> bool:
        return await asyncio.to_thread(self._taken_back)

    # --- looking ---

    def _observed(self) -> IdentityState:
        seen = self.sign_in.looked()
        return replace(seen, differs=(*seen.differs, *self._unlike(self._file())))

    def _differs(self) -> tuple[str, ...]:
        """The same, an application that is not there yet included: the blueprint may be what makes it."""
        file = self._file()
        try:
            effect = self.sign_in.looked().differs
        except DodaiError as error:
            if error.code is not codes.MISSING:
                raise
            effect = (error.message,)
        return (*self._unlike(file), *effect)

    def _unlike(self, file: BlueprintFile) -> tuple[str, ...]:
        there = self._there()
        if there is None:
            return (f"there is no blueprint `{self.name}` yet, and `{self.file}` is to be applied",)
        if there.path:
            return (f"the blueprint `{self.name}` is read from `{there.path}`, not from `{self.file}`",)
        if there.content.strip() != file.text:
            return (f"the blueprint `{self.name}` says something else than `{self.file}`",)
        if not there.enabled:
            return (f"the blueprint `{self.name}` is switched off",)
        if there.status != "successful" or there.last_applied_hash != _digest(file.text):
            return (f"the blueprint `{self.name}` is {there.status}: `{self.file}` was not applied as it is",)
        return ()

    def _file(self) -> BlueprintFile:
        from dodai.providers.authentik.blueprint_file import read_blueprint

        return read_blueprint(self.root, self.file)

    def _there(self) -> AuthentikBlueprint | None:
        found = self._call(LIST_BLUEPRINTS, query={"name": self.name}).results
        return next((one for one in found if one.name == self.name), None)

    def _objects(self) -> dict[str, Any]:
        """The application, None where there is none, and all clients by their number."""
        application = self.sign_in.parts()[0]
        clients = {str(one.pk): asdict(one) for one in self.sign_in.clients()}
        for client in clients.values():
            uris = client["redirect_uris"]  # one without a type goes back without one: no earlier Authentik knows it
            client["redirect_uris"] = [{name: said for name, said in one.items() if said} for one in uris]
        found: dict[str, Any] = json.loads(json.dumps({"application": application, "clients": clients}, default=asdict))
        return found

    # --- before anything is changed ---

    def _tried(self) -> None:
        """DOD761, DOD766, DOD765, DOD762, and DOD702 for a token that may not: all without a change.

        The address of people is asked too: nobody could look at the effect where it is not to be reached (DOD705).
        """
        file, sign_in = self._file(), self.sign_in
        file.refuse_other(sign_in.slug, sign_in.client_id, sign_in.redirect_uris)
        try:
            sign_in.discovered()
        except DodaiError as error:
            if error.code is not codes.MISSING:
                raise
        there = self._there()
        self._refuse_file_of_the_server(there)
        body = {"name": "", "content": file.text}
        if there is None:
            trial = self._call(TRY_NEW, body=body)
        else:
            # To apply it needs the right to add one: `apply` is a POST, and `ObjectPermissions` asks by the method
            # (https://github.com/goauthentik/authentik/blob/main/authentik/rbac/permissions.py).
            self._call(TRY_NEW, body={"name": ""})
            trial = self._call(TRY_CHANGE, body=body, blueprint=there.pk)
        if trial.content or not trial.name:
            reasons = trial.content or ("its text was not looked at",)
            said = f"`{self.file}`: {reasons[0]}"
            more = tuple(one.removeprefix("- ") for one in reasons[1:])
            raise self._error(codes.BLUEPRINT_REFUSED, said, fault="user", exit_code=1, details=more)

    def _refuse_file_of_the_server(self, there: AuthentikBlueprint | None) -> None:
        if there is not None and there.path:
            said = f"the blueprint `{self.name}` is kept by Authentik in `{there.path}`"
            raise self._error(codes.BLUEPRINT_OF_A_FILE, said, fault="user", exit_code=1)

    # --- changing ---

    def _brought_about(self) -> None:
        file, there = self._file(), self._there()
        self._refuse_file_of_the_server(there)
        self._remember(there)
        self._put(there, file.text)
        end = time.monotonic() + self.seen_within_s
        while differs := self._differs():
            if time.monotonic() > end:
                said = f"`{self.file}` was applied, and {differs[0]}"
                raise self._error(codes.BLUEPRINT_NOT_APPLIED, said, details=differs[1:])
            time.sleep(self.poll_s)

    def _put(self, there: AuthentikBlueprint | None, text: str) -> None:
        """The blueprint with this text, applied by Authentik."""
        if there is None:
            body = {"name": self.name, "path": "", "content": text, "enabled": True}
            there = self._call(MAKE_BLUEPRINT, body=body, effect=self._there)
        elif there.content.strip() != text or not there.enabled:
            there = self._call(SET_BLUEPRINT, blueprint=there.pk, body={"content": text, "enabled": True})
        self._apply(there.pk, text)

    def _apply(self, pk: str, text: str) -> None:
        """Until Authentik has saved the hash of this text; its reply to the request says only that it was taken.

        The hash alone would be that of an earlier time, with the client changed by somebody since.
        """
        before = self._call(GET_BLUEPRINT, blueprint=pk)
        self._call(APPLY_BLUEPRINT, blueprint=pk)
        end = time.monotonic() + self.applied_within_s
        while True:
            now = self._call(GET_BLUEPRINT, blueprint=pk)
            if now.content.strip() != text:
                raise self._error(codes.BLUEPRINT_NOT_APPLIED, f"somebody else changed the blueprint `{self.name}`")
            ran = now.last_applied != before.last_applied
            if ran and now.status == "successful" and now.last_applied_hash == _digest(text):
                return
            if ran and now.status in ENDED_BADLY:
                said = f"Authentik ended the blueprint `{self.name}` with `{now.status}`"
                raise self._error(codes.BLUEPRINT_NOT_APPLIED, said)
            if time.monotonic() > end:
                said = f"the blueprint `{self.name}` is not applied after {self.applied_within_s:g} s ({now.status})"
                raise self._error(codes.BLUEPRINT_UNFINISHED, said)
            time.sleep(self.poll_s)

    # --- going back ---

    @property
    def _kept(self) -> Path:
        return self.folder / PREVIOUS

    def _previous(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._kept.read_bytes())
        except FileNotFoundError:
            return {}
        return found

    def _remember(self, there: AuthentikBlueprint | None) -> None:
        """What was there before the first change of this plan; a repetition after a crash does not forget it."""
        if not self.changed:
            before = {
                "plan": self.plan,
                "blueprint": asdict(there) if there else None,
                "touched": [],
                **self._objects(),
            }
            self._keep(before)

    def _keep(self, before: Mapping[str, Any]) -> None:
        write_private(self._kept, json.dumps(before, indent=1).encode())

    def _touched(self, kept: dict[str, Any]) -> None:
        """The client of the application as it is now is one that the plan may have changed: known before the way back.

        Of those of others it is known that no text of ours is about them.
        """
        linked = (self._objects()["application"] or {}).get("provider")
        if linked is not None and str(linked) not in kept["touched"]:
            kept["touched"].append(str(linked))
            self._keep(kept)

    def _unrestored(self, kept: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The entries of a blueprint that puts back what is not as it was; a client of somebody else is left alone."""
        now, entries = self._objects(), list[dict[str, Any]]()
        application = kept["application"]
        mine = {*kept["touched"], str((application or {}).get("provider"))}
        for pk in sorted(mine & set(kept["clients"])):
            before = kept["clients"][pk]
            if now["clients"].get(pk) != before:
                attrs = {name: before[name] for name in ("name", "client_id", "client_type", "redirect_uris")}
                entries.append({"model": CLIENT, "identifiers": {"pk": before["pk"]}, "attrs": attrs})
        if application and application != now["application"]:
            attrs = {"name": application["name"], "provider": application["provider"]}
            entries.append({"model": APPLICATION, "identifiers": {"slug": application["slug"]}, "attrs": attrs})
        elif now["application"] and not application:
            slug = {"slug": self.sign_in.slug}
            entries.append({"model": APPLICATION, "state": "absent", "identifiers": slug, "attrs": {}})
        for pk in sorted((mine & set(now["clients"])) - set(kept["clients"])):
            entries.append({"model": CLIENT, "state": "absent", "identifiers": {"pk": int(pk)}, "attrs": {}})
        return entries

    def _taken_back(self) -> bool:
        """Whether this plan had changed something; blueprint, application and client are then as they were before.

        The text of before first, applied where it was; what it does not say is put back by a text of our own.
        """
        kept = self._previous()
        if not self.changed:
            return False
        self._touched(kept)
        before, there = kept["blueprint"], self._there()
        if before and there and not self._is_as(there, before):
            told = {"content": before["content"], "enabled": before["enabled"]}
            there = self._call(SET_BLUEPRINT, blueprint=there.pk, body=told)
            untouched = self._is_as(there, before) and not self._unrestored(kept)
            if before["enabled"] and before["status"] == "successful" and not untouched:
                self._apply(there.pk, before["content"].strip())
        if entries := self._unrestored(kept):
            self._put(self._there(), json.dumps({"version": 1, "entries": entries}, indent=1))  # JSON is YAML
            if before and (there := self._there()):
                self._call(SET_BLUEPRINT, blueprint=there.pk, body={"content": before["content"]})
        if not before and (there := self._there()):
            self._call(DELETE_BLUEPRINT, blueprint=there.pk)
        now = self._there()
        same = now is None if before is None else now is not None and now.content == before["content"]
        if not same or self._unrestored(kept):
            raise self._error(codes.BLUEPRINT_NOT_APPLIED, "sign-in is not as it was before")
        self._kept.unlink()
        return True

    def _is_as(self, there: AuthentikBlueprint, before: Mapping[str, Any]) -> bool:
        """Whether the blueprint has the text of before, and that was the last one to be applied."""
        told = asdict(there)
        return all(told[name] == before[name] for name in ("content", "enabled", "last_applied_hash"))

    # --- calling ---

    def _call(
        self,
        operation: Operation[Any],
        *,
        query: Mapping[str, str | int] | None = None,
        body: object = None,
        effect: Callable[[], Any] | None = None,
        **path: str,
    ) -> Any:
        return self.sign_in.call(operation, path=path, query=query, body=body, effect=effect)

    def _error(self, code: Code, said: str, **rest: Any) -> DodaiError:
        return DodaiError(code, said, code.fix.en, **{"fault": "provider", "reply": "rejected", **rest})


def _digest(text: str) -> str:
    """What Authentik shows as the hash of a text that was applied."""
    return hashlib.sha512(text.encode()).hexdigest()


def _identity(opening: Opening) -> IdentityService:
    policy = opening.config.authentik
    address = opening.variables.get(ADDRESS, "") or policy.url
    sign_in = AuthentikSignIn(
        connect=lambda: api_of(authentik, address, token_from(opening.variables, TOKEN, "Authentik")),
        url=policy.url,
        slug=policy.application,
        redirect_uris=policy.redirect_uris,
        client_id=policy.client_id,
        blueprint="" if policy.blueprint_file else policy.blueprint,
    )
    if not policy.blueprint_file:
        return sign_in
    name = policy.blueprint or policy.application

    def released(tree: Path) -> AuthentikPolicy:
        return opening.project.at(tree).environment(opening.config.name).authentik

    return BlueprintSignIn(sign_in, name, policy.blueprint_file, opening.project.root, opening.folder, released)


PROVIDER = Provider(
    identity=_identity,
    keys=("authentik",),
    required=("authentik.url", "authentik.application", "authentik.redirect_uris"),
)
