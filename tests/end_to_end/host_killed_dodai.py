"""`dodai` as it is; its Host, or with `all` its launcher as well, is killed once one record of the command is durable.

`KILL_HOST_AT=applying:start-web KILL_HOST_IN=.dodai/env/staging python host_killed_dodai.py …`
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from dodai.cli.main import run
from dodai.engine.journal import SqliteJournal

ALL, _, RECORD = os.environ["KILL_HOST_AT"].rpartition(" ")
FOLDER = Path(os.environ["KILL_HOST_IN"])
hit = []


def kill():
    host = json.loads((FOLDER / "host.json").read_text())["pid"]
    os.kill(host, signal.SIGSTOP if ALL else signal.SIGKILL)  # stopped, it starts no other launcher meanwhile
    for entry in Path("/proc").glob("[0-9]*/cmdline") if ALL else ():
        words = entry.read_bytes().split(b"\0") if entry.exists() else []
        if any(word.endswith(b"launcher.py") for word in words) and str(FOLDER).encode() in words:
            os.kill(int(entry.parent.name), signal.SIGKILL)
    if ALL:
        os.kill(host, signal.SIGKILL)


def killing(append):
    async def append_and_kill(self, plan_id, kind, *, step_id="", **options):
        event = await append(self, plan_id, kind, step_id=step_id, **options)
        if f"{kind}:{step_id}" == RECORD and not hit:
            hit.append(RECORD)
            kill()
        return event

    return append_and_kill


SqliteJournal.append = killing(SqliteJournal.append)
sys.exit(run(sys.argv[1:]))
