"""`kill -9` at every statement boundary: the next run reaches the same schema, and no row is lost or doubled."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.migrations.conftest import NO_TX, up

from dodai.providers.postgres.cluster import Cluster


def row(who: str) -> str:
    return f"INSERT INTO event (who) VALUES ('{who}');"


HISTORY = {
    "01_event.sql": up(
        "CREATE TABLE event (id int GENERATED ALWAYS AS IDENTITY, who text, n int DEFAULT 0);", row("1")
    ),
    "02_a.sql": up("CREATE TABLE a (b int);", row("2")),
    "03_no.sql": up(row("3a"), "CREATE INDEX CONCURRENTLY event_who ON event (who);", row("3b"), head=NO_TX),
    "04_b.sql": up("ALTER TABLE a ADD COLUMN c text;", row("4")),
    "05_no.sql": up("SET work_mem = '8MB';", "CREATE UNIQUE INDEX CONCURRENTLY event_id ON event (id);", head=NO_TX),
    "06_c.sql": up("ALTER TABLE a DROP COLUMN b;", row("6")),
    "07_no.sql": up("DROP INDEX CONCURRENTLY event_who;", row("7"), head=NO_TX),
    "08_no.sql": up("VACUUM event;", row("8"), head=NO_TX),
    "09_d.sql": up("CREATE VIEW v AS SELECT who FROM event;", row("9")),
    "10_no.sql": up(row("10"), "CREATE TYPE t AS ENUM ('x');", head=NO_TX),
    "11_no.sql": up("-- dodai: batch event id 4", "UPDATE event SET n = n + 1;", head=NO_TX),
}


def test_kill_9_at_every_statement_boundary_loses_and_doubles_nothing(postgres: Cluster, tmp_path: Path):
    """Eleven files, half of them outside a transaction; the process dies with each statement just sent.

    The last one counts each row once, in batches: a range that is carried out twice shows.
    """
    folder = tmp_path / "db" / "migrations"
    folder.mkdir(parents=True)
    for name, text in HISTORY.items():
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "tests.migrations.kill_driver", postgres.dsn(), str(tmp_path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    wanted, *cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert wanted["versions"] == list(range(12))
    assert sorted(wanted["rows"]) == sorted(
        [who, 1, 1] for who in ("1", "2", "3a", "3b", "4", "6", "7", "8", "9", "10")
    )
    assert len(cases) > 60
    for number, case in enumerate(cases, start=1):
        died = case.pop("died")
        assert died is (number < len(cases)), number
        assert case == {key: value for key, value in wanted.items() if key != "died"}, f"killed at statement {number}"
