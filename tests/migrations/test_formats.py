"""The SQL files of other tools, as they lie: read, applied, undone, judged against a base, adopted, and continued."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.migrations.conftest import FAST, POLICY, run_check, write

from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.goose_file import read_folder
from dodai.migrations.policy import Format
from dodai.migrations.ports import MigrationTarget, Shadow, SqlConnection

Make = Callable[..., MigrationTarget]
AT = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
FOLDER = "db/migrations"


@dataclass(frozen=True, slots=True)
class History:
    """Three migrations of one tool: a table, an index that no transaction may hold, a column; `new` is what comes next.

    `ids` are their versions in the ledger; `last` is the file of the column, `undone` says whether it has a way down.
    """

    layout: Format
    files: Mapping[str, str]
    ids: tuple[str, ...]
    last: str
    new: tuple[str, ...]
    undone: bool = True


TABLE, BACK = "CREATE TABLE a (b int);\n", "DROP TABLE a;\n"
INDEX, NO_INDEX = "CREATE INDEX CONCURRENTLY i ON a (b);\n", "DROP INDEX CONCURRENTLY i;\n"
COLUMN, NO_COLUMN = "ALTER TABLE a ADD COLUMN c text;\n", "ALTER TABLE a DROP COLUMN c;"
HISTORIES = (
    History(
        "diesel",
        {
            "00000000000000_diesel_initial_setup/up.sql": TABLE,
            "00000000000000_diesel_initial_setup/down.sql": BACK,
            "2023-01-02-030405_index/up.sql": INDEX,
            "2023-01-02-030405_index/down.sql": NO_INDEX,
            "2023-01-02-030405_index/metadata.toml": "run_in_transaction = false\n",
            "2023-02-02-030405_column/up.sql": COLUMN,
            "2023-02-02-030405_column/down.sql": NO_COLUMN,
        },
        ("1", "20230102030405", "20230202030405"),
        "2023-02-02-030405_column/up.sql",
        ("2031-02-03-040506_more/up.sql", "2031-02-03-040506_more/down.sql"),
    ),
    History(
        "prisma",
        {
            "migration_lock.toml": 'provider = "postgresql"\n',
            "20230101000000_init/migration.sql": f"-- CreateTable\n{TABLE}",
            "20230102000000_index/migration.sql": INDEX,
            "20230103000000_column/migration.sql": COLUMN,
        },
        ("20230101000000", "20230102000000", "20230103000000"),
        "20230103000000_column/migration.sql",
        ("20310203040506_more/migration.sql",),
        undone=False,
    ),
    History(
        "dbmate",
        {
            "20230101000000_init.sql": f"-- migrate:up\n{TABLE}\n-- migrate:down\n{BACK}",
            "20230102000000_index.sql": f"-- migrate:up transaction:false\n{INDEX}\n"
            f"-- migrate:down transaction:false\n{NO_INDEX}",
            "20230103000000_column.sql": f"-- why\n\n-- migrate:up\n{COLUMN}-- migrate:down\n{NO_COLUMN}",
        },
        ("20230101000000", "20230102000000", "20230103000000"),
        "20230103000000_column.sql",
        ("20310203040506_more.sql",),
    ),
    History(
        "flyway",
        {
            "V1__init.sql": TABLE,
            "U1__init.sql": BACK,
            "later/V1.1__index.sql": INDEX,
            "later/U1.1__index.sql": NO_INDEX,
            "later/V2__column.sql": COLUMN,
            "later/U2__column.sql": NO_COLUMN,
            "R__view.sql": "CREATE OR REPLACE VIEW v AS SELECT b FROM a;\n",
        },
        ("10000", "10100", "20000"),
        "later/V2__column.sql",
        ("V3__more.sql",),
    ),
    History(
        "plain",
        {
            "1_init.up.sql": TABLE,
            "1_init.down.sql": BACK,
            "2_index.up.sql": INDEX,
            "2_index.down.sql": NO_INDEX,
            "10_column.up.sql": COLUMN,
            "10_column.down.sql": NO_COLUMN,
        },
        ("1", "2", "10"),
        "10_column.up.sql",
        ("11_more.up.sql", "11_more.down.sql"),
    ),
)
each_history = pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.layout)


@pytest.fixture
def target(make_target: Make, history: History) -> MigrationTarget:
    return make_target(history.files, replace(FAST, format=history.layout))


def columns(conn: SqlConnection) -> set[str]:
    found = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('a') AND attnum > 0 AND NOT attisdropped"
    return {row[0] for row in conn.execute(found).fetchall()}


@each_history
def test_a_history_goes_up_and_down_under_our_ledger(history: History, target: MigrationTarget, conn: SqlConnection):
    """In the tool's order; a second run does nothing; the way down is the tool's."""
    done = run.up(target)
    assert tuple(ran.migration.id for ran in done.ran if not ran.migration.repeatable) == history.ids
    assert columns(conn) == {"b", "c"}
    assert not run.up(target).changed
    assert run.status(target).ok
    if history.undone:
        run.down(target)
        assert columns(conn) == {"b"}
        run.down(target)
        assert conn.execute("SELECT to_regclass('i')").fetchone()[0] is None
        assert run.up(target).changed
    else:
        with pytest.raises(DodaiError) as refused:
            run.down(target)
        assert refused.value.code.id == "DOD256"
    assert run.applied_ids(target) == history.ids


@each_history
def test_an_edit_and_a_new_migration_are_judged_against_the_base(history: History, tmp_path: Path, shadow: Shadow):
    """What the branch changed of an applied file is found at its path; what it added is run and measured."""
    write(tmp_path, {f"{FOLDER}/{name}": text for name, text in history.files.items()})
    commit(tmp_path, "init", "-b", "main")
    commit(tmp_path, "checkout", "-b", "branch")
    (tmp_path / FOLDER / history.last).write_text(history.files[history.last].replace("c text", "c int"))
    policy = replace(POLICY, format=history.layout, queries=())
    made = [f"{FOLDER}/{name}" for name in history.new]
    bad = "ALTER TABLE a ADD COLUMN d int NOT NULL;\n"
    marked = f"-- migrate:up\n{bad}-- migrate:down\nALTER TABLE a DROP COLUMN d;\n"
    texts = [marked if history.layout == "dbmate" else bad, "ALTER TABLE a DROP COLUMN d;\n"]
    write(tmp_path, dict(zip(made, texts, strict=False)))
    report = run_check(tmp_path, shadow, policy=policy)
    assert not report.unknown
    found = {(finding.code.id, finding.place.path) for finding in report.findings if finding.place}
    assert {("DOD205", f"{FOLDER}/{history.last}"), ("DOD203", made[0])} <= found
    assert found <= {("DOD205", f"{FOLDER}/{history.last}"), ("DOD203", made[0]), ("DOD211", made[0]),
                     ("DOD211", f"{FOLDER}/{history.last}")}  # fmt: skip


def commit(root: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for command in (words, ("add", "."), ("commit", "--allow-empty", "-m", "history")):
        subprocess.run(["git", *identity, *command], cwd=root, check=True, capture_output=True)


@each_history
def test_a_database_that_the_tool_built_is_adopted(
    history: History, target: MigrationTarget, conn: SqlConnection, shadow: Shadow
):
    """`up` refuses to start at the first file; `adopt` finds by the schema how far it is; `up` goes on from there."""
    conn.execute("CREATE TABLE flyway_schema_history (v text); CREATE TABLE schema_migrations (version text)")
    conn.execute(TABLE)
    conn.execute(INDEX)
    with pytest.raises(DodaiError) as refused:
        run.up(target)
    assert refused.value.code.id == "DOD265"
    assert run.adopt(target, shadow).baseline == history.ids[:2]
    run.up(target)
    assert run.applied_ids(target) == history.ids
    assert columns(conn) == {"b", "c"}


@each_history
def test_a_new_migration_is_laid_out_as_the_others(history: History, target: MigrationTarget):
    """It is the next pending one, and with the way down beside it where the format has one."""
    run.up(target)
    path = run.new(target, "More", now=AT)
    assert path == f"{FOLDER}/{history.new[0]}"
    assert all((target.root / FOLDER / name).is_file() for name in history.new)
    assert [entry.path for entry in run.status(target).pending] == [path]


@pytest.mark.parametrize(
    ("layout", "files", "code", "said"),
    [
        ("diesel", {"2023_a/up.sql": "", "b.sql": ""}, "DOD201", "`db/migrations/b.sql` is not `NAME/up.sql`"),
        ("diesel", {"late_a/up.sql": ""}, "DOD201", "the folder `late_a` is not named"),
        ("diesel", {"2023_a/down.sql": ""}, "DOD201", "`db/migrations/2023_a/down.sql` is not `NAME/up.sql`"),
        ("diesel", {"2023_a/up.sql": "", "2023_a/metadata.toml": "="}, "DOD200", "metadata.toml` cannot be read"),
        ("prisma", {"20230101_a/migration.sql": "", "20230102_b/up.sql": ""}, "DOD201", "is not `NAME/migration.sql`"),
        ("dbmate", {"1_a.sql": "CREATE TABLE a (b int);"}, "DOD200", "needs one `-- migrate:up`"),
        ("dbmate", {"1_a.sql": "-- migrate:down\n-- migrate:up\n"}, "DOD200", "needs one `-- migrate:up`"),
        ("flyway", {"V1_a.sql": ""}, "DOD201", "`db/migrations/V1_a.sql` is not named"),
        ("flyway", {"V1__a.sql": "", "U2__b.sql": ""}, "DOD201", "undoes a version that is not there"),
        ("flyway", {"V1__a.sql": "SELECT '${who}';"}, "DOD200", "`${who}` would be replaced by Flyway"),
        ("flyway", {"V1.2.3.4__a.sql": ""}, "DOD201", "more than three parts"),
        ("flyway", {"V1__a.sql": "", "x/V1.0__b.sql": ""}, "DOD202", "version `10000` is already that of"),
        ("flyway", {"V1__a.SQL": ""}, "DOD201", "it does not end in `.sql`"),
    ],
)  # fmt: skip
def test_what_no_run_would_send_is_named(
    layout: Format, files: Mapping[str, str], code: str, said: str, tmp_path: Path
):
    """A file that a tool would leave out, or read otherwise, is an error with its path."""
    write(tmp_path, {f"{FOLDER}/{name}": text for name, text in files.items()})
    problems = read_folder(tmp_path, FOLDER, layout=layout).problems
    assert [(problem.code.id, said in problem.message) for problem in problems] == [(code, True)]
