"""Every example on a code's page is true: the bad one fires that code, the good one does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.migrations.conftest import up
from tests.migrations.test_check import M, git, run_check, shadow, write  # noqa: F401

from dodai.core.errors import Code
from dodai.core.page import LANGS
from dodai.migrations import codes
from dodai.migrations.ports import Shadow

SQL_EXAMPLES = [code for code in codes.CODES if any("-- " in e.text for e in code.page.bad) and code.found == "check"]
BASE = up("CREATE TABLE quiz (id int PRIMARY KEY, score int);", down=("DROP TABLE quiz;",))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-b", "main")
    write(tmp_path, {f"{M}0001_quiz.sql": BASE})
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    return tmp_path


def found(root: Path, text: str, shadow: Shadow) -> set[str]:  # noqa: F811
    write(root, {f"{M}0002_example.sql": text})
    return {finding.code.id for finding in run_check(root, shadow).findings}


@pytest.mark.parametrize("code", SQL_EXAMPLES, ids=lambda code: code.id)
def test_the_bad_example_fires_and_the_good_one_does_not(code: Code, repository: Path, shadow: Shadow):  # noqa: F811
    """The page shows what the check does."""
    assert code.id in found(repository, code.page.bad[0].text, shadow)
    assert code.id not in found(repository, code.page.good[0].text, shadow)


def test_pages_say_what_why_and_fix_in_both_languages():
    """A fix is one imperative line without a full stop."""
    assert len(SQL_EXAMPLES) >= 14
    for code in codes.CODES:
        for text in (code.what, code.why, code.fix):
            assert all(text(lang).strip() for lang in LANGS), code.id
        assert not code.fix.en.endswith("."), code.id
        assert any("\u3040" <= char <= "\u30ff" for char in code.what.ja), code.id
