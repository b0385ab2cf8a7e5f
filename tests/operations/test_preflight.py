"""What a deploy refuses before its first change, and whom it tells how it ended."""

# The fakes have the signatures of what they stand for.
# ruff: noqa: ARG002
from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import pytest
from tests.operations.kill_world import FileHost, Points, Still

from dodai.core.errors import DodaiError
from dodai.core.page import Text
from dodai.engine.execute import execute
from dodai.engine.journal import SqliteJournal
from dodai.engine.lease import FileLease
from dodai.engine.plan import Plan, PlanRequest
from dodai.operations.run.notice import Notice, notify
from dodai.operations.run.preflight import FREE_BYTES, preflight
from dodai.providers.local.codes import NO_TREE


@dataclass
class Surroundings:
    free: int = 2**40
    offset: float | None = 0.0
    waiting: tuple[str, ...] | None = ()
    ailing: tuple[str, ...] = ()

    async def reach(self):
        """Nobody else has a part in it."""

    async def sign_in(self):
        return self.ailing

    async def free_bytes(self):
        return self.free

    async def clock_offset_s(self):
        return self.offset

    async def pending(self):
        return self.waiting


class Notes:
    def __init__(self):
        self.lines = []

    def step_started(self, step, number, total, *, undoing): ...

    def noted(self, step, text):
        self.lines.append(text)

    def step_finished(self, step, record): ...


@pytest.fixture
def look(tmp_path):
    """Runs the preflight alone as a plan, with the real engine; the outcome and what was noted."""
    host = FileHost(tmp_path, Points())
    host.preset("r1")

    def run(surroundings=None, *, previous="r1", releases=None):
        request = PlanRequest(
            "deploy", "staging", "r2", "hana", arguments={"previous:web": previous, "previous:backend": "r1"}
        )
        step = preflight(request, host, releases or Still(), surroundings or Surroundings())
        notes = Notes()
        with SqliteJournal(tmp_path / "journal") as journal:
            plan = Plan(request, Text("look", "確認"), (step,))
            outcome = asyncio.run(execute(plan, journal, FileLease(tmp_path / "lease", "hana"), sink=notes))
        return outcome, notes.lines

    return run


def test_nothing_in_the_way_is_already_done(look):
    """A look changes nothing and says so."""
    outcome, notes = look()
    assert (outcome.exit_code, outcome.state, notes) == (0, "already", [])


def test_full_disk_is_refused_before_the_first_change(look):
    """The number that is there and the number that is needed."""
    outcome, _ = look(Surroundings(free=FREE_BYTES - 1))
    assert outcome.exit_code == 1
    assert "refused; nothing was changed" in outcome.summary()
    assert "`255` MiB are free, 256 MiB are needed" in outcome.error().message


def test_clock_that_is_a_minute_off_the_database_is_refused_and_two_seconds_are_told(look):
    """Tokens of people live for minutes."""
    outcome, _ = look(Surroundings(offset=-61.0))
    assert outcome.exit_code == 1
    assert "`-61` s off" in outcome.error().message
    outcome, notes = look(Surroundings(offset=3.0))
    assert outcome.exit_code == 0
    assert any("+3.0 s off" in line for line in notes)


def test_migrations_that_will_be_applied_are_named(look):
    """The person sees them before they happen."""
    _, notes = look(Surroundings(waiting=("7", "8")))
    assert any("2 migrations will be applied: 7, 8" in line for line in notes)


def test_what_ails_sign_in_is_said_and_holds_nothing_up(look):
    """The deploy may be the cure."""
    outcome, notes = look(Surroundings(ailing=("the issuer is another one",)))
    assert outcome.exit_code == 0
    assert any("sign-in: the issuer is another one" in line for line in notes)


def test_other_release_than_the_plan_was_made_for_is_a_gate_with_exit_1(look):
    """Nothing was changed, so nothing had to be restored."""
    outcome, _ = look(previous="r0")
    assert (outcome.exit_code, outcome.error().code.id) == (1, "DOD377")
    assert "`web` serves `r1`, `r0` when the plan was made" in outcome.error().message
    assert "refused; nothing was changed" in outcome.summary()


def test_missing_files_of_the_release_before_are_told_and_of_the_new_one_refused(look):
    """Without the old tree the deploy goes on, and the person knows that there is no way back."""

    class Gone(Still):
        def path(self, release):
            if release in self.gone:
                raise DodaiError(NO_TREE, f"no files of `{release}`", "deploy it again")
            return release

    gone = Gone()
    gone.gone = {"r1"}
    outcome, notes = look(releases=gone)
    assert outcome.exit_code == 0
    assert any(line.startswith("no way back to r1") for line in notes)
    gone.gone = {"r2"}
    refused, _ = look(releases=gone)
    assert (refused.exit_code, refused.ids("done")) == (1, ())
    assert "no files of `r2`; deploy it again" in refused.error().message


def test_notifier_that_fails_or_hangs_never_fails_a_deploy(look):
    """The others are told, and what went wrong is one line."""
    outcome, _ = look()
    told = []

    class Good:
        async def tell(self, notice):
            told.append(notice)

    class Broken:
        async def tell(self, notice):
            raise OSError("no route")

    class Mute:
        async def tell(self, notice):
            await asyncio.Event().wait()

    problems = asyncio.run(notify((Broken(), Mute(), Good()), outcome, patience_s=0.01))
    assert told == [Notice.of(outcome)]
    assert told[0].line == "deploy staging r2 by hana: already"
    assert problems[0] == "Broken could not be told: no route"
    assert problems[1].startswith("Mute could not be told")
    assert replace(told[0], next_command="dodai resume staging").line.endswith("next: dodai resume staging")
