"""The steps that change a secret while the environment serves: at no moment does a process meet a value it lacks.

With `overlap` that takes two rounds of restarts: in the first everybody learns to recognise the new value, in the
second everybody signs with it. The old value is dropped by a plan of its own, once nothing made with it is in use.
Taken back after the new value has signed, the plan ends where both are recognised and the old one signs: what the new
one made in between stays valid, and is dropped in the same way.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal, Protocol, cast

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.page import Text
from dodai.engine.codes import UNDO_FAILED
from dodai.engine.plan import Act, Look, Observed, Plan, PlanRequest, Step, StepContext
from dodai.operations.policy import Secret, Service
from dodai.operations.ports import SecretStore
from dodai.operations.run.rotation_round import RoundPorts, Target, ToldSettings
from dodai.operations.run.service_steps import ONLY, ServicePorts, ServiceSteps
from dodai.operations.secret import EDGE_KEY, RotationState, entries, new_value

ROTATE, SECRET, CHANGE, NONCE = "rotate", "secret", "change", "nonce"
"""The kind of the plan, and its arguments: the name of the secret, how it changes, and what names this rotation."""
SecretChange = Literal["overlap", "finish", "replace", "set"]
"""`overlap`: a random value in front, the old one still recognised. `finish`: the first value alone.
`replace`: a random value alone. `set`: a value alone that a person gave."""


class RotationPorts(ServicePorts, Protocol):
    """What a rotation acts through."""

    @property
    def secrets(self) -> SecretStore: ...
    @property
    def edge_keys(self) -> SecretStore | None: ...


@dataclass(frozen=True, slots=True, repr=False)
class Rotation:
    """The steps of one change of a secret; `given` is the value of `set`, known only to the process that asked.

    `fresh` makes the new value, from the name and the value of now. `in_url` is the variable whose URL has the secret
    in it, where it has no variable of its own.
    """

    request: PlanRequest
    ports: RotationPorts
    given: str = ""
    fresh: Callable[[str, str], str] = new_value
    in_url: str = ""

    @property
    def store(self) -> SecretStore:
        return store_of(self.name, self.ports)

    @property
    def name(self) -> str:
        return self.request.arguments[SECRET]

    @property
    def change(self) -> SecretChange:
        return cast("SecretChange", self.request.arguments[CHANGE])

    def steps(self, consumers: tuple[Service, ...]) -> list[Step]:
        """Up to the moment when traffic goes to processes that have the new value."""
        steps = [self.prepare(consumers)]
        if self.change == "overlap":
            title = Text(f"a new value of {self.name} is recognised", f"{self.name} の新しい値を検証に使えるようにする")
            recognise = self.store_step("recognise", title, behind, (as_before,), later=(in_front,))
            steps.append(self.unless_signed(recognise))
            steps += self._learn(consumers)
            title = Text(f"the new value of {self.name} signs", f"{self.name} の新しい値で署名する")
            steps += [self.store_step("sign", title, in_front, (behind,)), *self._sign(consumers)]
            return [*steps[:1], *(self.forward(step) for step in steps[1:])]
        title = Text(f"{self.name} has its new value alone", f"{self.name} を新しい値だけにする")
        target = first_alone if self.change == "finish" else new_alone
        store = self.store_step("replace", title, target, (as_before,))
        return [*steps, store, *self._serve("replace", target, consumers)]

    def last(self) -> Step:
        """Old and new value leave the store's notes: nothing is taken back after this."""

        async def observe(_: StepContext) -> Observed:
            state = self.state()
            return Observed("done" if state and state.over else "needed")

        async def apply(_: StepContext) -> None:
            state = RotationState.read(self.store.get(), self.name) or RotationState("")
            self._write(state.ended(time.time(), self._nonce, overlaps=self.change == "overlap"))

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

    def state(self) -> RotationState | None:
        """What the store holds of this rotation; None when it holds nothing, or another one."""
        state = RotationState.read(self.store.get(), self.name)
        return state if state and state.nonce == self._nonce else None

    def _write(self, state: RotationState) -> None:
        self.store.put(state.written(self.store.get(), self.name))

    def _turns_back(self) -> bool:
        """Whether this is the way back of a plan whose new value has signed: it ends where both are recognised."""
        state = self.state()
        if state is None or state.over or not state.signed:
            return False
        if not state.back:
            self._write(replace(state, back=True))
        return True

    def forward(self, step: Step) -> Step:
        """`step`, which also ends a way back that was begun."""

        async def apply(context: StepContext) -> None:
            state = self.state()
            if state and state.back:
                self._write(replace(state, back=False))
            await step.apply(context)

        return replace(step, apply=apply)

    def unless_signed(self, step: Step) -> Step:
        """`step`, of which nothing is undone once the new value has signed."""

        async def observe(context: StepContext) -> Observed:
            state = self.state()
            if state and state.back:
                return Observed("needed", f"both values of {self.name} stay recognised")
            return await step.observe(context)

        async def undo(context: StepContext) -> None:
            if not self._turns_back() and step.undo:
                await step.undo(context)

        return replace(step, observe=observe, undo=undo)

    def prepare(self, consumers: tuple[Service, ...]) -> Step:
        async def observe(_: StepContext) -> Observed:
            if self.state():
                return Observed("done")
            if self.change == "set" and not self.given:
                return Observed("blocked", f"the value of `{self.name}` was given to a command that has ended")
            return Observed("needed", "no new value yet")

        async def apply(_: StepContext) -> None:
            values = self.store.get()
            old, before = values.get(self.name, ""), RotationState.read(values, self.name)
            new = self.given or ("" if self.change == "finish" else self.fresh(self.name, old))
            since_s, overlaps = (before.since_s, before.overlaps) if before else (0.0, False)
            self._write(RotationState(self._nonce, old, new, since_s=since_s, overlaps=overlaps))

        async def undo(context: StepContext) -> None:
            state = self.state()
            if state is None:
                return
            if not self._turns_back():
                self._write(state.ended())
                return
            await self._leave_both(consumers, context)
            self._write(state.ended(time.time(), overlaps=True))
            context.note(
                f"what the new value signed stays recognised; "
                f"`{proposal.SECRETS_LIST(env=self.request.env)}` says until when"
            )

        return Step(
            id="prepare",
            title=Text("the new value is kept beside the old one", "新しい値を古い値と並べて保管"),
            area="operations",
            observe=observe,
            apply=apply,
            verify=observe,
            undo=undo,
            undo_title=Text("the notes of this change are forgotten", "この変更の記録を消去"),
            timeout_s=20.0 + sum(one.drain_s + 10.0 + self._plain().moving_s(one) for one in consumers),
            inputs={SECRET: self.name, CHANGE: self.change},
        )

    async def _leave_both(self, consumers: tuple[Service, ...], context: StepContext) -> None:
        """What recognises both values serves alone, and is what comes back after a crash."""
        both = self._with(behind)
        for service in consumers:
            await both.retire(service).apply(context)
        keep = both.keep(consumers)
        await keep.apply(context)
        seen = await keep.observe(context)
        if seen.state != "done":
            raise DodaiError(UNDO_FAILED, f"`{self.name}`: {seen.detail}", UNDO_FAILED.fix.en, exit_code=4)

    def store_step(
        self, word: str, title: Text, target: Target, before: tuple[Target, ...], later: tuple[Target, ...] = ()
    ) -> Step:
        """The store holds `target`, coming from one of `before`; it holds one of `later` when this is long done."""

        async def observe(_: StepContext) -> Observed:
            state, held = self.state(), self.store.get().get(self.name, "")
            if state is None or state.over:
                return Observed("done" if state else "needed")
            if held in [one(state) for one in (target, *later)]:
                return Observed("done")
            if held in [one(state) for one in before]:
                return Observed("needed")
            return Observed("blocked", f"`{self.name}` was changed by somebody else since this plan began")

        async def apply(_: StepContext) -> None:
            self.put(target)

        async def undo(_: StepContext) -> None:
            self.put(before[0])

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

    def put(self, value: Target) -> None:
        state = self.state()
        if state is not None and not state.over:
            values = dict(self.store.get())
            if held := value(state):
                values[self.name] = held
            else:
                values.pop(self.name, None)
            self.store.put(values)

    def _serve(self, word: str, value: Target, consumers: tuple[Service, ...]) -> list[Step]:
        """Each consumer anew with `value`; what runs with another one stays until the plan is over."""
        with_value, steps = self._with(value), list[Step]()
        for service in consumers:
            start = with_value.start(service)
            switch = with_value.switch(service, self.request.arguments.get(f"previous:{service.name}", ""))
            undo = partial(with_value.stop_given, service)
            steps += [
                replace(start, id=f"{word}-{start.id}", undo=undo),
                replace(switch, id=f"{word}-{switch.id}"),
            ]
        return steps

    def _learn(self, consumers: tuple[Service, ...]) -> list[Step]:
        """The first round; where the second one already serves, it is long done."""
        after, steps = self._with(in_front), self._serve("recognise", behind, consumers)
        passed = [after.switch(service, "").observe for service in consumers for _ in ("start", "switch")]
        return [
            self.unless_signed(replace(step, observe=_unless(look, step.observe), verify=_unless(look, step.verify)))
            for step, look in zip(steps, passed, strict=True)
        ]

    def _sign(self, consumers: tuple[Service, ...]) -> list[Step]:
        """The second round; from its first switch on, something may be made with the new value."""
        steps, both = self._serve("sign", in_front, consumers), self._with(behind)
        for service, at in zip(consumers, range(1, len(steps), 2), strict=True):
            steps[at] = replace(
                steps[at],
                apply=self.marked(steps[at].apply),
                undo=partial(self._recognise_again, both, service),
                undo_title=Text("the old value signs, both are recognised", "元の値で署名し、両方の値を検証に使う"),
                timeout_s=steps[at].timeout_s + service.health.timeout_s,
            )
        return steps

    def marked(self, act: Act) -> Act:
        async def apply(context: StepContext) -> None:
            state = self.state()
            if state and not state.signed:
                self._write(replace(state, signed=True))
            await act(context)

        return apply

    async def _recognise_again(self, both: ServiceSteps, service: Service, context: StepContext) -> None:
        self._turns_back()
        await both.serve_again(service, context)

    def _plain(self) -> ServiceSteps:
        return ServiceSteps(self.request, self.ports)

    def _with(self, value: Target) -> ServiceSteps:
        """The steps of services that are told `value`, whatever the store holds by then."""
        settings = ToldSettings(self.ports.settings, self.name, self.state, value, self.in_url)
        ports = self.ports
        told = RoundPorts(ports.compute, ports.artifacts, settings, ports.programs, ports.packages)
        return ServiceSteps(self.request, told)


def _unless(passed: Look, look: Look) -> Look:
    """`look`, unless what comes after it is already there."""

    async def observe(context: StepContext) -> Observed:
        seen = await passed(context)
        return seen if seen.state == "done" else await look(context)

    return observe


def as_before(state: RotationState) -> str:
    return state.old


def new_alone(state: RotationState) -> str:
    return state.new


def behind(state: RotationState) -> str:
    return ",".join([*entries(state.old), state.new])


def in_front(state: RotationState) -> str:
    return ",".join([state.new, *entries(state.old)])


def first_alone(state: RotationState) -> str:
    return entries(state.old)[0]


class Stores(Protocol):
    """Where secrets are kept: those of services, and the key of an edge that dodai runs."""

    @property
    def secrets(self) -> SecretStore: ...
    @property
    def edge_keys(self) -> SecretStore | None: ...


def store_of(name: str, stores: Stores) -> SecretStore:
    """Where the secret of that name is kept."""
    return stores.edge_keys if name == EDGE_KEY and stores.edge_keys else stores.secrets


def arguments_of(secret: Secret, change: SecretChange, command: str) -> dict[str, str]:
    """The arguments of a request that changes `secret`, under a name of its own."""
    told = {SECRET: secret.name, CHANGE: change, NONCE: secrets.token_hex(4), ONLY: ",".join(secret.used_by)}
    return {**told, "command": command}


def stored_only(request: PlanRequest, ports: RotationPorts, given: str) -> Plan:
    """The plan of a value for an environment that has no release yet: nobody is to be started anew."""
    rotation, name = Rotation(request, ports, given), request.arguments[SECRET]
    prepare, store = rotation.steps(())
    steps = (prepare, replace(store, needs=(prepare.id,)), replace(rotation.last(), needs=(store.id,)))
    return Plan(request, Text(f"set {name} on {request.env}", f"{request.env} の {name} を設定"), steps)


def forget_notes(store: SecretStore, request: PlanRequest) -> None:
    """The values that the rotation of `request` noted leave the store: it has ended, whatever it came to.

    A plan that was taken back only in part never reaches its last step.
    """
    name = request.arguments[SECRET]
    state = RotationState.read(store.get(), name)
    if state and state.nonce == request.arguments[NONCE] and not state.over:
        store.put(state.ended(time.time(), state.nonce).written(store.get(), name))
