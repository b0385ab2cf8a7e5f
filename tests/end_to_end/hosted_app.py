"""`staging` of a small application, looked at from outside; its commands and its Host can be killed at any record."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.end_to_end.small_app import SmallApp
from tests.support.command import dodai
from tests.support.wait import until

HOST_KILLER = Path(__file__).with_name("host_killed_dodai.py")
COMMAND_KILLER = Path(__file__).with_name("killed_dodai.py")


class HostedApp(SmallApp):
    @property
    def state(self):
        return self.folder / ".dodai" / "env" / "staging"

    def known(self):
        return json.loads((self.state / "host.json").read_text())

    def status(self, code=None):
        done = self.run("status", "staging", "--json")
        assert code is None or done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def serves(self):
        """The release that answers at the edge's port of before; empty when nobody does."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.known()['ports']['edge']}/", timeout=5) as answer:
                return answer.read().decode().removeprefix("hello from ")
        except (urllib.error.URLError, KeyError, OSError):
            return ""

    def deployed(self, spoil=""):
        self.write(spoil=spoil)
        done = self.run("deploy", "staging", "--yes")
        assert done.returncode == 0, done.stderr
        return self.serves()

    def launchers(self):
        return self._with_words(b"launcher.py")

    def keepers(self, sent):
        """Launchers and Hosts, each of which gets the signal: one of them may have started another one just before."""
        found = self.launchers() + self._with_words(b"dodai.providers.local.host")
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sent)
        return found

    def _with_words(self, words):
        found = []
        for pid in self.processes():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                found += [pid] if words in Path(f"/proc/{pid}/cmdline").read_bytes() else []
        return found

    def kill_host(self):
        pid = self.known()["pid"]
        os.kill(pid, signal.SIGKILL)
        return pid

    def is_back(self, release, since):
        until(lambda: self.serves() == release)
        return time.monotonic() - since

    def driven(self, at, *words):
        """The command, with the Host killed at one of the command's own records."""
        return dodai(*words, cwd=self.folder, driver=HOST_KILLER, KILL_HOST_AT=at, KILL_HOST_IN=str(self.state))

    def killed(self, at, *words):
        """The command, killed at one of its own records."""
        done = dodai(*words, cwd=self.folder, driver=COMMAND_KILLER, KILL_AT=at)
        assert done.returncode == -signal.SIGKILL, done.stderr
