"""What the documents say of the last rehearsal: of what was seen, of nothing else."""

from __future__ import annotations

import json

import pytest
from tests.end_to_end.small_app import SmallApp

from dodai.core.page import Text
from dodai.rehearsal.document import rehearsed_failures, said_of
from dodai.rehearsal.drill import Drill, DrillResult
from dodai.rehearsal.drills.restore import ID as RESTORE
from dodai.rehearsal.rehearsed import FILE, Rehearsed, SeenDrill

RECORD = Rehearsed(
    at="2026-11-29T18:00:00+00:00",
    commit="c0ffee0123456789+",
    outcome="failed",
    seconds=250,
    drills=(SeenDrill("api-slow", "failed", "3 × 200", 9.1), SeenDrill(RESTORE, "ok", "exit 0 after 6.1 s", 30.0)),
)


def drill(id_, *, apart=False):
    async def see(_):
        return DrillResult("", ok=True)

    return Drill(id_, "operations", Text("The API is slow", "API が遅い"), "503 or 504", see, apart)


def test_red_rehearsal_of_a_changed_tree_is_told_as_one():
    """The page says what is not proven before it says what is."""
    said = said_of(RECORD).render("en")
    assert said == (
        "Last rehearsed 2026-11-29 18:00 UTC at commit `c0ffee012345` with changes: **failed**, "
        "2 drills, 1 of them not as expected, 250 s."
    )
    assert "未コミットの変更あり" in said_of(RECORD).render("ja")
    assert "No rehearsal is on record" in said_of(None).render("en")


def test_failure_shows_what_was_seen_last_and_never_where_it_was_not():
    """One that is carried out by its name alone is no part of the list."""
    text = rehearsed_failures([drill("api-slow"), drill("api-gone"), drill("apart", apart=True)], RECORD).render("en")
    assert "`api-slow` The API is slow. Expected: 503 or 504. Seen last: **failed**: 3 × 200." in text
    assert "`api-gone` The API is slow. Expected: 503 or 504. Seen last: not on record." in text
    assert "apart" not in text
    assert RECORD.restore().en == "Rehearsed last on 2026-11-29: **ok**, exit 0 after 6.1 s."


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "dodai.rehearsed/1", "drills": [{"id": "x"}]}'])
def test_file_that_is_no_record_is_refused_and_nothing_is_made_of_it(tmp_path, text):
    """Neither a rehearsal nor none."""
    (tmp_path / "rehearsed.json").write_text(text)
    with pytest.raises(ValueError):
        Rehearsed.read(tmp_path / "rehearsed.json")


def test_every_page_says_when_it_was_rehearsed_and_is_stale_when_that_changes(tmp_path):
    """`docs --check` compares with the record as with the manifest."""
    app, pages = SmallApp(tmp_path).write(), tmp_path / "docs"
    assert app.run("docs").returncode == 0
    assert "リハーサルの記録はありません" in (pages / "Phase2" / "csrf-rollout.md").read_text()
    RECORD.write(pages / FILE)
    assert Rehearsed.read(pages / FILE) == RECORD
    stale = app.run("docs", "--check")
    assert (stale.returncode, "DOD007" in stale.stdout) == (1, True)
    assert app.run("docs").returncode == 0
    for page in pages.glob("Phase2/*.en.md"):
        assert "Last rehearsed 2026-11-29 18:00 UTC" in page.read_text(), page
    (pages / FILE).write_text(json.dumps({"schema": "another/1"}))
    broken = app.run("docs")
    assert (broken.returncode, "DOD008" in broken.stderr, FILE in broken.stderr) == (2, True, True)


def test_part_of_a_rehearsal_is_nothing_to_tell_of(tmp_path):
    """The pages would say of drills that they were carried out when they were not."""
    said = SmallApp(tmp_path).write().run("rehearse", "--document")
    assert (said.returncode, "--all --document" in said.stderr) == (2, True)
