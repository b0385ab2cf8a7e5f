"""A page is written once and rendered in either language as Markdown that says exactly what was put in."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from dodai.core.page import (
    LANGS,
    Bullets,
    CodeBlock,
    Page,
    PageTable,
    Paragraph,
    Section,
    Text,
    bullets,
    paragraphs,
    say,
)

PAGE = Page(
    "Phase2/csrf-rollout",
    Text("Rollout", "導入"),
    paragraphs(Text("Every route.", "すべての経路。"), "`POST /`"),
    (
        Section(
            Text("Targets", "対象"),
            (
                PageTable((Text("route", "経路"), "n"), (("`GET /`", "1"),)),
                Bullets((Text("first", "一"), "second"), ordered=True),
            ),
            (Section("Keys", (CodeBlock("dodai routes\n", "console"),), anchor="keys"),),
        ),
    ),
)

ENGLISH = """\
# Rollout

Every route.

`POST /`

## Targets

| route | n |
| --- | --- |
| `GET /` | 1 |

1. first
2. second

<a id="keys"></a>

### Keys

```console
dodai routes
```
"""


def test_a_page_renders_in_english():
    """Exactly, because generated documents are compared byte by byte."""
    assert PAGE.render("en") == ENGLISH


def test_a_page_renders_in_japanese_with_the_same_structure():
    """Codes, commands and marks stay; words change."""
    japanese = PAGE.render("ja")
    for english, words in (
        ("Rollout", "導入"),
        ("Every route.", "すべての経路。"),
        ("Targets", "対象"),
        ("first", "一"),
    ):
        assert words in japanese
        assert english not in japanese
    assert japanese.replace("経路 | n", "route | n").count("\n") == ENGLISH.count("\n")


def test_a_plain_string_is_the_same_in_both_languages():
    """Codes and commands are never translated."""
    assert [say("DOD101", lang) for lang in LANGS] == ["DOD101", "DOD101"]
    assert [say(Text("yes", "はい"), lang) for lang in LANGS] == ["yes", "はい"]


def test_bullets_are_dashes_unless_they_have_an_order():
    """An order is only claimed where there is one."""
    assert bullets(["a", "b"]).render("en") == "- a\n- b"
    assert bullets((f"{n}" for n in (1, 2)), ordered=True).render("ja") == "1. 1\n2. 2"


def test_a_cell_cannot_break_its_table():
    """Pipes and line breaks come from routes and commands."""
    assert PageTable(("a",), (("x | y\nz",),)).render("en") == "| a |\n| --- |\n| x \\| y<br>z |"


@given(st.text(st.sampled_from("`ab\n"), max_size=30))
def test_a_fence_is_longer_than_any_in_its_text(text):
    """Code that contains a fence does not end the block."""
    block = CodeBlock(text, "text").render("en")
    opening, closing = block.split("\n")[0], block.split("\n")[-1]
    fence = opening.removesuffix("text")
    assert closing == fence
    assert set(fence) == {"`"}
    assert max((len(run) for run in re.findall("`+", text)), default=0) < len(fence)


@given(st.integers(1, 4))
def test_a_section_is_one_level_below_the_one_it_stands_in(depth):
    """Anchors and tables of contents rely on it."""
    section = Section("deepest")
    for _ in range(depth):
        section = Section("outer", (), (section,))
    assert f"\n{'#' * (depth + 2)} deepest" in Page("p", "P", (), (section,)).render("en")


@given(st.sampled_from(LANGS), st.lists(st.text(st.characters(exclude_categories=["C"]), max_size=10), max_size=4))
def test_a_page_ends_in_exactly_one_newline_and_renders_the_same_twice(lang, words):
    """A document that is not deterministic could never be fresh."""
    page = Page("p", "P", tuple(Paragraph(word + ".") for word in words))
    assert page.render(lang) == page.render(lang)
    assert page.render(lang).endswith("\n")
    assert not page.render(lang).endswith("\n\n")
