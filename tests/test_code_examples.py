"""The examples on the pages of codes are true: the bad one is found with that code, the good one is judged and clean.

An example is files. They are written into a repository with a first migration on `main`; what the page leaves out (the
manifest, a service for `app.py`) is added.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest

from dodai.core.code_page import Example
from dodai.core.errors import Code
from dodai.core.finding import Finding
from dodai.core.rule import evaluate
from dodai.migrations.ports import Connect
from dodai.providers.postgres.cluster import Cluster
from dodai.providers.postgres.connection import connect
from dodai.wiring import checks
from dodai.wiring.checks import check, facts
from dodai.wiring.find_project import find_project
from dodai.wiring.registry import codes, rules

TODAY = date(2026, 11, 23)
MIGRATIONS = "db/migrations/"
QUIZ = (
    "-- +goose Up\nCREATE TABLE quiz (id int PRIMARY KEY, score int);\nCREATE INDEX quiz_best ON quiz (score DESC);\n"
    "-- +goose Down\nDROP TABLE quiz;\n"
)
MANIFEST = '[project]\nname = "quiz"\n'
SERVICE = '\n[service.web]\ncommand = ["serve"]\npublic = true\napp = "app:app"\n'

FOUND = [code for code in codes().values() if code.found == "check"]
WITHOUT = {
    "DOD007": "what a document must say is rendered from the project; tests/test_docs_command.py",
    "DOD008": "what a document must say is rendered from the project; tests/test_docs_command.py",
    "DOD216": "an index in a live database; tests/migrations/test_check.py",
    "DOD217": "the schema of a live database; tests/migrations/test_check.py",
    **dict.fromkeys(
        ("DOD500", "DOD501", "DOD502", "DOD503"), "the secrets of a live environment; tests/end_to_end/test_secrets.py"
    ),
    **dict.fromkeys(
        ("DOD510", "DOD511", "DOD513", "DOD514", "DOD515"),
        "the network of an environment; tests/operations/test_network.py",
    ),
    **dict.fromkeys(
        (f"DOD{number}" for number in range(520, 527)),
        "accounts at vendors of a live environment; tests/operations/test_accounts.py",
    ),
    "DOD222": "a branch in a history of Alembic or Django; tests/providers/alembic/test_check.py",
}
"""Codes of `check` that no files of a repository can show, why, and where they are shown instead."""


def test_every_code_of_check_has_examples_that_can_be_run():
    """But for those named here; a code met at run time shows at most how it reads."""
    runnable = {code.id for code in FOUND if all(any(e.path for e in es) for es in (code.page.bad, code.page.good))}
    assert {code.id for code in FOUND} - runnable == set(WITHOUT)
    assert len(runnable) >= 58


def git(root: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *words], cwd=root, check=True, capture_output=True)


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def repository(root: Path, examples: tuple[Example, ...]) -> None:
    """The files of an example in the working tree, those of the target branch on `main`."""
    paths = {example.path for example in examples}
    git(root, "init", "-b", "main")
    if any(path.startswith(MIGRATIONS) for path in paths):
        write(root, f"{MIGRATIONS}0001_quiz.sql", QUIZ)
    if "dodai.toml" not in paths:
        write(root, "dodai.toml", MANIFEST + (SERVICE if "app.py" in paths else ""))
    for example in examples:
        if example.stands != "here":
            write(root, example.path, example.text)
    git(root, "add", ".")
    git(root, "commit", "--allow-empty", "-m", "first")
    for example in examples:
        if example.stands == "here":
            write(root, example.path, example.text)
        elif example.stands == "removed":
            (root / example.path).unlink()


@pytest.fixture
def shadow(postgres: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Throw-away databases on the session's server instead of a server for each."""
    names: list[str] = []

    @contextmanager
    def start() -> Iterator[Callable[[], Connect]]:
        def database() -> Connect:
            names.append(f"example_{len(names)}_{id(names)}")
            url = postgres.create_database(names[-1])
            return lambda: connect(url)

        yield database

    monkeypatch.setattr(checks, "shadow_of", lambda _: start)
    yield
    for name in names:
        postgres.drop_database(name)


def judged(root: Path, code: Code) -> tuple[Finding, ...]:
    """What the rules of `code` find in files; a rule that was not judged fails."""
    chosen = [rule for rule in rules() if rule.code.id == code.id and rule.cost != "live"]
    manifest = root / "dodai.toml"
    if not chosen:  # the reader of the manifest and the acceptances are not rules
        found = check(
            manifest, areas=("observability",), cost="static", base="", everything=False, today=TODAY
        ).findings
    else:
        gathering = facts(find_project(manifest), TODAY)
        report = evaluate(chosen, {need: gathering.fact(need) for rule in chosen for need in rule.needs}, today=TODAY)
        assert not report.unknown, report.unknown[0].reason
        assert report.judged
        found = report.findings
    return tuple(finding for finding in found if finding.code == code)


@pytest.mark.usefixtures("shadow")
@pytest.mark.parametrize("code", [code for code in FOUND if code.id not in WITHOUT], ids=lambda code: code.id)
def test_the_bad_example_is_found_and_the_good_one_is_clean(code: Code, tmp_path: Path):
    """Both are judged by the rule of the page."""
    bad, good = tmp_path / "bad", tmp_path / "good"
    for root, examples in ((bad, code.page.bad), (good, code.page.good)):
        root.mkdir()
        repository(root, examples)
    assert judged(bad, code)
    assert judged(good, code) == ()
