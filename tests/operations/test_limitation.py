"""`[[limitation]]`: what resolves one exists, and the document lists them all."""

from __future__ import annotations

import json
import re

import pytest
from tests.end_to_end.small_app import SmallApp

from dodai.rehearsal.drill import known_drills
from dodai.wiring.find_project import find_project
from dodai.wiring.stage import subject_of

ROW = """
[[limitation]]
id = "slow"
text = "ページの表示が遅い"
text_en = "Pages are slow"
resolved_by = "{0}"
[[limitation]]
id = "plain"
text = "まだ残っている"
"""


@pytest.fixture
def app(tmp_path):
    return SmallApp(tmp_path).write()


def check(app, resolved_by):
    app.write(more=ROW.format(resolved_by))
    answer = app.run("check", "operations", "--json")
    return answer.returncode, json.loads(answer.stdout)["findings"]


@pytest.mark.parametrize("what", ["DOD101", "drill", "tests/test_pages.py::test_is_fast"])
def test_limitation_may_be_resolved_by_a_rule_a_drill_or_a_test(app, what):
    """All three can turn red."""
    (app.folder / "tests").mkdir()
    (app.folder / "tests" / "test_pages.py").write_text("def test_is_fast():\n    assert True\n")
    drill = known_drills(subject_of(find_project(app.folder / "dodai.toml"), str))[0].id
    assert check(app, what.replace("drill", drill)) == (0, [])


@pytest.mark.parametrize(
    "what", ["DOD999", "no-such-drill", "tests/test_pages.py::test_was_fast", "tests/test_pages.py"]
)
def test_limitation_resolved_by_nothing_that_exists_is_found_at_its_line(app, what):
    """A renamed drill or a deleted test does not leave a limitation resolved."""
    (app.folder / "tests").mkdir()
    (app.folder / "tests" / "test_pages.py").write_text("def test_was_fast_once():\n    assert True\n")
    code, (finding,) = check(app, what)
    line = (app.folder / "dodai.toml").read_text().split("\n").index(f'resolved_by = "{what}"') + 1
    assert (code, finding["code"], finding["line"]) == (1, "DOD305", line)
    assert f"`{what}`" in finding["message"]


def test_document_lists_every_limitation_in_both_languages_and_leaves_the_rest_of_the_page(app):
    """`tech.md` belongs to its owner; only the region is written."""
    app.write(more=ROW.format("DOD101"))
    page = app.folder / "docs" / "tech.md"
    page.parent.mkdir()
    page.write_text("# うちの技術\n\n最初の文。\n")
    assert app.run("docs").returncode == 0
    assert page.read_text().startswith("# うちの技術\n\n最初の文。\n")
    assert "| `slow` | ページの表示が遅い | `DOD101` |" in page.read_text()
    english = (app.folder / "docs" / "tech.en.md").read_text()
    assert "| `slow` | Pages are slow | `DOD101` |" in english
    assert re.search(r"\| `plain` \| まだ残っている \| still stands \|", english)
    assert app.run("docs", "--check").returncode == 0
    app.write(more=ROW.format(""))
    stale = app.run("docs", "--check")
    assert stale.returncode == 1
    assert "`docs/tech.md` differs" in stale.stdout
