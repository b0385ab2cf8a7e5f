"""A later look reads only what changed: it must tell what a snapshot tells, whatever ran in between."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.migrations.conftest import NO_TX, run_check, up, write

from dodai.migrations.check import shadow as walk
from dodai.migrations.look import Look, look
from dodai.migrations.ports import Shadow, SqlConnection, is_database_error
from dodai.migrations.snapshot import snapshot

STATEMENTS = tuple(
    line.strip()
    for line in """
    CREATE TABLE a (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL CHECK (name <> ''), at date)
    CREATE TABLE b (id serial PRIMARY KEY, a_id bigint REFERENCES a ON DELETE CASCADE, n int DEFAULT 3)
    CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree)
    CREATE TABLE parted (id int, at date) PARTITION BY RANGE (at)
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')
    ALTER TABLE parted DETACH PARTITION parted_1
    ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')
    ALTER TABLE parted RENAME TO sliced
    CREATE TABLE heir (more text) INHERITS (a)
    ALTER TABLE heir NO INHERIT a
    CREATE VIEW on_a AS SELECT id, name AS called FROM a WHERE at IS NOT NULL
    CREATE VIEW on_on_a AS SELECT called, b.* FROM on_a JOIN b ON b.a_id = on_a.id
    CREATE VIEW whole AS SELECT a FROM a
    CREATE MATERIALIZED VIEW kept AS SELECT name, count(*) FROM a GROUP BY 1
    CREATE UNIQUE INDEX kept_name ON kept (name)
    CREATE INDEX CONCURRENTLY a_at ON a (at) WHERE name <> 'x'
    CREATE INDEX b_f ON b (abs(n))
    COMMENT ON INDEX b_f IS 'fast'
    ALTER INDEX b_f RENAME TO b_g
    COMMENT ON TABLE a IS 'people'
    COMMENT ON COLUMN a.name IS 'their names'
    COMMENT ON TABLE a IS NULL
    COMMENT ON COLUMN a.name IS NULL
    ALTER TABLE a RENAME COLUMN name TO title
    ALTER TABLE a RENAME COLUMN title TO name
    ALTER TABLE a RENAME TO renamed
    ALTER TABLE renamed RENAME TO a
    ALTER TABLE a ADD COLUMN extra numeric(10, 2) DEFAULT 1.5
    ALTER TABLE a ALTER COLUMN extra DROP DEFAULT
    ALTER TABLE a ALTER COLUMN extra SET NOT NULL
    ALTER TABLE a DROP COLUMN extra CASCADE
    ALTER TABLE a ADD CONSTRAINT long CHECK (length(name) > 2) NOT VALID
    ALTER TABLE a VALIDATE CONSTRAINT long
    ALTER TABLE a RENAME CONSTRAINT long TO longer
    ALTER TABLE a DROP CONSTRAINT longer
    ALTER TABLE b DROP CONSTRAINT b_a_id_fkey
    ALTER TABLE b ADD FOREIGN KEY (a_id) REFERENCES a
    ALTER TABLE b ALTER COLUMN n TYPE bigint
    ALTER TABLE b SET (fillfactor = 70)
    ALTER TABLE b SET UNLOGGED
    ALTER TABLE b REPLICA IDENTITY USING INDEX b_pkey
    ALTER SEQUENCE b_id_seq RENAME TO numbers
    ALTER SEQUENCE numbers INCREMENT BY 5
    ALTER TABLE a ENABLE ROW LEVEL SECURITY
    CREATE POLICY mine ON a USING (name = current_user)
    CREATE POLICY theirs ON b USING (EXISTS (SELECT FROM a WHERE a.id = b.a_id))
    ALTER POLICY mine ON a TO pg_monitor
    DROP POLICY mine ON a
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'
    CREATE TRIGGER stamped BEFORE UPDATE ON a FOR EACH ROW EXECUTE FUNCTION stamp()
    ALTER TABLE a DISABLE TRIGGER stamped
    ALTER TRIGGER stamped ON a RENAME TO signed
    DROP TRIGGER signed ON a
    ALTER FUNCTION stamp() RENAME TO mark
    DROP FUNCTION mark() CASCADE
    CREATE FUNCTION count_a() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM a; END
    CREATE FUNCTION of_row(a) RETURNS text LANGUAGE sql AS 'SELECT $1.name'
    GRANT EXECUTE ON FUNCTION of_row(a) TO pg_monitor
    CREATE RULE silent AS ON DELETE TO b DO INSTEAD NOTHING
    ALTER RULE silent ON b RENAME TO quiet
    DROP RULE quiet ON b
    CREATE TYPE mood AS ENUM ('sad', 'ok')
    ALTER TYPE mood ADD VALUE 'glad' BEFORE 'ok'
    ALTER TYPE mood RENAME VALUE 'sad' TO 'low'
    ALTER TABLE b ADD COLUMN mood mood DEFAULT 'ok'
    ALTER TYPE mood RENAME TO temper
    CREATE DOMAIN short AS text CHECK (length(VALUE) < 9)
    ALTER TABLE b ADD COLUMN code short
    ALTER DOMAIN short RENAME TO brief
    ALTER DOMAIN brief DROP CONSTRAINT short_check
    CREATE TYPE pair AS (x int, y int)
    ALTER TABLE b ADD COLUMN spot pair
    ALTER TYPE pair RENAME ATTRIBUTE x TO east CASCADE
    CREATE VIEW spots AS SELECT (spot).y FROM b
    ALTER TYPE pair RENAME ATTRIBUTE y TO north
    ALTER TYPE pair RENAME TO place
    CREATE SCHEMA other
    ALTER TABLE b SET SCHEMA other
    ALTER SCHEMA other RENAME TO another
    DROP SCHEMA another CASCADE
    GRANT SELECT ON a TO pg_monitor
    GRANT UPDATE ON ALL TABLES IN SCHEMA public TO pg_signal_backend
    REVOKE ALL ON a FROM pg_monitor
    CREATE STATISTICS sense ON name, at FROM a
    CREATE PUBLICATION news FOR TABLE a
    DROP PUBLICATION news
    CREATE EVENT TRIGGER watch ON sql_drop EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger()
    UPDATE pg_catalog.pg_index SET indisvalid = NOT indisvalid WHERE indexrelid = 'a_pkey'::regclass
    INSERT INTO a (name) VALUES ('three'), ('four')
    TRUNCATE a CASCADE
    VACUUM FULL
    ANALYZE
    DISCARD ALL
    DROP INDEX a_at
    DROP MATERIALIZED VIEW kept
    DROP VIEW on_a CASCADE
    DROP TABLE b CASCADE
    DROP TABLE parted, parted_1, sliced
    DROP TABLE a CASCADE
    DO 'BEGIN CREATE TABLE c (id int); BEGIN CREATE TABLE d (id int); RAISE ''x''; EXCEPTION WHEN others THEN END; END'
    DROP TABLE c
    """.strip().splitlines()
)
DROPPED = """
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT nspname FROM pg_namespace WHERE nspname IN ('other', 'another') LOOP
    EXECUTE 'DROP SCHEMA ' || name || ' CASCADE'; END LOOP; END $$;
DROP EVENT TRIGGER IF EXISTS watch; DROP PUBLICATION IF EXISTS news; DROP SCHEMA public CASCADE; CREATE SCHEMA public
"""


def ran(conn: SqlConnection, statement: str) -> bool:
    """Whether the server took it: what a statement needs may not be there."""
    try:
        conn.execute(statement)
    except Exception as error:
        if not is_database_error(error):
            raise
        return False
    return True


def agrees(conn: SqlConnection, since: Look | None) -> Look:
    """The look, which tells what a snapshot tells."""
    seen = look(conn, since)
    found = snapshot(conn)
    assert seen.snapshot == found, found.differences(seen.snapshot)
    return seen


def test_look_after_every_statement_is_the_snapshot(conn: SqlConnection):
    """In the order that makes each possible, in a transaction that is rolled back and then for good."""
    base, taken = agrees(conn, None), 0
    for statement in STATEMENTS:
        conn.execute("BEGIN")
        if ran(conn, statement):
            agrees(conn, base)
        conn.execute("ROLLBACK")
        taken += ran(conn, statement)
        base = agrees(conn, base)
    assert taken > len(STATEMENTS) * 0.9


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.tuples(st.sampled_from(STATEMENTS), st.booleans()), min_size=10, max_size=40))
def test_look_is_the_snapshot_in_any_order(conn: SqlConnection, steps: list[tuple[str, bool]]):
    """Whatever order, and however old the look is that it builds on."""
    base = agrees(conn, None)
    for statement, anew in steps:
        ran(conn, statement)
        if anew:
            base = agrees(conn, base)
    agrees(conn, base)
    conn.execute(DROPPED)


def test_look_within_a_transaction_is_not_built_on(conn: SqlConnection):
    """What it saw may be rolled back: the next one reads everything."""
    conn.execute("CREATE TABLE a (id int)")
    conn.execute("BEGIN")
    conn.execute("ALTER TABLE a RENAME TO b")
    inside = look(conn)
    conn.execute("ROLLBACK")
    assert not inside.settled
    assert agrees(conn, inside).snapshot.lines[-1] == "table public.a"


def test_unchanged_relations_are_not_read_again(conn: SqlConnection):
    """The lines of a table that nothing touched are those of the look before."""
    conn.execute("CREATE TABLE a (id int); CREATE TABLE b (id int)")
    first = look(conn)
    conn.execute("ALTER TABLE b ADD COLUMN c int")
    then = look(conn, first)
    kept = [key for key, lines in then.lines.items() if lines and lines is first.lines.get(key)]
    assert [first.lines[key][-1] for key in kept] == ["table public.a"]


@pytest.mark.parametrize("made", ["same", "other"])
def test_looks_are_compared_whatever_the_oids(conn: SqlConnection, made: str):
    """A table that was dropped and made again is the same when it is told by the same lines."""
    conn.execute("CREATE TABLE a (id int)")
    first = look(conn)
    conn.execute(f"DROP TABLE a; CREATE TABLE a ({'id' if made == 'same' else 'key'} int)")
    assert look(conn, first).is_same(first) is (made == "same")


def history(size: int) -> dict[str, str]:
    """Tables with what hangs on them, every fifth file without a transaction, some with a bad way back or none."""
    found = {}
    for number in range(1, size + 1):
        table, before = f"t{number // 4}", f"t{number // 4 - 1}"
        there, back = {
            0: (f"CREATE TABLE {table} (id serial PRIMARY KEY, name text NOT NULL);", f"DROP TABLE {table};"),
            1: (f"CREATE VIEW v{number} AS SELECT id, name FROM {table};", f"DROP VIEW v{number};"),
            2: (f"ALTER TABLE {table} RENAME COLUMN name TO n;", f"ALTER TABLE {table} RENAME COLUMN n TO name;"),
            3: (f"ALTER TABLE {table} ADD FOREIGN KEY (id) REFERENCES {before};" if number > 8 else "SELECT 1;", ""),
        }[number % 4] if number > 3 else ("SELECT 1;", "")  # fmt: skip
        if number % 5 == 0 and number % 4 != 0:
            there, back = f"CREATE INDEX CONCURRENTLY i{number} ON {table} (id);", f"DROP INDEX i{number};"
        if number % 11 == 0:
            back = f"CREATE TABLE left_{number} (id int);"
        text = up(there, down=(back,) if back else ())
        found[f"db/migrations/{number:03d}_change.sql"] = NO_TX + text if "CONCURRENTLY" in there else text
    return found


def test_every_look_of_a_check_is_the_snapshot(tmp_path: Path, shadow: Shadow, monkeypatch: pytest.MonkeyPatch):
    """Behind each file of a history, behind its way down and behind the second way up."""
    looks = 0

    def counted(conn: SqlConnection, since: Look | None = None) -> Look:
        nonlocal looks
        looks += 1
        return agrees(conn, since)

    monkeypatch.setattr(walk, "look", counted)
    write(tmp_path, history(36))
    report = run_check(tmp_path, shadow, everything=True)
    assert {f.code.id for f in report.findings if f.place and "011" in f.place.path} >= {"DOD210"}
    assert looks > 80
