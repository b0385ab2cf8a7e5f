"""A page of the documentation, followed word by word: its files are written, its commands are pasted.

A fence with a title (```` ```toml title="dodai.toml" ````) is a file. The lines of a `console` fence are carried out
in order; `pip install` makes the environment, `dodai up` runs beside the lines that come after it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.clean_environment import install

DEADLINE_S = 120.0
_FENCE = re.compile(r'(?ms)^```(\w+)(?: title="([^"]+)")?\n(.*?)^```')


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    text: str


def blocks(page: Path, section: str = "") -> list[Block]:
    """The fenced blocks of `page`, or of its section with that heading."""
    text = page.read_text("utf-8")
    if section:
        text = re.split(r"(?m)^## ", text.partition(f"\n## {section}\n")[2])[0]
    return [Block(*found) for found in _FENCE.findall(text)]


@dataclass
class Reader:
    """Who follows a page in an empty `folder`, with nothing installed but what the page says."""

    folder: Path
    wheel: Path
    url: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    _up: subprocess.Popen[str] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a new terminal has; a variable of this test run is no part of a page."""
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
        return {**kept, "PATH": f"{self.folder / '.venv' / 'bin'}:{os.environ['PATH']}"}

    def follow(self, found: list[Block]) -> None:
        for block in found:
            if block.title:
                path = self.folder / block.title
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, "utf-8")
            elif block.language == "console":
                for line in block.text.splitlines():
                    self.paste(line)

    def paste(self, line: str) -> None:
        command = re.split(r"\s+# ", line)[0].strip()
        if command.startswith("pip install "):
            install(command, self.folder / ".venv", self.wheel)
        elif command == "dodai up":
            self._serve()
        elif command:
            done = subprocess.run(
                command, shell=True, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
            )
            self.outputs[command] = done.stdout + done.stderr
            allowed = (0, 1) if command.startswith("dodai check") else (0,)
            assert done.returncode in allowed, f"{command}: {done.returncode}\n{self.outputs[command]}"

    def _serve(self) -> None:
        self.stop()
        output = self.folder.with_suffix(".up")
        with output.open("w", encoding="utf-8") as file:
            self._up = subprocess.Popen(
                ["dodai", "up"],
                executable=str(self.folder / ".venv" / "bin" / "dodai"),
                cwd=self.folder,
                env=self.environment,
                stdout=file,
                stderr=file,
                text=True,
                process_group=0,  # of its own, as a terminal gives it: Ctrl-C reaches this command and no other
            )
        deadline = time.monotonic() + DEADLINE_S
        while not (serves := re.findall(r"(http://\S+)  serves", said := output.read_text("utf-8"))):
            assert self._up.poll() is None, f"`dodai up` ended with {self._up.returncode}:\n{said}"
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
        self.url = serves[0]

    def stop(self) -> None:
        """Ctrl-C; it ends with 0."""
        if self._up is not None:
            self._up.send_signal(signal.SIGINT)
            assert self._up.wait(DEADLINE_S) == 0
            self._up = None

    def clear(self) -> None:
        """Nothing of the page runs on."""
        if self._up is not None and self._up.poll() is None:
            self._up.kill()
            self._up.wait()
        command = self.folder / ".venv" / "bin" / "dodai"
        for env in self.folder.glob(".dodai/env/*"):
            subprocess.run([command, "down", env.name, "--yes"], cwd=self.folder, capture_output=True, check=False)


@contextmanager
def reading(folder: Path, wheel: Path) -> Iterator[Reader]:
    folder.mkdir()
    reader = Reader(folder, wheel)
    try:
        yield reader
        reader.stop()
    finally:
        reader.clear()
