"""`dodai docs`: fresh, stale, edited by hand, kept regions; nothing a person wrote is lost."""

from __future__ import annotations

import json

import pytest
from tests.end_to_end.small_app import SmallApp
from tests.support.proposed import carry_out

from dodai.core import proposal

PAGE = "docs/Phase2/production-operations.md"


@pytest.fixture
def app(tmp_path):
    return SmallApp(tmp_path).write()


def test_documents_are_written_in_each_language_and_are_fresh_afterwards(app):
    """The first language has the plain name."""
    assert app.run("docs", "--check").returncode == 1
    written = app.run("docs")
    assert written.returncode == 0
    assert f"wrote: {PAGE}" in written.stdout
    assert "# 本番運用" in (app.folder / PAGE).read_text()
    assert "# Production operations" in (app.folder / PAGE.replace(".md", ".en.md")).read_text()
    assert app.run("docs", "--check").returncode == 0
    assert f"already fresh: {PAGE}" in app.run("docs").stdout


def test_changed_definition_makes_the_document_stale_with_the_command_to_run(app):
    """CI says which document lags behind."""
    app.run("docs")
    app.write(more='[service.worker]\ncommand = ["x"]\n')
    answer = app.run("docs", "--check")
    assert answer.returncode == 1
    assert "DOD007 document-stale" in answer.stdout
    carry_out(answer.stdout, proposal.DOCS, cwd=app.folder)
    assert app.run("docs", "--check").returncode == 0


def test_text_in_a_keep_region_survives_and_text_outside_is_never_lost_silently(app):
    """A hand edit outside of regions stops the writing; inside it is kept."""
    app.run("docs")
    page = app.folder / PAGE
    kept = "\n<!-- dodai:keep contacts -->\nOn call: Hanako\n<!-- /dodai:keep -->\n"
    page.write_text(page.read_text() + kept)
    app.write(more='[service.worker]\ncommand = ["x"]\n')
    assert app.run("docs").returncode == 0
    assert "On call: Hanako" in page.read_text()
    assert "`worker`" in page.read_text()
    page.write_text(page.read_text().replace("# 本番運用", "# うちの手順"))
    refused = app.run("docs")
    assert refused.returncode == 1
    assert "left alone, edited by hand" in refused.stdout
    assert "# うちの手順" in page.read_text()
    carry_out(app.run("docs", "--check").stdout, proposal.DOCS_FORCE, cwd=app.folder)
    assert "On call: Hanako" in page.read_text()


def test_somebody_elses_file_is_never_overwritten(app):
    """Not even with --force."""
    page = app.folder / PAGE
    page.parent.mkdir(parents=True)
    page.write_text("# Ours\n")
    answer = app.run("docs", "--force", "--json")
    assert {"path": PAGE, "was": "foreign"} in json.loads(answer.stdout)["documents"]
    assert page.read_text() == "# Ours\n"


def test_malformed_markers_are_a_coded_error_with_the_line(app):
    """Nothing is written when ownership is unclear."""
    app.run("docs")
    page = app.folder / PAGE
    page.write_text(page.read_text() + "<!-- dodai:keep x -->\n")
    answer = app.run("docs")
    assert answer.returncode == 2
    assert "DOD008 document-markers" in answer.stderr
    assert f"{PAGE}:" in answer.stderr
