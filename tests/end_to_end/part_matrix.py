"""Parts of an environment killed at the records of a command, and a judge who compares every sentence with what is seen."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psycopg
from tests.end_to_end.hosted_app import HostedApp
from tests.end_to_end.part_kill import pids
from tests.support.command import dodai
from tests.support.wait import until

DRIVER = Path(__file__).with_name("part_killed_dodai.py")
PARTS = ("host", "launcher", "host and launcher", "database", "service")
"""The edge is a part of the Host: it dies with it."""
STORES = """
import psycopg, threading
lock, kept = threading.Lock(), []
def add(number):
    with lock:
        if not kept:
            kept.append(psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=3, autocommit=True))
        try:
            kept[0].execute("INSERT INTO acknowledged VALUES (%s)", [number])
        except psycopg.Error:
            kept.pop().close()
            raise
answer = Page.do_GET
def do_GET(self):
    if self.path.startswith("/add/"):
        try:
            add(int(self.path.rpartition("/")[2]))
        except psycopg.Error:
            self.send_error(503)
            return
    answer(self)
Page.do_GET = do_GET
"""
DATABASE = '[database]\\nused_by = ["web"]\\n[migrations]\\nfolder = "migrations"\\n'.replace("\\n", "\n")
MIGRATION = (
    "-- +goose Up\nCREATE TABLE acknowledged (number bigint PRIMARY KEY);\n-- +goose Down\nDROP TABLE acknowledged;\n"
)
STORIES = {
    "deploy": ("deploy", "staging", "--yes"),
    "bad release": ("deploy", "staging", "--yes"),
    "rollback": ("rollback", "staging", "OTHER", "--yes"),
    "restart": ("restart", "staging", "--yes"),
    "resume": ("resume", "staging", "--yes"),
    "resume --undo": ("resume", "staging", "--undo", "--yes"),
    "down": ("down", "staging", "--yes"),
}
BEFORE = {"resume": "applying:start-web", "resume --undo": "done:smoke"}
"""The record at which the deploy was killed that the story is to end."""


ASKS_S = 0.1
QUICK_KILLS, WITHIN_S = 3, 60.0
"""A launcher that started so many Hosts within the time waits before the next one: that is another matter."""


@dataclass
class Visitor:
    """Somebody who stores a row with each request, all the while; what was acknowledged must be there in the end."""

    app: PartApp
    acknowledged: set[int] = field(default_factory=set)
    last: float = 0.0
    longest_s: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._visit, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        assert self._thread
        self._thread.join(30)

    def _visit(self) -> None:
        number = time.time_ns()
        while not self._over.wait(ASKS_S):
            number += 1
            if self.app.get(f"/add/{number}"):
                self.acknowledged.add(number)
                now = time.monotonic()
                self.longest_s = max(self.longest_s, now - self.last if self.last else 0.0)
                self.last = now

    def until_served(self, bound_s: float) -> float:
        """The seconds until the next acknowledged row; infinity when there is none in time."""
        began = time.monotonic()
        while time.monotonic() < began + bound_s:
            if self.last > began:
                return self.last - began
            time.sleep(0.02)
        return float("inf")


class PartApp(HostedApp):
    def tree(self, text: str, spoil: str = "") -> None:
        (self.folder / "migrations").mkdir(exist_ok=True)
        (self.folder / "migrations" / "00001_a.sql").write_text(MIGRATION)
        self.write(spoil=f"{STORES}{spoil}\n# {text}", more=DATABASE)

    def get(self, path: str) -> str:
        """What the edge answers; `""` for nothing or an error."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.known()['ports']['edge']}{path}", timeout=4) as answer:
                return str(answer.read().decode())
        except (OSError, KeyError, ValueError):
            return ""

    def rows(self) -> set[int]:
        url = json.loads((self.state / "database.json").read_text())["direct"]
        with psycopg.connect(url, connect_timeout=5) as connection:
            return {number for (number,) in connection.execute("SELECT number FROM acknowledged")}

    def last_records(self) -> list[str]:
        """What the newest attempt wrote, as `kind:step`."""
        found = self._asked("SELECT kind, step_id FROM events ORDER BY seq DESC")
        since = next(number for number, (kind, _) in enumerate(found) if kind == "attempt")
        return [f"{kind}:{step}" for kind, step in reversed(found[: since + 1]) if kind != "note"]

    def is_unfinished(self) -> bool:
        """Whether a plan has not ended; without the price of a command."""
        ended = "SELECT plan_id FROM events WHERE kind = 'closed'"
        return bool(self._asked(f"SELECT 1 FROM plans WHERE plan_id NOT IN ({ended})"))

    def _asked(self, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{self.state}/journal.sqlite?mode=ro", uri=True)) as journal:
            return journal.execute(query).fetchall()


@dataclass
class PartMatrix:
    """Kills, and what did not end as it was told to end in `bad`."""

    app: PartApp
    bad: list[str] = field(default_factory=list)
    killed: int = 0
    """Processes that the last kill met; the parts of what `down` has stopped already cannot be killed any more."""
    lost: int = 0
    sentences: int = 0
    back_s: list[float] = field(default_factory=list)
    _trees: dict[str, str] = field(default_factory=dict)  # the text of the tree of a release that served
    _hosts_killed: list[float] = field(default_factory=list)
    _a: str = ""
    _b: str = ""

    def points(self, story: str) -> list[str]:
        """The records of the story's command, from a run of it in peace."""
        words = self._words(story)
        self.app.run(*words)
        records = list(dict.fromkeys(self.app.last_records()))
        self._recover()
        return records

    def kill(self, story: str, at: str, part: str) -> None:
        """Kill the part at that record; judge what is said, then end it as a person would and judge again."""
        words, said = self._words(story), f"{story}, {part} killed at {at}"
        self._let_rest(part)
        told = self.app.folder.with_suffix(".killed")
        told.unlink(missing_ok=True)
        with Visitor(self.app) as visitor:
            target = {"KILL_AT": at, "KILL_WHAT": part, "KILL_IN": str(self.app.state), "KILL_TOLD": str(told)}
            done = dodai(*words, "--json", cwd=self.app.folder, driver=DRIVER, **target)
            self.killed = len(told.read_text().split()) if told.exists() else 0
            if not self.killed and story != "down":
                self.bad.append(f"{said}: {'nothing was there to kill' if told.exists() else 'it has no such record'}")
            self._judge(said, done, looked=(at, part) == ("closed:", "host and launcher"))
            if part != "host and launcher" and story != "down":
                self._served(said, visitor)
            self._end(said)
            if not self.app.get("/"):
                self.app.run("restart", "staging", "--yes")
            if visitor.until_served(30) == float("inf"):
                self.bad.append(f"{said}: nobody is served in the end")
        lost = len(visitor.acknowledged - self.app.rows())
        self.lost += lost
        if lost:
            self.bad.append(f"{said}: {lost} acknowledged rows are lost")
        if self.app.run("history", "staging").returncode:
            self.bad.append(f"{said}: the audit log is not whole")

    def _let_rest(self, part: str) -> None:
        """A Host is killed on a machine whose launcher has not just started several: with another launcher, if need be."""
        if part != "host":
            return
        now = time.monotonic()
        self._hosts_killed = [at for at in self._hosts_killed if at > now - WITHIN_S]
        if len(self._hosts_killed) >= QUICK_KILLS:
            old = set(pids(self.app.state, "launcher"))
            for pid in old:
                os.kill(pid, signal.SIGTERM)
            until(lambda: set(pids(self.app.state, "launcher")) - old)
            self._hosts_killed.clear()
        self._hosts_killed.append(now)

    def _served(self, said: str, visitor: Visitor) -> None:
        """Service comes back without a person: the longest time without an acknowledged row, from the kill on."""
        if visitor.until_served(30) == float("inf"):
            status = json.loads(self.app.run("status", "staging", "--json").stdout)
            self.bad.append(f"{said}: nobody is served 30 s later, and status says `{status['state']}`")
        self.back_s.append(visitor.longest_s)

    def _judge(self, said: str, done: Any, *, looked: bool = False) -> None:
        """Each sentence of the end against the world as it is now.

        `looked`: what serves was killed behind the last look and comes back by no launcher; the release still counts.
        """
        try:
            told = json.loads(done.stdout)
        except ValueError:
            if done.returncode not in (0, 1, 3, 4, 75):
                self.bad.append(f"{said}: exit {done.returncode}: {done.stderr[-300:]}")
            return
        if told.get("schema") == "dodai.down/1":
            told |= {"kind": "down", "state": {"stopped": "ok"}.get(told["state"], "already")}
        kind, state, code = told.get("kind"), told.get("state"), told.get("exitCode", done.returncode)
        seen = told.get("seen") or ""
        claim = re.search(r"web serves ([0-9a-f]{16})", seen)
        serves = self._serves() or (claim[1] if looked and claim else "")
        self.sentences += 1 + bool(seen) + bool(told.get("next")) + bool(told.get("error"))
        wrong = []
        if code != done.returncode:
            wrong.append(f"says exit {code}")
        if code == 0 and state not in ("ok", "already", "restored"):
            wrong.append(f"exit 0 and `{state}`")
        if kind == "down" and state in ("ok", "already") and self.app.processes():
            wrong.append("called stopped, and something runs")
        if kind in ("deploy", "rollback", "restart") and state in ("ok", "already", "restored") and not serves:
            wrong.append(f"`{state}`, and nobody is served")
        if claim and claim[1] != serves:
            wrong.append(f"seen `{seen}`, and {serves or 'nothing'} serves")
        if (kind, state) == ("deploy", "ok") and serves != self._b:
            wrong.append(f"ok, and {serves or 'nothing'} serves instead of {self._b}")
        if (kind, state) == ("deploy", "restored") and serves != self._a:
            wrong.append(f"restored, and {serves or 'nothing'} serves instead of {self._a}")
        message = json.dumps(told.get("error") or {})
        if "everything was restored" in message and serves != self._a:
            wrong.append("everything was restored, and it was not")
        if told.get("closed") and code == 0 and told.get("next"):
            wrong.append(f"closed with 0, and next is `{told['next']}`")
        if not told.get("closed", True) and not told.get("next"):
            wrong.append("not closed, and nothing is next")
        self.bad += [f"{said}: {one}; {told}" for one in wrong]

    def _serves(self, within_s: float = 4.0) -> str:
        """The release that answers; asked for a moment, for the part may be on its way back."""
        end = time.monotonic() + within_s
        while not (found := self.app.get("/").removeprefix("hello from ")) and time.monotonic() < end:
            time.sleep(0.1)
        return found

    def _end(self, said: str) -> None:
        """Do what `status` says, until it has nothing more to say."""
        for _ in range(4):
            told = json.loads(self.app.run("status", "staging", "--wait", "--json").stdout)
            self.sentences += 1
            if told["next"] is None:
                return
            done = self.app.run(*told["next"].split()[1:], "--yes", "--json")
            self._judge(f"{said}, then `{told['next']}`", done)
        self.bad.append(f"{said}: status still says `{told['next']}`")

    def _words(self, story: str) -> tuple[str, ...]:
        """The story's command, once the release A serves and B is the other one."""
        self._recover()
        if story == "bad release":
            self.app.tree("bad", "sys.exit(3)")
        elif story in ("deploy", "resume", "resume --undo"):
            self.app.tree(self._trees[self._b])
        if before := BEFORE.get(story):
            self.app.killed(before, "deploy", "staging", "--yes")
        return tuple(self._b if word == "OTHER" else word for word in STORIES[story])

    def _recover(self) -> None:
        """A serves, nothing is unfinished; B was in service before. Which of the two is called A makes no difference."""
        while len(self._trees) < 2:
            text = "AB"[len(self._trees)]
            self._deploy(text)
            self._trees[self._serves()] = text
        one, other = self._trees
        if self.app.is_unfinished() or (serves := self._serves()) not in self._trees:
            self._deploy(self._trees[one])
            serves = self._serves()
        self._a, self._b = (one, other) if serves == one else (other, one)

    def _deploy(self, text: str) -> None:
        self.app.tree(text)
        done = self.app.run("deploy", "staging", "--yes")
        if done.returncode:
            self.app.run("resume", "staging", "--undo", "--yes")
            done = self.app.run("deploy", "staging", "--yes")
        assert done.returncode == 0, done.stderr
