"""What `dodai doctor` says about PostgreSQL on this machine, beside the version that production runs."""

from __future__ import annotations

import json

import pytest
from tests.end_to_end.small_app import SmallApp

from dodai.providers.postgres.binaries import find_binaries


@pytest.fixture
def doctor(tmp_path):
    app = SmallApp(tmp_path)

    def rows(major):
        app.write(more=f"[database]\nmajor = {major}\n")
        answer = app.run("doctor", "--json")
        document = json.loads(answer.stdout)
        return answer.returncode, {row["name"]: row for row in document["rows"]}

    return rows


@pytest.mark.parametrize("named", [False, True])
def test_same_major_or_none_asked_for_is_no_warning(doctor, named):
    """The installation that would be used is marked, and nothing is said about the version."""
    here = find_binaries()
    code, rows = doctor(here.major if named else 0)
    assert code == 0
    assert "postgresql major" not in rows
    assert rows[f"postgresql {here.version}"]["needed_for"]


def test_other_major_than_production_is_a_warning_that_names_both(doctor):
    """Local work goes on, and whoever looks knows what it does not prove."""
    code, rows = doctor(99)
    row = rows["postgresql major"]
    assert (code, row["verdict"]) == (0, "warning")
    assert "`[database].major` says that production runs 99" in row["seen"]
    assert row["fix"].startswith("install PostgreSQL 99")
