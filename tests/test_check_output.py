"""`dodai check`: findings of one cause stand together, and what was left out by a choice is named."""

from __future__ import annotations

import json
import re

import pytest
from tests.support.command import dodai

BAD = ("first.sql", "second.sql", "third.sql")
CHECK = ("check", "migrations", "--fast")


@pytest.fixture
def shop(tmp_path):
    """Three files whose names say no version, and one that has no way back."""
    folder = tmp_path / "db" / "migrations"
    folder.mkdir(parents=True)
    for name in BAD:
        (folder / name).write_text("-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 1;\n")
    (tmp_path / "dodai.toml").write_text('[project]\nname = "shop"\n\n[migrations]\nbase = "none"\n')
    return tmp_path


def test_findings_of_one_cause_are_one_message_with_their_number(shop):
    """The fix and the reason are said once, each place on a line of its own."""
    said = dodai(*CHECK, cwd=shop).stdout
    assert re.search(r"(?m)^DOD201 migration-name: 3 times$", said), said
    assert [name for name in BAD if f"  --> db/migrations/{name}: " in said] == list(BAD)
    assert said.count("  why: A tool passes such a file over") == 1


def test_concise_is_a_line_for_each_and_statistics_a_line_for_each_code(shop):
    """The first for editors and grep, the second for a first look at an old repository."""
    said = dodai(*CHECK, "--output-format", "concise", cwd=shop).stdout
    lines = [line for line in said.splitlines() if line.startswith("db/")]
    assert [line.partition(": ")[0] for line in lines] == [f"db/migrations/{name}" for name in BAD]
    assert all(line.partition(": ")[2].startswith("DOD201 error ") for line in lines)
    said = dodai(*CHECK, "--statistics", cwd=shop).stdout
    assert "    3  DOD201  error    migration-name\n" in said
    assert "first.sql" not in said


def test_what_is_ignored_or_not_selected_is_left_out_by_name_and_never_judged(shop):
    """Exit 0 only because somebody said so, and the report says that; a typing error is no choice."""
    done = dodai(*CHECK, "--ignore", "DOD201", "--json", cwd=shop)
    body = json.loads(done.stdout)
    assert "DOD201" not in [one["code"] for one in body["findings"]] + body["judged"]
    assert {"DOD201": "left out by `--ignore`"}.items() <= {
        one["code"]: one["reason"] for one in body["leftOut"]
    }.items()
    assert "1 left out by `--ignore`: DOD201" in dodai(*CHECK, "--ignore", "DOD201", cwd=shop).stdout
    only = json.loads(dodai(*CHECK, "--select", "DOD201", "--json", cwd=shop).stdout)
    assert only["judged"] == ["DOD201"]
    assert len(only["findings"]) == 3
    wrong = dodai(*CHECK, "--ignore", "DOD999", cwd=shop)
    assert (wrong.returncode, "neither a rule" in wrong.stderr) == (2, True), wrong.stderr
