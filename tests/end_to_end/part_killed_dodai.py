"""`dodai` as it is; a part of its environment is killed once one record of the command is durable.

`KILL_AT=applying:start-web KILL_WHAT=host KILL_IN=.dodai/env/staging KILL_TOLD=killed python part_killed_dodai.py …`
writes who was killed to `KILL_TOLD`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.end_to_end.part_kill import kill

from dodai.cli.main import run
from dodai.engine.journal import SqliteJournal

hit = []


def kill_and_tell():
    killed = kill(os.environ["KILL_WHAT"], Path(os.environ["KILL_IN"]))
    Path(os.environ["KILL_TOLD"]).write_text(" ".join(map(str, killed)))


def killing(append):
    async def append_and_kill(self, plan_id, kind, *, step_id="", **options):
        event = await append(self, plan_id, kind, step_id=step_id, **options)
        if f"{kind}:{step_id}" == os.environ["KILL_AT"] and not hit:
            hit.append(kind)
            kill_and_tell()
        return event

    return append_and_kill


SqliteJournal.append = killing(SqliteJournal.append)
sys.exit(run(sys.argv[1:]))
