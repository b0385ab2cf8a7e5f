"""`dodai` as it is, killed or stopped right after a record is durable: `KILL_AT=applying:start-web python killed_dodai.py …`."""

from __future__ import annotations

import os
import signal
import sys

from dodai.cli.main import run
from dodai.providers.postgres.control import PostgresJournal

KIND, _, STEP = os.environ["KILL_AT"].partition(":")
SIGNAL = signal.Signals[os.environ.get("KILL_WITH", "SIGKILL")]
append = PostgresJournal.append
done = []


async def append_then_die(self, plan_id, kind, *, step_id="", **options):
    event = await append(self, plan_id, kind, step_id=step_id, **options)
    if (kind, step_id) == (KIND, STEP) and not done:
        done.append(kind)
        os.kill(os.getpid(), SIGNAL)
    return event


PostgresJournal.append = append_then_die
sys.exit(run(sys.argv[1:]))
