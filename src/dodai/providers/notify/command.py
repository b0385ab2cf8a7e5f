"""A command of the user's that is told: the text on its standard input, the rest in its environment."""

from __future__ import annotations

import os
import subprocess

from dodai.core.dataclass import dataclass
from dodai.observability.ports import Message

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class CommandNotifier:
    """Told when it ends with 0."""

    words: tuple[str, ...]

    def send(self, message: Message) -> None:
        about = {
            "DODAI_ALERT": message.alert,
            "DODAI_ALERT_STATUS": message.status,
            "DODAI_ALERT_SEVERITY": message.severity,
            "DODAI_ALERT_RUNBOOK": message.runbook,
        }
        try:
            done = subprocess.run(
                list(self.words), input=message.text, env={**os.environ, **about}, capture_output=True, text=True,
                timeout=TIMEOUT_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise OSError(f"`{self.words[0]}` did not end within {TIMEOUT_S:g} s") from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [""])[-1][:200]
            raise OSError(f"`{self.words[0]}` ended with {done.returncode}: {last}")
