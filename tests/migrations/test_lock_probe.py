"""What a statement did to the tables, seen without looking at all of them again."""

from __future__ import annotations

from dodai.migrations.lock_probe import Tables, probe, tables, tables_since
from dodai.migrations.migration import Statement
from dodai.migrations.ports import SqlConnection

BEFORE = """
CREATE SCHEMA other;
CREATE TYPE kind AS ENUM ('x');
CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE a (id int PRIMARY KEY, b text, k kind, n int DEFAULT one());
CREATE TABLE other.b (id int PRIMARY KEY, a_id int REFERENCES a);
CREATE TABLE p (id int) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
CREATE TABLE parent (id int);
CREATE TABLE child () INHERITS (parent);
CREATE VIEW v AS SELECT id, b FROM a;
CREATE MATERIALIZED VIEW m AS SELECT id FROM a;
CREATE TABLE untouched (id int);
"""
STATEMENTS = (
    "INSERT INTO a (id, b) VALUES (1, 'x')",
    "UPDATE a SET b = 'y'",
    "SELECT count(*) FROM other.b",
    "ALTER TABLE a ADD COLUMN c int DEFAULT 1",
    "ALTER TABLE a ADD COLUMN d text DEFAULT gen_random_uuid()::text",
    "ALTER TABLE a ALTER COLUMN c TYPE bigint",
    "ALTER TABLE a ALTER COLUMN c SET NOT NULL",
    "ALTER TABLE a ALTER COLUMN c DROP DEFAULT",
    "ALTER TABLE a RENAME COLUMN c TO cc",
    "CREATE INDEX ON a (cc)",
    "CREATE TABLE made AS SELECT * FROM a",
    "ALTER TABLE made ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE other.b RENAME TO bb",
    "ALTER SCHEMA other RENAME TO another",
    "DROP INDEX a_cc_idx",
    "DROP TYPE kind CASCADE",
    "DROP FUNCTION one() CASCADE",
    "ALTER TABLE parent ADD COLUMN x int",
    "ALTER TABLE p ADD COLUMN x int",
    "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)",
    "ALTER TABLE p DETACH PARTITION p1",
    "REFRESH MATERIALIZED VIEW m",
    "CREATE OR REPLACE VIEW v AS SELECT id, b, cc FROM a",
    "TRUNCATE a, another.bb",
    "ALTER TABLE a SET SCHEMA another",
    "DO $$ BEGIN ALTER TABLE another.a ADD COLUMN y int; PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN END $$",
    "SAVEPOINT s",
    "ALTER TABLE another.a ADD COLUMN z int; CREATE TABLE lost (id int); DROP TABLE parent CASCADE",
    "ROLLBACK TO s",
    "DROP SCHEMA another CASCADE",
    "DROP TABLE p, made",
)


def plain(seen: Tables) -> dict[str, object]:
    return {str(oid): table for oid, table in seen.items()}


def test_the_tables_that_a_transaction_locked_are_all_that_can_have_changed(conn: SqlConnection):
    """After each of thirty statements the short look says what the look at all of them says."""
    conn.execute(BEFORE)
    conn.execute("BEGIN")
    seen = tables(conn)
    for statement in STATEMENTS:
        conn.execute(statement)
        seen = tables_since(conn, seen)
        assert plain(seen) == plain(tables(conn)), statement
    assert {table.name for table in seen.values()} == {"public.parent", "public.child", "public.p1", "public.untouched"}


def test_a_statement_that_commits_by_itself_is_measured_by_the_look_at_all(conn: SqlConnection):
    """Its locks are gone by the time anybody can look."""
    conn.execute(BEFORE)
    seen, after = probe(
        conn, Statement("CREATE INDEX CONCURRENTLY late ON a (b)", 1), before := tables(conn), set(before)
    )
    assert [(effect.table, effect.indexed) for effect in seen.effects] == [("public.a", True)]
    assert plain(after) == plain(tables(conn))
