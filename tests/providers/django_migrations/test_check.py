"""Django's migrations are judged by the same rules as SQL files, adopted and rehearsed."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from tests.migrations.test_check import git
from tests.providers.alembic.test_run import Second
from tests.providers.django_migrations.conftest import ALL, OURS, POLICY, migration
from tests.providers.django_migrations.test_run import manage

from dodai.core.rule import Report, evaluate
from dodai.migrations import check, run
from dodai.migrations.ports import MigrationTarget, Shadow, SqlConnection
from dodai.providers.postgres.connection import connect

TODAY = date(2026, 11, 27)
BACK = "migrations.RunSQL('SELECT 1', 'SELECT 1')"


def report(target: MigrationTarget, shadow: Shadow | None = None) -> Report:
    root, tool = target.root, target.tool
    base = check.read_base(root, POLICY, reader=tool)
    history = check.gather_history(root, POLICY, base, today=TODAY, reader=tool)
    facts = {check.MigrationHistory: history, check.BaseHistory: check.gather_base(history, base)}
    if shadow:
        facts[check.ShadowRun] = check.gather_shadow(root, POLICY, history, base, shadow, reader=tool)
        facts[check.Attempts] = check.gather_attempts(facts[check.ShadowRun])
        facts[check.QueriesTried] = check.gather_queries(facts[check.ShadowRun])
    return evaluate([r for r in check.RULES if set(r.needs) <= set(facts)], facts, today=TODAY)


def codes_of(seen: Report) -> set[str]:
    return {finding.code.id for finding in seen.findings}


def committed(target: MigrationTarget) -> None:
    git(target.root, "init", "-b", "main")
    git(target.root, "add", ".")
    git(target.root, "commit", "-m", "first")


def test_a_clean_project_is_applied_taken_down_and_up_again(target, shadow: Shadow):
    """What Django sends on an empty database goes through the same walk as SQL files."""
    here = target()
    assert [m.id for m in here.tool.read().migrations] == list(OURS)
    seen = report(here, shadow)
    assert (seen.findings, {each.rule.needs for each in seen.unknown}) == ((), {(check.BaseHistory,)})


def test_the_static_rules_execute_nothing(target):
    """Two leaves of one app, a missing parent, no way back, not Python."""
    here = target(
        {
            "shop/settings.py": "raise SystemExit('executed')",
            "quiz/migrations/0003_a.py": migration([("quiz", "0002_owner")], "migrations.RunSQL('SELECT 1')"),
            "quiz/migrations/0003_b.py": migration([("quiz", "0002_gone")], BACK),
            "score/migrations/0002_c.py": "class Migration(:\n",
        }
    )
    assert codes_of(report(here)) == {"DOD200", "DOD207", "DOD211", "DOD222"}


def test_a_leaf_on_the_base_branch_is_a_second_head_already(target):
    """Found before the merge, where `makemigrations --merge` is cheap."""
    here = target()
    committed(here)
    git(here.root, "checkout", "-b", "mine")
    target({"quiz/migrations/0003_mine.py": migration([("quiz", "0002_owner")], BACK)})
    git(here.root, "add", ".")
    git(here.root, "commit", "-m", "mine")
    git(here.root, "checkout", "main")
    target({"quiz/migrations/0003_theirs.py": migration([("quiz", "0002_owner")], BACK)})
    git(here.root, "add", ".")
    git(here.root, "commit", "-m", "theirs")
    git(here.root, "checkout", "mine")
    found = [f for f in report(target()).findings if f.code.id == "DOD222"]
    assert [("quiz.0003_mine" in f.message, "quiz.0003_theirs" in f.message) for f in found] == [(True, True)]


def test_an_edited_and_a_missing_migration_are_found_against_the_base(target):
    """As with SQL files; comments are only a notice."""
    here = target()
    committed(here)
    path = here.root / "web/quiz/migrations/0002_owner.py"
    path.write_text(path.read_text() + "# a comment\n")
    assert codes_of(report(target())) == {"DOD206"}
    path.write_text(path.read_text().replace("null=True", "null=False"))
    assert codes_of(report(target())) == {"DOD205"}
    (here.root / "web/score/migrations/0001_initial.py").unlink()
    assert codes_of(report(target())) == {"DOD205", "DOD207"}


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("migrations.RunSQL('SELECT nothing', 'SELECT 1')", "DOD208"),
        ("migrations.AlterField('question', 'text', models.IntegerField())", "DOD212"),
        ("migrations.RunSQL('CREATE TABLE a (b int)', 'DROP TABLE c')", "DOD209"),
        ("migrations.AddIndex('question', models.Index(fields=['text'], name='i'))", "DOD214"),
        ("migrations.RemoveField('question', 'text')", "DOD215"),
    ],
)
def test_an_unsafe_migration_is_measured_like_any_other(target, shadow: Shadow, operation: str, code: str):
    """The finding names the line of the operation."""
    committed(target())
    text = migration([("quiz", "0002_owner")], BACK, operation)
    here = target({"quiz/migrations/0003_x.py": text})
    line = next(n for n, each in enumerate(text.splitlines(), start=1) if operation in each)
    found = {f.code.id: f for f in report(here, shadow).findings}
    assert code in found
    assert (found[code].place.path, found[code].place.line) == ("web/quiz/migrations/0003_x.py", line)


def test_a_way_down_that_forgets_is_found(target, shadow: Shadow):
    """Up, down and up again, by the statements that Django sent."""
    committed(target())
    text = migration([("quiz", "0002_owner")], "migrations.RunSQL('CREATE TABLE a (b int)', 'SELECT 1')")
    assert "DOD210" in codes_of(report(target({"quiz/migrations/0003_x.py": text}), shadow))


def test_a_database_that_manage_py_left_without_its_table_is_adopted(
    target, shadow: Shadow, database, conn: SqlConnection
):
    """The baseline is proven; Django then has nothing to do."""
    here = target()
    manage(here, database, "migrate", "quiz", "0002")
    conn.execute("DROP TABLE django_migrations")
    adopted = run.adopt(here, shadow)
    assert set(OURS[:2]) <= set(adopted.baseline)
    assert [ran.migration.id for ran in run.up(here).ran] == ["score.0001_initial"]
    assert "No migrations to apply" in manage(here, database, "migrate")


def test_a_rehearsal_measures_each_statement_in_djangos_own_session(target, database, postgres, conn: SqlConnection):
    """Locks and rewrites as on SQL files, on the copy; the original is left alone."""
    early = target()
    run.up(early)
    with postgres.fresh_database("copy") as dsn:
        run.up(replace(early, connect=lambda: connect(dsn)))
        operation = "migrations.AlterField('question', 'text', models.CharField(max_length=9))"
        here = target({"quiz/migrations/0003_type.py": migration([("quiz", "0002_owner")], operation)})
        seen = run.rehearse(here, Second(dsn), connect)
    assert seen.failure is None
    assert seen.pending == ("web/quiz/migrations/0003_type.py",)
    assert any(e.table == "public.quiz_question" and e.rewritten for s in seen.statements for e in s.effects)
    assert "public.quiz_question" in seen.rows
    assert len(run.status(here).pending) == 1
    assert len(run.applied_ids(here)) == ALL


def test_what_is_proposed_is_said_in_the_words_of_django(target, shadow: Shadow):
    """Indexes that block, and a migration without a way back: nothing there is goose's."""
    add = "migrations.AddIndex('question', models.Index(fields=['text'], name='{}'))"
    committed(target({"quiz/migrations/0003_i.py": migration([("quiz", "0002_owner")], add.format("i"))}))
    dropped = "migrations.RemoveIndex('question', 'i')"
    fill = "migrations.RunSQL('SELECT 1')"
    text = migration([("quiz", "0003_i")], add.format("j"), dropped, fill)
    here = target({"quiz/migrations/0004_j.py": text})
    git(here.root, "checkout", "-b", "next")
    fixes = {finding.code.id: finding.advice for finding in report(here, shadow).findings}
    assert set(fixes) == {"DOD211", "DOD214", "DOD229"}
    assert "`reverse_code` or `reverse_sql`" in fixes["DOD211"]
    assert "`AddIndexConcurrently`" in fixes["DOD214"]
    assert "`RemoveIndexConcurrently`" in fixes["DOD229"]
    assert not any("goose" in fix for fix in fixes.values())


def test_a_new_app_that_follows_nothing_is_not_out_of_order(target):
    """Only numbered files have an order of their own."""
    here = target()
    committed(here)
    git(here.root, "checkout", "-b", "next")
    made = migration([], "migrations.CreateModel('Note', [('id', models.BigAutoField(primary_key=True))])")
    assert codes_of(report(target({"note/__init__.py": "", "note/migrations/0001_initial.py": made}))) == set()
