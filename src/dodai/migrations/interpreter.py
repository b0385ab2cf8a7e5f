"""The user's interpreter, in which another tool's migrations are listed and run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from dodai.agent.call import Agent, AgentError
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.migrations import codes

LISTING_TIMEOUT_S = 60.0
NO_APPLICATION = (
    'name the application: `[check] environment = { FLASK_APP = "shop:create_app" }`, and there what its settings need'
)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """`python` is its executable; `environment` are the variables that the user's settings need, nothing else is seen.

    `variable` is the one that names the database.
    """

    python: str
    environment: Mapping[str, str] = field(default_factory=dict)
    variable: str = "DATABASE_URL"

    def ask(
        self, request: Mapping[str, Any], cwd: Path, environment: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The agent's answer; raises DOD226 when the user's code cannot be loaded or gives none."""
        conversation = self.open(cwd, environment)
        try:
            return conversation.ask(request)
        finally:
            conversation.close()

    def open(self, cwd: Path, environment: Mapping[str, str] | None = None) -> AgentConversation:
        """A process for requests of one kind; DOD226 when it cannot be started."""
        environ = {**self.environment, **(environment or {})}
        try:
            agent = Agent(self.python, environ)
            return AgentConversation(agent, {"path": [str(cwd)], "cwd": str(cwd)}, self.variable)
        except AgentError as error:
            raise _unanswered(str(error), error.tail) from error


@dataclass(frozen=True, slots=True)
class AgentConversation:
    """The user's code at work in a process of its own, asked as often as wanted."""

    agent: Agent
    place: Mapping[str, Any]
    variable: str
    owed: list[None] = field(default_factory=list)
    """One for each request that was made by `begin` and has no answer yet."""

    def begin(self, request: Mapping[str, Any]) -> None:
        """Let it work on `request` while we do something else."""
        self._tell(request)
        self.owed.append(None)

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer; raises DOD226 when the user's code cannot be loaded or gives none."""
        self.start(request)
        return self.next(float(request.get("timeoutS", LISTING_TIMEOUT_S)))

    def start(self, request: Mapping[str, Any]) -> None:
        """Ask for something that has several answers; each is taken by `next`."""
        while self.owed:
            self.begun()
        self._tell(request)

    def _tell(self, request: Mapping[str, Any]) -> None:
        """The settings of the user read the URL from the variable, whatever it was when the process started."""
        environ = {self.variable: request["url"]} if request.get("url") else {}
        self.agent.tell({**self.place, "environ": environ, **request})

    def begun(self) -> dict[str, Any]:
        """The answer to what was begun first; raises as `ask` does."""
        self.owed.pop()
        return self.next(LISTING_TIMEOUT_S)

    def next(self, timeout_s: float) -> dict[str, Any]:
        """The next answer; raises as `ask` does."""
        try:
            answer = self.agent.answer(timeout_s=timeout_s)
        except AgentError as error:
            raise _unanswered(str(error), error.tail) from error
        if failed := answer.get("error"):
            place = f" ({failed['file']}:{failed['line']})" if failed["file"] else ""
            raise _unanswered(f"{failed['type']}: {failed['message']}{place}")
        return answer

    def cancel(self) -> None:
        self.agent.cancel()

    def close(self) -> None:
        self.agent.close()


def _unanswered(said: str, tail: str = "") -> DodaiError:
    fix = "run the tool itself to see the same, and name what its settings need in `[check].environment`"
    message = f"the migrations could not be asked for: {said}"
    return DodaiError(codes.EXTERNAL, message, fix, exit_code=1, details=tuple(tail.splitlines()[-5:]))
