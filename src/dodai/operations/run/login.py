"""The steps about the login of services at the database: it is there when they start, and changes role by role.

A password cannot have two values at once. So there are two roles: the idle one gets a new password, services sign in
as that one, and the other one is closed once nobody uses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from dodai.core.page import Text
from dodai.engine.plan import Observed, Step, StepContext
from dodai.operations.ports import Login, Logins, SecretStore
from dodai.operations.run.rotation import Rotation
from dodai.operations.secret import DATABASE_LOGIN


class LoginPorts(Protocol):
    """What these steps act through."""

    @property
    def secrets(self) -> SecretStore: ...
    @property
    def logins(self) -> Logins | None: ...
    @property
    def login_roles(self) -> Sequence[str]: ...


def login_steps(ports: LoginPorts, *, alone: bool) -> list[Step]:
    """What makes the login of now work; none without roles. `alone`: nobody is served, so the other role is closed.

    A restore brings back the roles of then: the password of now is unknown there, and one that was closed is open.
    """
    logins = ports.logins
    if logins is None:
        return []

    def login() -> Login:
        return Login.of(ports.secrets.get()[DATABASE_LOGIN])

    def others() -> list[str]:
        return [role for role in ports.login_roles if alone and role != login().role]

    async def observe(_: StepContext) -> Observed:
        if why := await asyncio.to_thread(logins.refused, login()):
            return Observed("needed", why)
        for role in others():
            if not await asyncio.to_thread(logins.is_closed, role):
                return Observed("needed", f"`{role}` can still sign in")
        return Observed("done", f"services sign in as {login().role}")

    async def apply(_: StepContext) -> None:
        await asyncio.to_thread(logins.make, login())
        for role in others():
            await asyncio.to_thread(logins.close, role)

    title = Text("services can sign in at the database", "サービスがデータベースに接続できる")
    return [
        Step(
            id="login",
            title=title,
            area="operations",
            observe=observe,
            apply=apply,
            verify=observe,
            timeout_s=30.0,
        )
    ]


def new_login_step(rotation: Rotation, logins: Logins) -> Step:
    """The role that was idle can sign in, with the new password; taken back, it is closed again."""

    def login() -> Login | None:
        state = rotation.state()
        return Login.of(state.new) if state and not state.over else None

    async def observe(_: StepContext) -> Observed:
        new = login()
        if new is None:
            return Observed("done" if rotation.state() else "needed")
        why = await asyncio.to_thread(logins.refused, new)
        return Observed("needed", why) if why else Observed("done", f"{new.role} can sign in")

    async def apply(_: StepContext) -> None:
        if new := login():
            await asyncio.to_thread(logins.make, new)

    async def undo(_: StepContext) -> None:
        if new := login():
            await asyncio.to_thread(logins.close, new.role)

    return Step(
        id="new-login",
        title=Text("the idle role can sign in with a new password", "休止中のロールが新しいパスワードで接続できる"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=observe,
        undo=undo,
        undo_title=Text("the idle role is closed again", "休止中のロールを再び閉じる"),
        timeout_s=30.0,
    )


def old_login(rotation: Rotation, logins: Logins) -> Step:
    """The role of before can sign in no more; sessions of it that are left are ended."""

    def role() -> str:
        state = rotation.state()
        return Login.of(state.old).role if state and not state.over and state.old else ""

    async def observe(_: StepContext) -> Observed:
        if not role():
            return Observed("done")
        closed = await asyncio.to_thread(logins.is_closed, role())
        return Observed("done", f"{role()} is closed") if closed else Observed("needed", f"`{role()}` can sign in")

    async def apply(_: StepContext) -> None:
        if role():
            await asyncio.to_thread(logins.close, role())

    return Step(
        id="old-login",
        title=Text("the old login is closed", "古いログインを閉じる"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=observe,
        on_failure="fix_forward",
        timeout_s=30.0,
    )
