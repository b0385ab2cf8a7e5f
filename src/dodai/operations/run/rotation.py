"""The steps that change a secret while the environment serves: at no moment does a process meet a value it lacks.

With `overlap` that takes two rounds of restarts: in the first everybody learns to recognise the new value, in the
second everybody signs with it. The old value is dropped by a plan of its own, once nothing made with it is in use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol, cast

from dodai.core.page import Text
from dodai.engine.plan import Look, Observed, PlanRequest, Step, StepContext
from dodai.operations.policy import Service
from dodai.operations.ports import Artifacts, Compute, SecretStore
from dodai.operations.programs import Programs
from dodai.operations.run.service_steps import ServicePorts, ServiceSteps, Settings
from dodai.operations.secret import RotationState, entries, new_value, notes_of

ROTATE, SECRET, CHANGE, NONCE = "rotate", "secret", "change", "nonce"
"""The kind of the plan, and its arguments: the name of the secret, how it changes, and what names this rotation."""
SecretChange = Literal["overlap", "finish", "replace", "set"]
"""`overlap`: a random value in front, the old one still recognised. `finish`: the first value alone.
`replace`: a random value alone. `set`: a value alone that a person gave."""
_Target = Callable[[RotationState], str]


class RotationPorts(ServicePorts, Protocol):
    """What a rotation acts through."""

    @property
    def secrets(self) -> SecretStore: ...


@dataclass(frozen=True, slots=True, repr=False)
class Rotation:
    """The steps of one change of a secret; `given` is the value of `set`, known only to the process that asked."""

    request: PlanRequest
    ports: RotationPorts
    given: str = ""

    @property
    def store(self) -> SecretStore:
        return self.ports.secrets

    @property
    def name(self) -> str:
        return self.request.arguments[SECRET]

    @property
    def change(self) -> SecretChange:
        return cast("SecretChange", self.request.arguments[CHANGE])

    def steps(self, consumers: tuple[Service, ...]) -> list[Step]:
        """Up to the moment when traffic goes to processes that have the new value."""
        steps = [self._prepare()]
        if self.change == "overlap":
            title = Text(f"a new value of {self.name} is recognised", f"{self.name} の新しい値を検証に使えるようにする")
            steps += [self._store("recognise", title, _behind, (_old,), later=(_in_front,))]
            steps += self._serve("recognise", _behind, consumers, later=_in_front)
            title = Text(f"the new value of {self.name} signs", f"{self.name} の新しい値で署名する")
            steps += [self._store("sign", title, _in_front, (_behind,)), *self._serve("sign", _in_front, consumers)]
            return steps
        title = Text(f"{self.name} has its new value alone", f"{self.name} を新しい値だけにする")
        target = _first if self.change == "finish" else _new
        return [*steps, self._store("replace", title, target, (_old,)), *self._serve("replace", target, consumers)]

    def last(self) -> Step:
        """Old and new value leave the store's notes: nothing is taken back after this."""

        async def observe(_: StepContext) -> Observed:
            state = self._state()
            return Observed("done" if state and state.over else "needed")

        async def apply(_: StepContext) -> None:
            self.store.put(RotationState(self._nonce, over=True).written(self.store.get(), self.name))

        return Step(
            id="forget",
            title=Text("the replaced value is forgotten", "置き換えた値を消去"),
            area="operations",
            observe=observe,
            apply=apply,
            verify=observe,
            on_failure="fix_forward",
            timeout_s=10.0,
        )

    @property
    def _nonce(self) -> str:
        return self.request.arguments[NONCE]

    def _state(self) -> RotationState | None:
        """What the store holds of this rotation; None when it holds nothing, or another one."""
        state = RotationState.read(self.store.get(), self.name)
        return state if state and state.nonce == self._nonce else None

    def _prepare(self) -> Step:
        async def observe(_: StepContext) -> Observed:
            if self._state():
                return Observed("done")
            if self.change == "set" and not self.given:
                return Observed("blocked", f"the value of `{self.name}` was given to a command that has ended")
            return Observed("needed", "no new value yet")

        async def apply(_: StepContext) -> None:
            values = self.store.get()
            old = values.get(self.name, "")
            new = self.given or ("" if self.change == "finish" else new_value(self.name, old))
            self.store.put(RotationState(self._nonce, old, new).written(values, self.name))

        async def undo(_: StepContext) -> None:
            notes = notes_of(self.name)
            self.store.put({name: value for name, value in self.store.get().items() if name != notes})

        return Step(
            id="prepare",
            title=Text("the new value is kept beside the old one", "新しい値を古い値と並べて保管"),
            area="operations",
            observe=observe,
            apply=apply,
            verify=observe,
            undo=undo,
            undo_title=Text("the new value is forgotten", "新しい値を消去"),
            timeout_s=10.0,
            inputs={SECRET: self.name, CHANGE: self.change},
        )

    def _store(
        self, word: str, title: Text, target: _Target, before: tuple[_Target, ...], later: tuple[_Target, ...] = ()
    ) -> Step:
        """The store holds `target`, coming from one of `before`; it holds one of `later` when this is long done."""

        async def observe(_: StepContext) -> Observed:
            state, held = self._state(), self.store.get().get(self.name, "")
            if state is None or state.over:
                return Observed("done" if state else "needed")
            if held in [one(state) for one in (target, *later)]:
                return Observed("done")
            if held in [one(state) for one in before]:
                return Observed("needed")
            return Observed("blocked", f"`{self.name}` was changed by somebody else since this plan began")

        async def apply(_: StepContext) -> None:
            self._put(target)

        async def undo(_: StepContext) -> None:
            self._put(before[0])

        return Step(
            id=word,
            title=title,
            area="operations",
            observe=observe,
            apply=apply,
            verify=observe,
            undo=undo,
            undo_title=Text(f"{self.name} is as it was before", f"{self.name} を元の値に戻す"),
            timeout_s=10.0,
        )

    def _put(self, value: _Target) -> None:
        state = self._state()
        if state is not None and not state.over:
            values = dict(self.store.get())
            if held := value(state):
                values[self.name] = held
            else:
                values.pop(self.name, None)
            self.store.put(values)

    def _serve(
        self, word: str, value: _Target, consumers: tuple[Service, ...], later: _Target | None = None
    ) -> list[Step]:
        """Each consumer anew with `value`; what runs with another one stays until the plan is over.

        Where `later` is what already serves, this is long done.
        """
        with_value, steps = self._with(value), list[Step]()
        after = self._with(later) if later else None
        for service in consumers:
            start = with_value.start(service)
            switch = with_value.switch(service, self.request.arguments.get(f"previous:{service.name}", ""))
            passed = after.switch(service, "").observe if after else None
            steps += [
                replace(
                    start,
                    id=f"{word}-{start.id}",
                    observe=_unless(passed, start.observe),
                    verify=_unless(passed, start.verify),
                    undo=partial(with_value.stop_given, service),
                ),
                replace(
                    switch,
                    id=f"{word}-{switch.id}",
                    observe=_unless(passed, switch.observe),
                    verify=_unless(passed, switch.verify),
                ),
            ]
        return steps

    def _with(self, value: _Target) -> ServiceSteps:
        """The steps of services that are told `value`, whatever the store holds by then."""
        settings = _ToldSettings(self.ports.settings, self.name, self._state, value)
        ports = self.ports
        return ServiceSteps(self.request, _RoundPorts(ports.compute, ports.artifacts, settings, ports.programs))


@dataclass(frozen=True, slots=True)
class _RoundPorts:
    compute: Compute
    artifacts: Artifacts
    settings: Settings
    programs: Programs


@dataclass(frozen=True, slots=True)
class _ToldSettings:
    """The settings of `inner`, with the value that a secret has in one round of its rotation."""

    inner: Settings
    name: str
    state: Callable[[], RotationState | None]
    value: _Target

    async def missing(self) -> tuple[str, ...]:
        return await self.inner.missing()

    async def complete(self) -> None:
        await self.inner.complete()

    async def of_service(self, service: Service, release: str) -> Mapping[str, str]:
        told, state = await self.inner.of_service(service, release), self.state()
        held = self.value(state) if state and not state.over else ""
        return {**told, self.name: held} if held and self.name in told else told

    async def own_variables(self, service: Service) -> Mapping[str, str]:
        return await self.inner.own_variables(service)

    def digest(self, told: Mapping[str, str]) -> str:
        return self.inner.digest(told)


def _unless(passed: Look | None, look: Look) -> Look:
    """`look`, unless what comes after it is already there."""
    if passed is None:
        return look

    async def observe(context: StepContext) -> Observed:
        seen = await passed(context)
        return seen if seen.state == "done" else await look(context)

    return observe


def _old(state: RotationState) -> str:
    return state.old


def _new(state: RotationState) -> str:
    return state.new


def _behind(state: RotationState) -> str:
    return ",".join([*entries(state.old), state.new])


def _in_front(state: RotationState) -> str:
    return ",".join([state.new, *entries(state.old)])


def _first(state: RotationState) -> str:
    return entries(state.old)[0]
