"""Alembic's revisions are judged by the same rules as SQL files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path

import pytest
from tests.support.command import git

from dodai.core.errors import DodaiError
from dodai.core.rule import Report, evaluate
from dodai.migrations import check
from dodai.migrations.interpreter import Interpreter
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import Connect, Shadow
from dodai.providers.alembic.tool import Alembic
from dodai.providers.postgres.cluster import Cluster
from dodai.providers.postgres.connection import connect

POLICY = MigrationsPolicy(folder="alembic/versions", format="alembic")
ENV_PY = """
from alembic import context
context.configure(url="postgresql+psycopg://nowhere/x", literal_binds=True)
with context.begin_transaction():
    context.run_migrations()
"""
TODAY = date(2026, 11, 23)


def revision(id_: str, parent: str | None, up: str, down: str = "pass") -> str:
    return (
        f"from alembic import op\nimport sqlalchemy as sa\nrevision: str = {id_!r}\ndown_revision = {parent!r}\n\n"
        f"def upgrade() -> None:\n    {up}\n\ndef downgrade() -> None:\n    {down}\n"
    )


A = revision(
    "a1", None, "op.create_table('quiz', sa.Column('id', sa.Integer, primary_key=True))", "op.drop_table('quiz')"
)
B = revision("b2", "a1", "op.add_column('quiz', sa.Column('title', sa.Text))", "op.drop_column('quiz', 'title')")


@pytest.fixture
def project(tmp_path: Path) -> Callable[[Mapping[str, str]], Alembic]:
    def make(files: Mapping[str, str]) -> Alembic:
        versions = tmp_path / "alembic" / "versions"
        versions.mkdir(parents=True, exist_ok=True)
        (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/alembic\n")
        (tmp_path / "alembic" / "env.py").write_text(ENV_PY)
        for name, text in files.items():
            (versions / name).write_text(text)
        return Alembic(tmp_path, POLICY.folder, Interpreter(sys.executable))

    return make


def shadow_of(postgres: Cluster) -> Shadow:
    """Empty databases of the test's server."""

    @contextmanager
    def shadow() -> Iterator[Callable[[], Connect]]:
        with ExitStack() as stack:

            def database() -> Connect:
                dsn = stack.enter_context(postgres.fresh_database("shadow"))
                return lambda: connect(dsn)

            yield database

    return shadow


def report(reader: Alembic, postgres: Cluster | None = None) -> Report:
    base = check.read_base(reader.root, POLICY, reader=reader)
    history = check.gather_history(reader.root, POLICY, base, today=TODAY, reader=reader)
    facts = {check.MigrationHistory: history, check.BaseHistory: check.gather_base(history, base)}
    needs = {check.MigrationHistory, check.BaseHistory}
    if postgres:
        facts[check.ShadowRun] = check.gather_shadow(
            reader.root, POLICY, history, base, shadow_of(postgres), reader=reader
        )
        needs |= {check.ShadowRun, check.Attempts, check.QueriesTried}
        facts[check.Attempts] = check.gather_attempts(facts[check.ShadowRun])
        facts[check.QueriesTried] = check.gather_queries(facts[check.ShadowRun])
    return evaluate([r for r in check.RULES if set(r.needs) <= needs], facts, today=TODAY)


def codes_of(seen: Report) -> list[str]:
    return [finding.code.id for finding in seen.findings]


def test_a_clean_history_is_applied_taken_down_and_up_again(project, postgres: Cluster):
    """The statements that Alembic renders go through the same walk as SQL files."""
    reader = project({"a1_quiz.py": A, "b2_title.py": B})
    assert [m.id for m in reader.read().migrations] == ["a1", "b2"]
    assert "CREATE TABLE quiz" in reader.rendered(shadow_of(postgres)).migrations[0].up[0].sql
    seen = report(reader, postgres)
    assert (seen.findings, {each.rule.needs for each in seen.unknown}) == ((), {(check.BaseHistory,)})


def test_two_heads_are_found_without_running_anything(project):
    """Static: env.py is never imported for it."""
    reader = project(
        {"a1.py": A, "b2.py": B, "c3.py": revision("c3", "a1", "op.execute('SELECT 1')", "op.execute('SELECT 1')")}
    )
    (reader.root / "alembic" / "env.py").write_text("raise SystemExit('executed')")
    assert codes_of(report(reader)) == ["DOD222"]


def test_a_merge_revision_joins_the_heads(project):
    """A tuple of parents."""
    c = revision("c3", "a1", "op.execute('SELECT 1')", "op.execute('SELECT 1')")
    merge = revision("d4", None, "op.execute('SELECT 1')", "op.execute('SELECT 1')").replace(
        "down_revision = None", "down_revision = ('b2', 'c3')"
    )
    assert report(project({"a1.py": A, "b2.py": B, "c3.py": c, "d4.py": merge})).findings == ()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (revision("b2", "gone", "op.execute('SELECT 1')", "op.execute('SELECT 1')"), "DOD207"),
        (revision("a1", "a1", "op.execute('SELECT 1')", "op.execute('SELECT 1')"), "DOD202"),
        (revision("b2", "a1", "op.execute('SELECT 1')"), "DOD211"),
        ("revision = 'b2'\ndef upgrade(:\n", "DOD200"),
        ("revision = compute()\n", "DOD200"),
    ],
)
def test_a_bad_revision_has_its_code(project, text: str, code: str):
    """Missing parent, duplicate, no way down, not Python, not a constant."""
    assert code in codes_of(report(project({"a1.py": A, "b2.py": text})))


def test_an_unsafe_revision_is_measured_like_any_other(project, postgres: Cluster):
    """A broken downgrade and an index that keeps writers out."""
    broken = revision("b2", "a1", "op.create_table('t', sa.Column('x', sa.Integer))", "op.drop_table('nothing')")
    assert codes_of(report(project({"a1.py": A, "b2.py": broken}), postgres)) == ["DOD209"]


def test_an_env_py_that_cannot_render_is_said_and_never_a_pass(project, postgres: Cluster):
    """The error names what alembic said."""
    reader = project({"a1.py": A})
    (reader.root / "alembic" / "env.py").write_text("raise RuntimeError('no offline mode here')")
    with pytest.raises(DodaiError) as caught:
        reader.rendered(shadow_of(postgres))
    assert caught.value.code.id == "DOD226"
    assert "no offline mode here" in caught.value.message


def test_what_is_proposed_is_said_in_the_words_of_alembic(project, postgres: Cluster):
    """Indexes that block, and a revision without a way down: nothing there is goose's."""
    reader = project(
        {"a1.py": A.replace("primary_key=True))", "primary_key=True)); op.create_index('i', 'quiz', ['id'])")}
    )
    for words in (("init", "-b", "main"), ("add", "."), ("commit", "-m", "first"), ("checkout", "-b", "next")):
        git(reader.root, *words)
    reader = project(
        {"b2.py": revision("b2", "a1", "op.create_index('j', 'quiz', ['id']); op.drop_index('i', 'quiz')")}
    )
    fixes = {finding.code.id: finding.advice for finding in report(reader, postgres).findings}
    assert set(fixes) == {"DOD211", "DOD214", "DOD229"}
    assert "its `downgrade()`" in fixes["DOD211"]
    assert "op.create_index(…, postgresql_concurrently=True)" in fixes["DOD214"]
    assert "op.drop_index(…, postgresql_concurrently=True)" in fixes["DOD229"]
    assert not any("goose" in fix for fix in fixes.values())
