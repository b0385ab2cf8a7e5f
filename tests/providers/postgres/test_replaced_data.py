"""Rows that a restore set aside, of every kind of table and value: each is counted, and its SQL brings it back as it was."""

from __future__ import annotations

import psycopg
import pytest

from dodai.operations.run.replaced import _Files
from dodai.providers.postgres.backup import base_backup
from dodai.providers.postgres.connection import address, connect
from dodai.providers.postgres.replaced_data import compare

TABLES = """
CREATE TABLE odd (t timestamptz, "dodai" text, n numeric, f float8, j jsonb, b bytea, a text[], PRIMARY KEY (n));
CREATE TABLE part (id int, at int) PARTITION BY RANGE (at);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100);
CREATE TABLE base (id int);
CREATE TABLE keyless (a int, b text);
INSERT INTO keyless VALUES (1, 'alike'), (1, 'alike'), (2, 'gone'), (3, 'stays');
CREATE TABLE derived (more text) INHERITS (base);
CREATE TABLE migration_log (token_sha256 text); -- as dodai keeps it, beside those of the application
"""
ROWS = r"""
INSERT INTO odd VALUES ('infinity', 'it''s "d"\', 1234567890123456789.012345678901, '-Infinity',
  '{"n": 0.12345678901234567890123, "list": [1, null, 1.10]}', '\x00ff', ARRAY['a', NULL, 'é"']),
  (now(), NULL, 'NaN', 'NaN', NULL, NULL, '{}');
INSERT INTO part VALUES (1, 5), (2, 6);
INSERT INTO base VALUES (1);
INSERT INTO migration_log VALUES ('its own');
DELETE FROM keyless WHERE a = 2;
INSERT INTO keyless VALUES (1, 'alike'), (4, 'new');
INSERT INTO derived VALUES (2, 'two');
CREATE TABLE made_since (id int);
INSERT INTO made_since VALUES (1);
SELECT lo_from_bytea(0, 'large');
"""
READ = (
    "SELECT odd::text FROM odd ORDER BY n",
    "TABLE part ORDER BY id",
    "SELECT * FROM ONLY base",
    "TABLE derived",
    "TABLE keyless ORDER BY a, b",
)


def rows(dsn):
    with connect(dsn) as conn:
        return [conn.execute(query).fetchall() for query in READ]


@pytest.fixture
def two(database, tmp_path):
    """The data of a restore point and that which was written over it, and the URL of the first."""
    with connect(database, autocommit=True) as conn:
        conn.execute(TABLES)
        base_backup(database, tmp_path / "point")
        conn.execute(ROWS)
        base_backup(database, tmp_path / "replaced")
    return tmp_path


def test_rows_of_every_kind_are_counted_and_come_back_as_they_were(two, database):
    """Partitions, inheritance, a column called `t`, digits that no float has; a table that is not there any more stops nothing."""
    written = rows(database)
    name = address(database).database
    with (two / "rows").open("w") as told, (two / "replay").open("w") as replay:
        files = _Files(told, replay)
        found = compare(two / "replaced", two / "point", name, (), files.add)
        replay.write("COMMIT;\n")
    counted = {table.table: (table.added, table.changed, table.removed) for table in found}
    assert counted == {
        "odd": (2, 0, 0),
        "part": (2, 0, 0),
        "base": (1, 0, 0),
        "keyless": (2, 0, 1),
        "derived": (1, 0, 0),
        "made_since": (1, 0, 0),
        "pg_largeobject": (1, 0, 0),
    }
    assert "1234567890123456789.012345678901" in (two / "rows").read_text()
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("TRUNCATE odd, part, base, derived, keyless; DROP TABLE made_since")
        conn.execute("INSERT INTO keyless VALUES (1, 'alike'), (1, 'alike'), (3, 'stays')")
        conn.execute("BEGIN;\n" + (two / "replay").read_text())
    assert rows(database) == written
