"""The drills of migrations: a file that stops a deploy, and five that act on the database itself."""

# Only constants and words of this module are put into its statements.
# ruff: noqa: S608
from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from dodai.core import codes as core
from dodai.core.errors import DodaiError
from dodai.core.page import Text
from dodai.engine.outcome import Outcome
from dodai.migrations import apply, codes, ledger
from dodai.migrations.apply import Applied, status
from dodai.migrations.goose_file import files_of
from dodai.migrations.ports import MigrationTarget, SqlConnection
from dodai.migrations.run.author import new_run
from dodai.migrations.run.bystanders import Load
from dodai.migrations.sql import identifier, literal
from dodai.rehearsal.drill import Drill, DrillFile, DrillResult
from dodai.rehearsal.machine import Slowdown
from dodai.rehearsal.outage import MARGIN_S, stretched
from dodai.rehearsal.ports import Stage, Subject

SCHEMA = "dodai_drill"
LEDGER = f"{SCHEMA}.versions"
DEADLINE_S = 60.0
GATE = 7_305_823_417
"""An advisory lock that holds a drill's migration at a known place."""
_TABLE = f"-- +goose Up\nCREATE TABLE {SCHEMA}.mark (who text);\n"


BROKEN = b"""-- +goose Up
CREATE TABLE rehearsal_first (id int);
CREATE TABEL rehearsal_second (id int);

-- +goose Down
DROP TABLE rehearsal_first;
"""


def drills(target: MigrationTarget) -> tuple[Drill, ...]:
    """The drills for a tree with migrations; `target` is the database of the stage."""
    return (
        Drill(
            "broken-migration-stops-the-deploy",
            "migrations",
            Text(
                "A migration with a syntax error stops the deploy before any service",
                "構文エラーのあるマイグレーションは、サービスに触れる前にデプロイを止める",
            ),
            "the deploy fails at `migrate`, nothing of the file is applied, the old release serves",
            partial(_broken, target),
        ),
        *database_drills(target),
    )


def database_drills(target: MigrationTarget) -> tuple[Drill, ...]:
    """Five drills that act in a schema of their own and leave the application's history as it is."""
    return (
        _drill(
            "two-operators-at-once", _two_operators, target,
            Text("Two operators migrate at the same time", "二人が同時にマイグレーションを実行する"),
            "each file is applied by exactly one of them, both end well",
        ),
        _drill(
            "killed-migration-goes-on", _killed, target,
            Text("A runner is killed half-way and started again", "実行中に強制終了され、もう一度実行される"),
            "the second run goes on with the statement that was killed; no row is lost or doubled",
        ),
        _drill(
            "lock-storm", _lock_storm, target,
            Text("A reader keeps a table open while it is altered", "表を読み続ける接続がある中で変更する"),
            "nobody innocent waits longer than the lock timeout and 0.5 s; the change goes through afterwards",
        ),
        _drill(
            "bad-migration-is-fixed-forward", _forward_fix, target,
            Text("A bad migration is rolled back and fixed forward", "誤った適用が取り消され、前に直される"),
            "nothing of the bad file stays, the fixed file applies",
        ),
        _drill(
            "pooler-is-refused", _pooler, target,
            Text("A pooler's URL is refused", "接続プーラーの URL が拒否される"),
            "DOD067 before anything is changed",
        ),
    )  # fmt: skip


Act = Callable[[MigrationTarget, Stage], DrillResult]


def _drill(id_: str, act: Act, target: MigrationTarget, title: Text, expected: str) -> Drill:
    async def run(stage: Stage) -> DrillResult:
        return await asyncio.to_thread(act, target, stage)

    return Drill(id_, "migrations", title, expected, run)


def _up(corner: MigrationTarget, note: Callable[[str], None] = lambda _: None) -> Applied:
    conn = corner.connect()
    try:
        migrations, connect = files_of(corner).sound(), corner.connect
        return apply.up(
            conn, migrations, corner.policy, run=new_run(), author=corner.author, connect=connect, note=note
        )
    finally:
        conn.close()


def _applied(corner: MigrationTarget) -> tuple[str, ...]:
    conn = _opened(corner)
    try:
        return ledger.read(conn, corner.policy).ids
    finally:
        conn.close()


def _rows(conn: SqlConnection) -> dict[str, int]:
    rows = conn.execute(f"SELECT who, count(*) FROM {SCHEMA}.mark GROUP BY who ORDER BY who").fetchall()
    return {row[0]: row[1] for row in rows}


def _mark(who: str) -> str:
    return f"INSERT INTO {SCHEMA}.mark VALUES ('{who}');\n"


# --- the drills -----------------------------------------------------------------------------------------------------


async def _broken(target: MigrationTarget, stage: Stage) -> DrillResult:
    before = await asyncio.to_thread(status, target)
    releases = {service.name: service.release for service in (await stage.host.status()).services}
    live = next(filter(None, releases.values()), "")
    path = f"{target.policy.folder}/99991231235959_rehearsal.sql"
    bad = await stage.derive(live, {path: BROKEN})
    outcome: Outcome = await stage.deploy(bad)
    after = await asyncio.to_thread(status, target)
    same = before.applied == after.applied
    still = releases == {service.name: service.release for service in (await stage.host.status()).services}
    named = path in (outcome.cause.message if outcome.cause else "")
    ok = outcome.exit_code == 3 and outcome.cause is not None and outcome.cause.step_id == "migrate"
    observed = (
        f"exit {outcome.exit_code} at `{outcome.cause.step_id if outcome.cause else 'nothing'}`, "
        f"{len(after.applied)} of {len(before.applied)} migrations applied, "
        f"{'the old release serves' if still else 'another release serves'}"
    )
    details = {"fileNamed": named, "ledgerUnchanged": same, "cause": outcome.cause.message if outcome.cause else ""}
    return DrillResult(observed, ok and same and still and named, (), details)


def _two_operators(target: MigrationTarget, _: Stage) -> DrillResult:
    files = {"1_table.sql": _TABLE} | {f"{n}_mark.sql": f"-- +goose Up\n{_mark(str(n))}" for n in range(2, 6)}
    with _playground(target, files) as corner, ThreadPoolExecutor(2) as pool:
        gate = threading.Barrier(2)

        def operator() -> list[str]:
            gate.wait(timeout=DEADLINE_S)
            return [ran.migration.id for ran in _up(corner).ran]

        shares = [future.result(timeout=DEADLINE_S) for future in [pool.submit(operator) for _ in range(2)]]
        conn = _opened(corner)
        rows = _rows(conn)
        conn.close()
        ids = sorted(id_ for share in shares for id_ in share)
        ok = ids == ["1", "2", "3", "4", "5"] == sorted(_applied(corner)) and set(rows.values()) == {1}
    observed = f"{len(shares[0])} and {len(shares[1])} of 5 files, each row written once: {set(rows.values()) == {1}}"
    return DrillResult(observed, ok, (), {"shares": shares, "rows": rows})


def _killed(target: MigrationTarget, stage: Stage) -> DrillResult:
    files = {
        "1_table.sql": _TABLE,
        "2_gate.sql": "-- +goose NO TRANSACTION\n-- +goose Up\n"
        + _mark("before")
        + f"SELECT pg_advisory_xact_lock_shared({GATE});\n"
        + _mark("after"),
    }
    with _playground(target, files) as corner, _gate(corner) as gate:
        with _command(corner, stage.database_url) as process:
            waiting = _until(lambda: _waits_at_gate(gate) or process.poll() is not None)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=DEADLINE_S)
        gate.execute(f"SELECT pg_advisory_unlock({GATE})")
        done = _up(corner)
        rows = _rows(gate)
        resumed = done.ran[-1].resumed_at if done.ran else 0
        ok = waiting and rows == {"before": 1, "after": 1} and resumed == 2 and _applied(corner) == ("1", "2")
    observed = f"killed at statement 2 with SIGKILL, went on with statement {resumed}, rows {rows}"
    return DrillResult(observed, ok, (), {"rows": rows, "exit": process.returncode})


def _lock_storm(target: MigrationTarget, _: Stage) -> DrillResult:
    with _playground(target, {"1_table.sql": _TABLE}) as corner:
        _up(corner)
        _write(corner, {"2_column.sql": f"-- +goose Up\nALTER TABLE {SCHEMA}.mark ADD COLUMN at timestamptz;\n"})
        reader = _opened(corner)
        reader.execute(f"BEGIN; SELECT count(*) FROM {SCHEMA}.mark")
        notes: list[str] = []

        def note(text: str) -> None:
            notes.append(text)
            if len(notes) == 2:
                reader.execute("COMMIT")

        slowdown = Slowdown()
        with Load(corner.connect, [(SCHEMA, "mark", "who")]) as load:
            done = _up(corner, note)
        reader.close()
        worst = max(wait.worst_ms for wait in load.waits)
        bound = stretched(corner.policy.lock_timeout_s + MARGIN_S, slowdown.factor()) * 1000
        retries = done.ran[0].retries if done.ran else 0
        ok = worst <= bound and retries >= 2 and _applied(corner) == ("1", "2")
    observed = f"stepped back {retries} times, worst innocent wait {worst:.0f} ms of {bound:.0f} ms, then applied"
    return DrillResult(observed, ok, (), {"worstMs": round(worst, 1), "retries": retries, "notes": notes[:3]})


def _forward_fix(target: MigrationTarget, _: Stage) -> DrillResult:
    bad = f"-- +goose Up\n{_mark('half')}ALTER TABLE {SCHEMA}.mark ADD COLUMN who int;\n"
    with _playground(target, {"1_table.sql": _TABLE, "2_bad.sql": bad}) as corner:
        said = _refusal(lambda: _up(corner))
        conn = _opened(corner)
        stayed = _rows(conn)
        before = _applied(corner)
        _write(corner, {"2_bad.sql": f"-- +goose Up\n{_mark('fixed')}"})
        _up(corner)
        rows = _rows(conn)
        conn.close()
        ok = said == codes.FAILED.id and stayed == {} and before == ("1",) and rows == {"fixed": 1}
    observed = f"{said or 'no error'}, {sum(stayed.values())} rows of the bad file stayed, the fixed file applied"
    return DrillResult(observed, ok, (), {"rows": rows})


def _pooler(target: MigrationTarget, stage: Stage) -> DrillResult:
    parts = urlsplit(stage.database_url)
    if not parts.hostname:
        return DrillResult("the database of the stage has no TCP address to name a pooler at", ok=False)
    user = parts.netloc.rpartition("@")[0]
    pooled = parts._replace(
        netloc=f"{user}@ep-drill-pooler.localhost:{parts.port or 5432}",
        query="&".join(filter(None, (parts.query, f"hostaddr={parts.hostname}"))),
    )
    with _playground(target, {"1_table.sql": _TABLE}) as corner:
        process = _command(corner, urlunsplit(pooled))
        said = process.communicate(timeout=DEADLINE_S)[0]
        ok = process.returncode == 1 and core.POOLED.id in said and _applied(corner) == ()
    observed = f"exit {process.returncode}, {'DOD067' if core.POOLED.id in said else 'no DOD067'}, nothing applied"
    return DrillResult(observed, ok, (), {"output": said.strip().splitlines()[:3]})


# --- what they use --------------------------------------------------------------------------------------------------


@contextmanager
def _playground(target: MigrationTarget, files: Mapping[str, str]) -> Iterator[MigrationTarget]:
    """A target on the same database whose history is `files`; nothing of the application's is touched."""
    with tempfile.TemporaryDirectory(prefix="dodai-drill-") as folder:
        root = Path(folder)
        policy = replace(
            target.policy, folder="migrations", format="goose", ledger=LEDGER,
            lock_timeout_s=0.3, lock_patience_s=20.0, runner_patience_s=20.0, queries=(),
        )  # fmt: skip
        corner = MigrationTarget(root, policy, target.connect, target.author)
        _write(corner, files)
        conn = _opened(target)
        try:
            _clear(conn, target.policy.log_schema)
            conn.execute(f"CREATE SCHEMA {SCHEMA}")
            yield corner
        finally:
            _clear(conn, target.policy.log_schema)
            conn.close()


def _write(corner: MigrationTarget, files: Mapping[str, str]) -> None:
    """Put the files into the corner's folder; a name that is there is replaced."""
    folder = corner.root / corner.policy.folder
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def _opened(target: MigrationTarget) -> SqlConnection:
    """A connection of its own in autocommit mode."""
    conn = target.connect()
    conn.autocommit = True
    return conn


def _clear(conn: SqlConnection, side: str) -> None:
    side = identifier(side)
    conn.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    if conn.execute(f"SELECT to_regclass('{side}.migration_run')").fetchone()[0] is None:
        return
    name = literal(f'"{SCHEMA}"."versions"')
    conn.execute(
        f"DELETE FROM {side}.migration_log WHERE run IN"
        f" (SELECT id FROM {side}.migration_run WHERE ledger = {name});"
        f"DELETE FROM {side}.migration_run WHERE ledger = {name}"
    )


def _command(corner: MigrationTarget, url: str) -> subprocess.Popen[str]:
    """`dodai migrate up` as an operator types it, on the corner's files."""
    manifest = (
        '[project]\nname = "drill"\n[database]\nvariable = "DODAI_DRILL_URL"\n'
        f'[migrations]\nfolder = "{corner.policy.folder}"\nledger = "{LEDGER}"\nlock_timeout = "300ms"\n'
        f'log_schema = "{corner.policy.log_schema}"\n'
    )
    (corner.root / "dodai.toml").write_text(manifest)
    command = [sys.executable, "-m", "dodai", "migrate", "up"]
    environment = {**os.environ, "DODAI_DRILL_URL": url}
    return subprocess.Popen(
        command, cwd=corner.root, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@contextmanager
def _gate(corner: MigrationTarget) -> Any:
    """A connection that holds the gate shut until it says otherwise."""
    conn = _opened(corner)
    try:
        conn.execute(f"SELECT pg_advisory_lock({GATE})")
        yield conn
    finally:
        conn.close()


def _waits_at_gate(conn: SqlConnection) -> bool:
    query = (
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        f" AND (classid::bigint << 32 | objid::bigint) = {GATE})"
    )
    return bool(conn.execute(query).fetchone()[0])


def _until(seen: Callable[[], bool]) -> bool:
    """True when `seen` became true before the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if seen():
            return True
        time.sleep(0.01)
    return False


def _refusal(act: Callable[[], object]) -> str:
    try:
        act()
    except DodaiError as error:
        return error.code.id
    return ""


def _of(subject: Subject) -> tuple[Drill, ...]:
    return drills(subject.migrations) if subject.migrations else ()


DRILLS = DrillFile("migrations", _of)
