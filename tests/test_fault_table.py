"""The tables of faults say what a test shows: each row names one that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLES = tuple(ROOT / "docs" / "reference" / name for name in ("faults.md", "vendor-faults.md"))
LINES = [line for table in TABLES for line in table.read_text("utf-8").splitlines() if line.startswith("| ")]
HEADS = [line for line in LINES if line.endswith(" | shown by |") or set(line) <= set("| -")]
ROWS = [line for line in LINES if "`tests/" in line]
EXITS = {"0", "1", "2", "3", "4", "75", "130", "143"}
REPORTS = """adcp #4780, flyctl #2653, flyctl #460, kamal #1587, flyctl #1728, bikeindex #4313, kamal #689, kamal #1041, tldraw #8601,
qm #20, anarlog #7116, PraisonAI #4876, terraform-provider-neon #137, terraform-provider-neon #139, terraform-provider-cloudflare
#1222, Fly community 25362, Fly community 27626, Fly community 28121"""
"""What users of other tools reported, before this was built."""


def test_tables_have_rows_and_every_row_has_evidence():
    """No row of a table is without a test."""
    assert [line for line in LINES if line not in HEADS] == ROWS
    assert len(HEADS) == 6
    assert len(ROWS) >= 90


def test_each_report_of_users_has_a_row():
    """A report that nobody wrote a test for would be missed by nobody."""
    rows = "\n".join(ROWS)
    assert [one for one in re.split(r",\s+", REPORTS) if " ".join(one.split()) not in rows] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:40])
def test_row_names_tests_that_exist_and_exit_codes_of_the_design(row):
    """A renamed test leaves no promise behind."""
    for file, _, name in re.findall(r"`(tests/[\w/]+\.py)(::(\w+))?`", row):
        source = (ROOT / file).read_text("utf-8")
        assert not name or re.search(rf"^(async )?def {name}\(", source, re.MULTILINE), f"{file}::{name}"
    assert set(filter(None, row.split("|")[3].strip().split(", "))) <= EXITS
