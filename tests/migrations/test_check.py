"""Seeded bad branches: each is red with its own code, and the clean tree has no finding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.migrations.conftest import NO_TX, TODAY, run_check, up, write
from tests.support.command import git

from dodai.core.rule import evaluate
from dodai.migrations import check, codes
from dodai.migrations.ports import Shadow, SqlConnection

M = "db/migrations/"
CLEAN = {
    f"{M}0001_quiz.sql": up(
        "CREATE TABLE quiz (id int PRIMARY KEY, title text NOT NULL, score int);",
        "CREATE INDEX quiz_back ON quiz (id DESC);",
        "CREATE VIEW ids AS SELECT id, id + 1 AS next FROM quiz;",
        "CREATE TYPE mood AS ENUM ('a');",
        down=("DROP VIEW ids;", "DROP TABLE quiz;", "DROP TYPE mood;"),
    ),
    f"{M}0002_answer.sql": up(
        "CREATE TABLE answer (quiz_id int, choice text);",
        down=("DROP TABLE answer;",),
    ),
    f"{M}0004_choice.sql": up(
        "ALTER TABLE answer ADD COLUMN at timestamptz;", down=("ALTER TABLE answer DROP COLUMN at;",)
    ),
    "queries/quiz.sql": "-- name: titles\nSELECT title FROM quiz WHERE id = %(id)s;\n",
}
DOWN = "-- +goose Down\nSELECT 1;\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The clean history on `main`, checked out on a branch."""
    git(tmp_path, "init", "-b", "main")
    write(tmp_path, CLEAN)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    git(tmp_path, "checkout", "-b", "branch")
    return tmp_path


@dataclass(frozen=True)
class Seed:
    """A bad branch: files written over the clean tree, files removed, and the codes that must be found."""

    name: str
    codes: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    main: Mapping[str, str] = field(default_factory=dict)


def new(body: str, *, down: str = DOWN, head: str = "") -> dict[str, str]:
    return {f"{M}0005_new.sql": f"{head}-- +goose Up\n{body}\n{down}"}


SEEDS = (
    Seed("unreadable file", ("DOD200",), {f"{M}0005_new.sql": "CREATE TABLE a (b int);\n"}),
    Seed("file without version", ("DOD201",), {f"{M}new.sql": up("SELECT 1;")}),
    Seed("duplicate version", ("DOD202",), {f"{M}0004_other.sql": up("SELECT 1;", down=("SELECT 1;",))}),
    Seed(
        "duplicate version with main", ("DOD202",),
        {f"{M}0005_mine.sql": up("SELECT 1;", down=("SELECT 1;",))},
        main={f"{M}0005_theirs.sql": up("SELECT 1;", down=("SELECT 1;",))},
    ),
    Seed("column that fails on rows", ("DOD203",), new("ALTER TABLE quiz ADD COLUMN email text NOT NULL;", down="-- +goose Down\nALTER TABLE quiz DROP COLUMN email;\n")),
    Seed("out of order", ("DOD204",), {f"{M}0003_late.sql": up("SELECT 1;", down=("SELECT 1;",))}),
    Seed(
        "out of order with main", ("DOD204",),
        {f"{M}0005_mine.sql": up("SELECT 1;", down=("SELECT 1;",))},
        main={f"{M}0006_theirs.sql": up("SELECT 1;", down=("SELECT 1;",))},
    ),
    Seed("edited", ("DOD205",), {f"{M}0002_answer.sql": CLEAN[f"{M}0002_answer.sql"].replace("choice text", "choice int")}),
    Seed("missing", ("DOD207",), removed=(f"{M}0004_choice.sql",)),
    Seed("fails on an empty database", ("DOD208",), new("ALTER TABLE nothing ADD COLUMN a int;")),
    Seed("broken down", ("DOD209",), new("CREATE TABLE a (b int);", down="-- +goose Down\nDROP TABLE c;\n")),
    Seed("down with a syntax error", ("DOD209",), new("CREATE TABLE a (b int);", down="-- +goose Down\nDROP TABEL a;\n")),
    Seed("down that forgets", ("DOD210",), new("CREATE TABLE a (b int);\nCREATE TYPE t AS ENUM ('x');", down="-- +goose Down\nDROP TABLE a;\n")),
    Seed("up that cannot repeat", ("DOD209",), new("INSERT INTO quiz VALUES (1, 'a', 1);", down=DOWN)),
    Seed("no way down", ("DOD211",), new("CREATE TABLE a (b int);", down="")),
    Seed("rewrite", ("DOD212",), new("ALTER TABLE quiz ALTER COLUMN score TYPE bigint;", down="-- +goose Down\nALTER TABLE quiz ALTER COLUMN score TYPE int;\n")),
    Seed("volatile default", ("DOD212",), new("ALTER TABLE quiz ADD COLUMN r float DEFAULT random();", down="-- +goose Down\nALTER TABLE quiz DROP COLUMN r;\n")),
    Seed("validated check", ("DOD213",), new("ALTER TABLE quiz ADD CONSTRAINT c CHECK (score > 0);", down="-- +goose Down\nALTER TABLE quiz DROP CONSTRAINT c;\n")),
    Seed("set not null", ("DOD213",), new("ALTER TABLE quiz ALTER COLUMN score SET NOT NULL;", down="-- +goose Down\nALTER TABLE quiz ALTER COLUMN score DROP NOT NULL;\n")),
    Seed("foreign key", ("DOD213",), new("ALTER TABLE answer ADD CONSTRAINT f FOREIGN KEY (quiz_id) REFERENCES quiz (id);", down="-- +goose Down\nALTER TABLE answer DROP CONSTRAINT f;\n")),
    Seed("blocking index", ("DOD214",), new("CREATE INDEX q ON quiz (score);", down="-- +goose Down\nDROP INDEX q;\n")),
    Seed("unique constraint", ("DOD214",), new("ALTER TABLE quiz ADD CONSTRAINT u UNIQUE (title);", down="-- +goose Down\nALTER TABLE quiz DROP CONSTRAINT u;\n")),
    Seed("dropped column that a query reads", ("DOD215", "DOD218"), new("ALTER TABLE quiz DROP COLUMN title;", down="-- +goose Down\nALTER TABLE quiz ADD COLUMN title text NOT NULL DEFAULT '';\nALTER TABLE quiz ALTER COLUMN title DROP DEFAULT;\n")),
    Seed("dropped table", ("DOD215",), new("DROP TABLE answer;", down="-- +goose Down\nCREATE TABLE answer (quiz_id int, choice text, at timestamptz);\n")),
    Seed("renamed column", ("DOD215", "DOD218"), new("ALTER TABLE quiz RENAME COLUMN title TO name;", down="-- +goose Down\nALTER TABLE quiz RENAME COLUMN name TO title;\n")),
    Seed("dropped view", ("DOD215",), new("DROP VIEW ids;", down="-- +goose Down\nCREATE VIEW ids AS SELECT id, id + 1 AS next FROM quiz;\n")),
    Seed("view that lost a column", ("DOD215",), new("DROP VIEW ids;\nCREATE VIEW ids AS SELECT id FROM quiz;", down="-- +goose Down\nDROP VIEW ids;\nCREATE VIEW ids AS SELECT id, id + 1 AS next FROM quiz;\n")),
    Seed("renamed label", ("DOD215",), new("ALTER TYPE mood RENAME VALUE 'a' TO 'b';", down="-- +goose Down\nALTER TYPE mood RENAME VALUE 'b' TO 'a';\n")),
    Seed("row security", ("DOD215",), new("ALTER TABLE quiz ENABLE ROW LEVEL SECURITY;", down="-- +goose Down\nALTER TABLE quiz DISABLE ROW LEVEL SECURITY;\n")),
    Seed("update of all rows", ("DOD228",), new("UPDATE quiz SET score = 1;")),
    Seed("delete of all rows", ("DOD228",), new("DELETE FROM quiz;")),
    Seed("dropped index", ("DOD229",), new("DROP INDEX quiz_back;", down="-- +goose Down\nCREATE INDEX quiz_back ON quiz (id DESC);\n")),
    Seed("transaction left open", ("DOD208", "DOD223"), new("BEGIN;\nCREATE TABLE a (b int);", head=NO_TX)),
    Seed("copy", ("DOD220",), new("COPY quiz (id) FROM stdin;")),
    Seed("split body", ("DOD221",), new("DO $$\nBEGIN\n  NULL;\nEND $$;")),
    Seed("own transaction", ("DOD223",), new("CREATE TABLE a (b int);\nCOMMIT;\nCREATE TABLE c (d int);", down="-- +goose Down\nDROP TABLE a;\nDROP TABLE c;\n")),
    Seed("role", ("DOD224",), new("CREATE ROLE dodai_seed_role;", down="-- +goose Down\nDROP ROLE dodai_seed_role;\n")),
    Seed("acceptance without a reason", ("DOD225",), new("SELECT 1;", head="-- dodai: accept DOD213\n")),
    Seed("Go migration", ("DOD226",), {f"{M}0005_data.go": "package migrations\n"}),
    Seed("acceptance of nothing", ("DOD227",), new("SELECT 1;", head="-- dodai: accept DOD213 why not\n")),
    Seed("expired acceptance", ("DOD214", "DOD227"), new("CREATE INDEX q ON quiz (score);", down="-- +goose Down\nDROP INDEX q;\n", head="-- dodai: accept DOD214 tiny until 2026-01-01\n")),
)  # fmt: skip


WARNED = ("DOD227", "DOD228", "DOD229")


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.name)
def test_a_bad_branch_is_red_with_its_code(seed: Seed, repository: Path, shadow: Shadow):
    """Exactly the expected codes, and never a clean report."""
    if seed.main:
        git(repository, "checkout", "main")
        write(repository, seed.main)
        git(repository, "add", ".")
        git(repository, "commit", "-m", "theirs")
        git(repository, "checkout", "branch")
    write(repository, seed.files)
    for name in seed.removed:
        (repository / name).unlink()
    git(repository, "add", "-A")
    git(repository, "commit", "-m", "bad")
    report = run_check(repository, shadow)
    found = {finding.code.id for finding in report.errors} | {f.code.id for f in report.findings if f.code.id in WARNED}
    assert found == set(seed.codes), [f"{f.code.id} {f.message}" for f in report.findings]


def test_the_clean_tree_has_no_finding(repository: Path, shadow: Shadow):
    """Against the base, and with a good new file."""
    assert run_check(repository, shadow).findings == ()
    write(
        repository,
        new(
            "CREATE TABLE fresh (id int PRIMARY KEY);\nCREATE INDEX f ON fresh (id);\nALTER TABLE fresh ADD CHECK (id > 0);",
            down="-- +goose Down\nDROP TABLE fresh;\n",
        ),
    )
    report = run_check(repository, shadow)
    assert (report.findings, report.unknown) == ((), ())


def test_every_code_that_check_finds_has_a_bad_seed():
    """A rule nobody has seen fire is not trusted."""
    fired = {code for seed in SEEDS for code in seed.codes} | {"DOD206", "DOD216", "DOD217", "DOD219", "DOD222"}
    assert {code.id for code in codes.CODES if code.found == "check"} == fired


def test_an_edit_of_comments_only_is_a_notice(repository: Path, shadow: Shadow):
    """It is shown and does not fail the check."""
    write(repository, {f"{M}0001_quiz.sql": "-- the quiz\n" + CLEAN[f"{M}0001_quiz.sql"]})
    report = run_check(repository, shadow)
    assert [f.code.id for f in report.findings] == ["DOD206"]
    assert report.ok


def test_a_new_query_that_needs_the_new_schema_is_a_notice(repository: Path, shadow: Shadow):
    """Migrate first, then deploy: the order is what makes it work."""
    write(
        repository,
        new("ALTER TABLE quiz ADD COLUMN hint text;", down="-- +goose Down\nALTER TABLE quiz DROP COLUMN hint;\n"),
    )
    write(repository, {"queries/hint.sql": "SELECT hint FROM quiz WHERE id = %s\n"})
    report = run_check(repository, shadow)
    assert [(f.code.id, f.place.path) for f in report.findings if f.place] == [("DOD219", "queries/hint.sql")]
    assert report.ok


def test_an_accepted_finding_is_left_out(repository: Path, shadow: Shadow):
    """The directive names the code and a reason."""
    accept = "-- dodai: accept DOD214 four rows in every environment\n"
    write(repository, new("CREATE INDEX q ON quiz (score);", down="-- +goose Down\nDROP INDEX q;\n", head=accept))
    assert run_check(repository, shadow).findings == ()


def test_saved_row_counts_weigh_a_finding(repository: Path, shadow: Shadow):
    """A scan of a small table is a notice; the rows of a big one are in the message."""
    body = new(
        "ALTER TABLE quiz ALTER COLUMN score SET NOT NULL;",
        down="-- +goose Down\nALTER TABLE quiz ALTER COLUMN score DROP NOT NULL;\n",
    )
    for rows, ok in ((12, True), (1_200_000, False)):
        write(repository, {**body, f"{M}rows.json": f'{{"rows": {{"public.quiz": {rows}}}}}'})
        report = run_check(repository, shadow)
        assert report.ok is ok
        assert f"{rows:,} rows" in report.findings[0].message


def test_concurrently_and_not_valid_are_not_flagged(repository: Path, shadow: Shadow):
    """The safe forms of the same changes pass."""
    body = "CREATE INDEX CONCURRENTLY q ON quiz (score);\nALTER TABLE quiz ADD CONSTRAINT c CHECK (score > 0) NOT VALID;\nALTER TABLE quiz VALIDATE CONSTRAINT c;"
    down = "-- +goose Down\nALTER TABLE quiz DROP CONSTRAINT c;\nDROP INDEX q;\n"
    write(repository, new(body, down=down, head=NO_TX))
    assert run_check(repository, shadow).findings == ()


def test_a_bad_way_down_does_not_poison_the_files_after_it(repository: Path, shadow: Shadow):
    """Each file is judged on a sound database."""
    write(repository, {
        f"{M}0005_a.sql": up("CREATE TABLE a (b int);", "CREATE TYPE t AS ENUM ('x');", down=("DROP TABLE a;",)),
        f"{M}0006_b.sql": up("ALTER TABLE a ADD COLUMN c t;", down=("ALTER TABLE a DROP COLUMN c;",)),
    })  # fmt: skip
    assert [(f.code.id, f.place.path) for f in run_check(repository, shadow).findings if f.place] == [
        ("DOD210", f"{M}0005_a.sql")
    ]


def test_column_order_alone_is_no_difference(repository: Path, shadow: Shadow):
    """Dropping and adding a column again cannot restore its place."""
    write(
        repository,
        new(
            "-- dodai: accept DOD215 nobody reads it\nALTER TABLE quiz DROP COLUMN score;",
            down="-- +goose Down\nALTER TABLE quiz ADD COLUMN score int;\n",
        ),
    )
    assert run_check(repository, shadow).findings == ()


def test_drift_and_invalid_indexes_of_a_live_database_are_found(make_target, conn: SqlConnection, shadow: Shadow):
    """What somebody did by hand is named line by line."""
    from dodai.migrations import run

    target = make_target({"1_a.sql": up("CREATE TABLE a (b int);")})
    run.up(target)
    rules = [r for r in check.RULES if r.cost == "live"]
    clean = check.live_schema("staging", target, shadow)
    assert evaluate(rules, {check.LiveSchema: clean}, today=TODAY).findings == ()
    conn.execute("ALTER TABLE a ADD COLUMN byhand text; INSERT INTO a VALUES (1), (1)")
    with pytest.raises(Exception, match="duplicate"):
        conn.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON a (b)")
    found = evaluate(rules, {check.LiveSchema: check.live_schema("staging", target, shadow)}, today=TODAY).findings
    assert [f.code.id for f in found] == ["DOD217", "DOD216"]
    assert "byhand" in found[0].message
