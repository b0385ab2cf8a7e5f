"""`kill -9` of the runner, and the cancelling of a deploy, while Django is at work: nothing goes on behind our back."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.providers.django_migrations.conftest import POLICY, migration
from tests.support.wait import until

from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.ports import SqlConnection

GATE = 771_177
PATIENT = replace(POLICY, lock_timeout_s=30.0, lock_patience_s=60.0)
WAITS = migration(
    [("quiz", "0002_owner")],
    "migrations.RunSQL(\"INSERT INTO quiz_question (text) VALUES ('once')\", 'DELETE FROM quiz_question')",
    f"migrations.RunSQL('SELECT pg_advisory_xact_lock({GATE})', 'SELECT 1')",
)
MANIFEST = '[project]\nname = "shop"\n[migrations]\nfolder = "web"\nformat = "django"\nlock_timeout = "30s"\n'


def waiting(conn: SqlConnection) -> bool:
    query = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = {GATE}"
    return bool(conn.execute(query).fetchone()[0])


def agents(root: Path) -> list[int]:
    """Processes of the agent that stand in this project."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"agent/main.py" in (entry / "cmdline").read_bytes():
                found += [int(entry.name)] if (entry / "cwd").readlink().is_relative_to(root) else []
        except OSError:
            continue
    return found


def test_kill_9_of_the_runner_ends_django_too_and_the_row_is_written_once(target, database: str, conn: SqlConnection):
    """Its server process may wait on; until it has ended the next runner does not start."""
    run.up(target())
    here = target({"quiz/migrations/0003_waits.py": WAITS}, PATIENT)
    (here.root / "dodai.toml").write_text(MANIFEST)
    conn.execute(f"SELECT pg_advisory_lock({GATE})")
    command = [sys.executable, "-m", "dodai", "migrate", "up"]
    with subprocess.Popen(command, cwd=here.root, env={"DATABASE_URL": database, "PATH": "/usr/bin:/bin"}) as runner:
        until(lambda: waiting(conn) or runner.poll() is not None)
        assert agents(here.root)
        runner.send_signal(signal.SIGKILL)
    until(lambda: not agents(here.root))
    with pytest.raises(DodaiError) as caught:
        run.up(here)
    assert (caught.value.code.id, caught.value.exit_code) == ("DOD250", 75)
    conn.execute(f"SELECT pg_advisory_unlock({GATE})")
    until(lambda: not conn.execute("SELECT 1 FROM pg_stat_activity WHERE application_name ~ 'dodai-agent'").fetchall())
    assert [ran.migration.id for ran in run.up(here).ran] == ["quiz.0003_waits"]
    assert conn.execute("SELECT count(*) FROM quiz_question").fetchone()[0] == 1


def test_a_cancelled_step_of_a_deploy_leaves_neither_process_nor_session(target, conn: SqlConnection):
    """The tool's process is killed and its session ended; what it had done is rolled back."""
    run.up(target())
    here = target({"quiz/migrations/0003_waits.py": WAITS}, PATIENT)
    conn.execute(f"SELECT pg_advisory_lock({GATE})")

    class Context:
        plan_id = step_id = env = actor = ""
        fencing_token = 1

        def note(self, text: str) -> None:
            del text

    async def walk() -> None:
        step = run.step(here)
        assert (await step.observe(Context())).state == "needed"
        work = asyncio.create_task(step.apply(Context()))
        while not await asyncio.to_thread(waiting, conn):
            assert not work.done(), work.exception()
            await asyncio.sleep(0.02)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(walk())
    assert agents(here.root) == []
    until(lambda: not waiting(conn))
    assert conn.execute("SELECT count(*) FROM quiz_question").fetchone()[0] == 0
    conn.execute(f"SELECT pg_advisory_unlock({GATE})")
    assert len(run.up(here).ran) == 1
