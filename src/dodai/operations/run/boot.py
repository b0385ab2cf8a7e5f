"""What brings an environment back after a reboot: a unit of systemd that watches over its Host."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from dodai.core.codes import USAGE
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.private_file import write_private
from dodai.operations.environment import Environment, host_of

_UNIT = """# Written by `dodai install {env}`; it brings back what served last, never the working tree.
[Unit]
Description={project} {env}, run by dodai
StartLimitIntervalSec=0

[Service]
ExecStart={command}
Restart=always
RestartSec=5
TimeoutStopSec=90

[Install]
WantedBy=default.target
"""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of the user's own systemd; `text` is what its file holds."""

    name: str
    text: str

    @property
    def path(self) -> Path:
        """Where that systemd looks for it (systemd.unit(5), user units)."""
        home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
        return Path(home, "systemd", "user", self.name)

    @property
    def next_commands(self) -> tuple[str, ...]:
        """What a person types to have it run, at boot and not only while somebody is signed in."""
        return "systemctl --user daemon-reload", f"systemctl --user enable --now {self.name}", "loginctl enable-linger"

    def write(self) -> bool:
        """Whether its file had to be written; DOD054 (exit 2) on a machine without systemd."""
        if shutil.which("systemctl") is None:
            said = "this machine has no `systemctl`"
            line = next(line for line in self.text.splitlines() if line.startswith("ExecStart="))
            fix = f"let its service manager run `{line.partition('=')[2]}`"
            raise DodaiError(USAGE, said, fix, exit_code=2)
        if self.path.is_file() and self.path.read_text("utf-8") == self.text:
            return False
        write_private(self.path, self.text.encode())
        return True


def unit_of(here: Environment) -> Unit:
    """The unit of an environment whose services are processes of this machine; DOD364 (exit 2) for any other."""
    command = " ".join(map(_word, host_of(here).brought_back_by()))
    project = here.project.manifest.name
    text = _UNIT.format(env=here.name, project=project.replace("%", "%%"), command=command)
    return Unit(f"dodai-{project}-{here.name}.service", text)


def _word(word: str) -> str:
    """As systemd reads a word of a command line (systemd.service(5)): quoted, nothing expanded."""
    plain = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{plain}"'
