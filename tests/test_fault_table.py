"""The table of faults says what a test shows: each row names one that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "reference" / "faults.md"
ROWS = [line for line in TABLE.read_text("utf-8").splitlines() if line.startswith("| ") and "`tests/" in line]
EXITS = {"0", "1", "2", "3", "4", "75", "130", "143"}


def test_table_has_rows_and_every_row_has_evidence():
    """No row of the table is without a test."""
    body = [line for line in TABLE.read_text("utf-8").splitlines() if line.startswith("| ")][2:]
    assert body == ROWS
    assert len(ROWS) >= 20


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:40])
def test_row_names_tests_that_exist_and_exit_codes_of_the_design(row):
    """A renamed test leaves no promise behind."""
    for file, _, name in re.findall(r"`(tests/[\w/]+\.py)(::(\w+))?`", row):
        source = (ROOT / file).read_text("utf-8")
        assert not name or re.search(rf"^(async )?def {name}\(", source, re.MULTILINE), f"{file}::{name}"
    assert set(filter(None, row.split("|")[3].strip().split(", "))) <= EXITS
