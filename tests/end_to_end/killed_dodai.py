"""`dodai` as it is, hit by a signal at one of its records, once that is durable or right before it is written.

`KILL_AT=applying:start-web python killed_dodai.py …`, `KILL_AT="before done:start-web" …`
"""

from __future__ import annotations

import os
import signal
import sys

from dodai.cli.main import run
from dodai.engine.journal import SqliteJournal
from dodai.providers.postgres.control import PostgresJournal

WHEN, _, RECORD = os.environ["KILL_AT"].rpartition(" ")
SIGNAL = signal.Signals[os.environ.get("KILL_WITH", "SIGKILL")]
hit = []


def reach(when, record):
    if (when, record) == (WHEN, RECORD) and not hit:
        hit.append(record)
        os.kill(os.getpid(), SIGNAL)


def dying(append):
    async def append_and_die(self, plan_id, kind, *, step_id="", **options):
        reach("before", f"{kind}:{step_id}")
        event = await append(self, plan_id, kind, step_id=step_id, **options)
        reach("", f"{kind}:{step_id}")
        return event

    return append_and_die


for journal in (PostgresJournal, SqliteJournal):
    journal.append = dying(journal.append)
sys.exit(run(sys.argv[1:]))
