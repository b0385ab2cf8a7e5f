"""Every code is one line and one page, its words are in both languages, and nothing reads a page before it is needed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dodai.core.code_page import page_of, parse
from dodai.core.errors import Code
from dodai.wiring.registry import codes

SRC = Path(__file__).resolve().parents[2] / "src" / "dodai"
PAGES = sorted(SRC.rglob("codes/*.md"))
KNOWN = list(codes().values())
PAGE = (SRC / "migrations" / "codes" / "DOD212.md").read_text("utf-8")


def test_every_code_has_its_page_and_every_page_its_code():
    """A line without a page could not be explained, a page without a line would never be met."""
    assert {page.stem for page in PAGES} == set(codes())
    assert len(PAGES) == len(KNOWN) > 150


@pytest.mark.parametrize("code", KNOWN, ids=lambda code: code.id)
def test_a_page_says_what_why_and_fix_in_both_languages(code: Code):
    """One sentence each without a full stop, the Japanese in Japanese, the name that of its constant."""
    for text in (code.what, code.why, code.fix):
        assert text.en.strip()
        assert not text.en.endswith(".") or text.en.endswith("...")
        assert not text.ja.endswith("。")
        assert re.search("[\u3040-\u30ff]", text.ja)
    assert code.page.id == code.id


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("# DOD212 table-rewrite", "# table-rewrite", "begins with"),
        ("- level: error", "- level: fatal", "`level`"),
        ("- level: error", "", "`level`"),
        ("- level: error", "- level: error\n- sauce: RFC 1", "not `sauce`"),
        ("## ja", "## fr", "`## ja`"),
        ("why: ", "because ", "three paragraphs"),
    ],
)
def test_a_malformed_page_is_refused(old: str, new: str, said: str):
    """Whoever writes one sees what is wrong with it."""
    with pytest.raises(ValueError, match=re.escape(said)):
        parse(PAGE.replace(old, new, 1))


def test_an_example_is_a_file_of_its_language_and_may_stand_on_the_target_branch():
    """The info string of a fence says which."""
    text = "```sql db/migrations/0001_a.sql base\nSELECT 1;\n```\n\n```toml dodai.toml\n[x]\n```\n"
    page = parse(PAGE.split("## bad")[0] + "## bad\n\n" + text)
    assert [(e.language, e.path, e.stands, e.text) for e in page.bad] == [
        ("sql", "db/migrations/0001_a.sql", "base", "SELECT 1;\n"),
        ("toml", "dodai.toml", "here", "[x]\n"),
    ]
    assert page.good == ()


def test_a_code_whose_page_has_another_name_is_refused():
    """The line and the page cannot drift apart."""
    with pytest.raises(ValueError, match="table-rewrite"):
        _ = Code("DOD212", "another-name", "dodai.migrations.codes").what


def test_a_code_without_a_page_names_the_file_to_write_and_the_page_that_says_how():
    """Whoever adds the line first is told the next step, where any command meets it."""
    with pytest.raises(ValueError, match=r"`src/dodai/migrations/codes/DOD999\.md` does not exist") as caught:
        page_of("dodai.migrations.codes", "DOD999")
    named = re.findall(r"docs/\S+\.md", str(caught.value))
    assert [(SRC.parents[1] / page).is_file() for page in named] == [True]


def test_a_malformed_page_is_named_with_its_file(tmp_path, monkeypatch):
    """There are hundreds of them."""
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "__init__.py").touch()
    (tmp_path / "torn" / "DOD999.md").write_text("DOD999 torn\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=r"`src/torn/DOD999\.md`: a page of a code begins with"):
        page_of("torn", "DOD999")


OPENED = """
import json, sys
opened = []
sys.addaudithook(lambda name, args: opened.append(str(args[0])) if name == "open" else None)
import dodai.asgi, dodai.wsgi, dodai.httpx, dodai.cli.main
from dodai.wiring.registry import codes, rules
codes(), rules()
print(json.dumps([path for path in opened if path.endswith(".md")]))
"""


def test_nothing_that_is_imported_reads_a_page():
    """Neither an application that starts, nor a command, nor the registry of all codes and rules."""
    done = subprocess.run([sys.executable, "-c", OPENED], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == []
