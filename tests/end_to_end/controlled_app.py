"""A small application whose lock and journal are in a PostgreSQL of its own; its commands can be killed at any record."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from tests.end_to_end.small_app import SmallApp
from tests.support.command import clean_environment

from dodai.wiring import environments
from dodai.wiring.find_project import find_project

DRIVER = Path(__file__).with_name("killed_dodai.py")
BOTH_SIDES = ("applying", "undoing", "turning_back", "released", "closed")
"""Between any other record and the next nothing happens: being killed after one is being killed before the other."""


class Newest(NamedTuple):
    """A plan: its release, how it ended (`""`: not yet), how often the release was recorded, if the old one was let go."""

    release: str
    state: str
    recorded: int
    retired: bool


@dataclass(frozen=True, slots=True)
class ControlledApp(SmallApp):
    """`folder` holds the application, `dsn` its control database."""

    dsn: str = ""

    def release(self, text: str) -> None:
        """The tree becomes another release."""
        self.write(spoil=f"# {text}", environment=f"control_url = {json.dumps(self.dsn)}")

    def driven(self, at: str, *words: str, with_signal: str = "SIGKILL") -> subprocess.Popen[bytes]:
        """The command in the background, hit by a signal at its record `at` (`applying:web`, `before done:web`)."""
        environment = clean_environment({"KILL_AT": at, "KILL_WITH": with_signal, "PYTHONPATH": str(DRIVER.parents[2])})
        with (self.folder / "driven.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, str(DRIVER), *words], cwd=self.folder, env=environment, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def killed(self, at: str, *words: str) -> None:
        """The command, which has to die at its record `at`."""
        code = self.driven(at, *words).wait(60)
        assert code == -signal.SIGKILL, f"{at}: exit {code}: {(self.folder / 'driven.log').read_text()}"

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(query, values or None)
            return cursor.fetchall() if cursor.description else []

    def web(self) -> dict[str, Any]:
        """What the Host says about the service, asked without the price of a command; `{}` while it knows none."""
        host = environments.open(find_project(self.folder / "dodai.toml"), "staging").compute
        service = asyncio.run(host.status()).service("web")
        return dataclasses.asdict(service) if service else {}

    def serving(self) -> list[tuple[str, bool]]:
        """Every instance that runs, and whether people reach it."""
        return [(one["release"], one["live"]) for one in self.web()["instances"] if one["state"] != "exited"]

    def starts(self, release: str) -> int:
        """How often a process of `release` was started, by its own word."""
        log = self.folder / ".dodai" / "env" / "staging" / "logs" / f"web-{release}.log"
        return log.read_text().count("small app starts") if log.exists() else 0

    def newest(self) -> Newest:
        """The plan that was asked for last."""
        ((plan, request),) = self.rows(
            "SELECT p.plan_id, p.request FROM dodai.control_plan p JOIN dodai.control_event e USING (plan_id)"
            " WHERE e.kind = 'requested' ORDER BY e.seq DESC LIMIT 1"
        )
        events = self.rows("SELECT kind, step_id, data FROM dodai.control_event WHERE plan_id = %s", plan)
        ends = [json.loads(data)["state"] for kind, _, data in events if kind == "closed"]
        recorded = sum(kind == "released" for kind, *_ in events)
        retired = any((kind, step) == ("applying", "retire-web") for kind, step, _ in events)
        return Newest(json.loads(request)["release"], ends[0] if ends else "", recorded, retired)

    def last_records(self) -> list[str]:
        """What the newest attempt of the newest plan wrote, as `kind:step`."""
        rows = self.rows("SELECT kind, step_id FROM dodai.control_event ORDER BY seq DESC")
        since = next(number for number, (kind, _) in enumerate(rows) if kind == "attempt")
        return [f"{kind}:{step}" for kind, step in reversed(rows[:since])]


def points(records: Iterable[str]) -> list[str]:
    """Where to kill a command that writes these records: before each, and after those behind which something is done."""
    found = []
    for record in records:
        kind = record.partition(":")[0]
        if kind != "note":
            found += [f"before {record}", record] if kind in BOTH_SIDES else [f"before {record}"]
    return list(dict.fromkeys(found))


UNDO = ("resume", "staging", "--undo", "--yes")
RESUME = ("resume", "staging", "--yes")


@dataclass(frozen=True, slots=True)
class RealStory:
    """A command that is killed, perhaps one that was killed before it, and how a person ends it."""

    name: str
    command: tuple[str, ...]
    before: str = ""  # the record at which a deploy was killed that `command` is to end
    end: tuple[str, ...] = RESUME


REAL_STORIES = (
    RealStory("deploy", ("deploy", "staging", "--yes")),
    RealStory("deploy, taken back", ("deploy", "staging", "--yes"), end=UNDO),
    RealStory("rollback", ("rollback", "staging", "RELEASE", "--yes")),
    RealStory("rollback, taken back", ("rollback", "staging", "RELEASE", "--yes"), end=UNDO),
    RealStory("resume", RESUME, before="intent:preflight"),
    RealStory("resume --undo", UNDO, before="done:smoke", end=UNDO),
)


@dataclass
class RealMatrix:
    """Real commands, Host and processes, killed at chosen records; `bad` says what did not end as it should."""

    app: ControlledApp
    bad: list[str] = field(default_factory=list)
    kills: int = 0
    _trees: int = 0
    _served: list[str] = field(default_factory=list)

    def points(self, story: RealStory) -> list[str]:
        """Every point of the story's command, from a run of it in peace."""
        ended = self.app.run(*self._words(story))
        assert ended.returncode == 0, ended.stderr
        self._remember()
        return points(self.app.last_records())

    def kill(self, story: RealStory, at: str) -> None:
        """Kill the story's command at `at`, end it as a person does, and look at what is left."""
        words, old = self._words(story), self._served[-1]
        before = {release: self.app.starts(release) for release in self._served}
        self.app.killed(at, *words)
        self.kills += 1
        ended = None if self.app.newest().state else self.app.run(*story.end)  # None: it died behind its last record
        plan, serving = self.app.newest(), self.app.serving()
        said = f"{story.name} killed at {at}: {plan}, {serving}, " + (
            f"{ended.returncode} {ended.stderr}" if ended else ""
        )
        kept, code = {"restored": (old, 0), "needs_person": (plan.release, 4)}.get(plan.state, (plan.release, 0))
        allowed = ("ok",) if story.end == RESUME else ("restored", "needs_person" if plan.retired else "restored")
        if serving != [(kept, True)] or (ended and (plan.state not in allowed or ended.returncode != code)):
            self.bad.append(said)
        starts = self.app.starts(plan.release) - before.get(plan.release, 0)
        if starts > 1 or plan.recorded > 1 or (plan.state, plan.recorded) in (("ok", 0), ("restored", 1)):
            self.bad.append(f"{said}: twice or never, {plan.recorded} records, {starts} starts")
        if plan.state == "needs_person":  # undo was asked for past the point of no return: begin anew
            self._tree()
            assert self.app.run("deploy", "staging", "--yes").returncode == 0
        self._remember()

    def _words(self, story: RealStory) -> tuple[str, ...]:
        """The story's command, after what has to be there before it."""
        while len(self._served) < 2:
            self._tree()
            assert self.app.run("deploy", "staging", "--yes").returncode == 0
            self._remember()
        if story.command[0] == "rollback":
            return tuple(self._served[-2] if word == "RELEASE" else word for word in story.command)
        self._tree()
        if story.before:
            self.app.killed(story.before, "deploy", "staging", "--yes")
        return story.command

    def _tree(self) -> None:
        self._trees += 1
        self.app.release(f"tree {self._trees}")

    def _remember(self) -> None:
        """What serves is the last of `_served`."""
        release = self.app.web()["release"]
        self._served = [*(one for one in self._served if one != release), release]
