"""The guard around code that is only listed: imports find their libraries, and a refusal that was swallowed is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.agent.test_audit import STARLETTE, audit

from dodai.core.fact import Unknown
from dodai.csrf.route_table import RouteTable

APP = STARLETTE + "\napp = inner\n"


def test_an_import_may_ask_where_a_library_is(tmp_path: Path):
    """`ctypes.util.find_library` starts programs: with them refused pure psycopg does not load."""
    source = "import ctypes.util\nassert ctypes.util.find_library('c')\n"
    assert isinstance(audit(tmp_path, source + APP), RouteTable)


@pytest.mark.parametrize("start", ["subprocess.run(['true'])", "os.system('true')"])
def test_other_programs_are_refused(tmp_path: Path, start: str):
    """Whatever starts them."""
    found = audit(tmp_path, f"import os, subprocess\n{start}\n{APP}")
    assert isinstance(found, Unknown)
    assert "does not let code start processes" in found.reason


def test_a_refusal_that_was_swallowed_is_told_with_the_error_that_came_of_it(tmp_path: Path):
    """The error of the code alone would send people looking in the wrong place."""
    source = (
        "import subprocess\n"
        "try:\n    subprocess.run(['true'])\n"
        "except OSError:\n    raise ImportError('no driver found') from None\n"
    )
    found = audit(tmp_path, source + APP)
    assert isinstance(found, Unknown)
    assert "no driver found" in found.reason
    assert "does not let code start processes" in found.reason
