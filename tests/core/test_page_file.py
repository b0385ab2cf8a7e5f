"""Nothing that a person wrote into a document is lost, and everything that dodai owns is what dodai would write."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from dodai.core.page_file import (
    KEPT_HEADING,
    PageFileError,
    generated_state,
    is_fresh,
    merge_generated,
    merge_region,
    region_state,
    text_of,
)

TEMPLATE = "# Rollout\n\nTargets: 3\n\n<!-- dodai:keep notes -->\nWrite here.\n<!-- /dodai:keep -->\n\nEnd.\n"

# Text that a person could write: any line ends, odd separators, no line that looks like a marker of ours.
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
free_text = st.text(st.sampled_from("ab#-<!>\\ \t\r\n\x0c\u2028\u3042\U0001f600`|"), max_size=60).filter(
    lambda text: not re.search(r"(?m)^ {0,3}<!--\s*/?\s*dodai:", text)
)
# The inside of a region ends where the closing marker's line begins.
inside = free_text.map(lambda text: text if not text or text.endswith("\n") else text + "\n")


def keep(name: str, text: str) -> str:
    text = text if not text or text.endswith("\n") else text + "\n"
    return f"<!-- dodai:keep {name} -->\n{text}<!-- /dodai:keep -->\n"


def owned(name: str, text: str) -> str:
    text = text if not text or text.endswith("\n") else text + "\n"
    return f"<!-- dodai:begin {name} -->\n{text}<!-- dodai:end {name} -->\n"


@st.composite
def templates(draw: st.DrawFn) -> str:
    """A rendered page with some regions between its parts."""
    parts = draw(st.lists(inside, max_size=4))
    regions = draw(st.lists(st.tuples(names, inside), max_size=4, unique_by=lambda region: region[0]))
    return "".join(part + keep(*region) for part, region in zip(parts, regions, strict=False)) + draw(free_text)


# --- generated files ---


def test_a_first_writing_is_the_page_under_its_header():
    """The header says who writes what."""
    written = merge_generated(None, TEMPLATE)
    header, _, body = written.partition("\n")
    assert re.fullmatch(r"<!-- dodai:generated [0-9a-f]{16} \| write only inside dodai:keep regions; .*-->", header)
    assert body == TEMPLATE
    assert is_fresh(written, TEMPLATE)


def test_what_a_user_wrote_into_a_region_survives_a_new_template():
    """The page changes around it."""
    written = merge_generated(None, TEMPLATE).replace("Write here.\n", "Ask Mika first.\n\nThen\u2028go.\n")
    again = merge_generated(written, TEMPLATE.replace("3", "4"))
    assert "Targets: 4" in again
    assert keep("notes", "Ask Mika first.\n\nThen\u2028go.\n") in again


def test_an_emptied_region_stays_empty():
    """The template's words for an empty region do not come back."""
    written = merge_generated(None, TEMPLATE).replace("Write here.\n", "")
    assert "Write here." not in merge_generated(written, TEMPLATE)


def test_a_region_the_template_lost_goes_to_the_end_and_comes_back():
    """Under a heading, and only as long as the template has no place for it."""
    written = merge_generated(None, TEMPLATE).replace("Write here.", "Precious.")
    without = merge_generated(written, "# Rollout\n")
    assert without.endswith(f"# Rollout\n\n{KEPT_HEADING}\n\n{keep('notes', 'Precious.')}")
    assert is_fresh(without, "# Rollout\n")
    back = merge_generated(without, TEMPLATE)
    assert KEPT_HEADING not in back
    assert "Precious." in back


def test_a_blank_region_the_template_lost_is_dropped():
    """There is nothing to keep."""
    written = merge_generated(None, TEMPLATE).replace("Write here.\n", " \n")
    assert "keep" not in merge_generated(written, "# Rollout\n").partition("\n")[2]


def test_a_region_added_by_hand_is_not_an_edit_and_survives():
    """It may stand anywhere; regeneration moves it to the end."""
    written = merge_generated(None, TEMPLATE)
    added = written.replace("Targets: 3\n", f"Targets: 3\n\n{keep('mine', 'Own words.')}")
    assert generated_state(added, TEMPLATE) == "stale"
    merged = merge_generated(added, TEMPLATE)
    assert keep("mine", "Own words.\n") in merged
    assert is_fresh(merged, TEMPLATE)


def test_line_ends_of_a_windows_checkout_are_fresh_and_stay():
    """git may turn LF into CRLF; a region's own line ends are the user's."""
    windows = merge_generated(None, TEMPLATE).replace("\n", "\r\n").replace("Write here.\r\n", "one\ntwo\r\n")
    assert is_fresh(windows, TEMPLATE)
    merged = merge_generated(windows, TEMPLATE.replace("3", "4"))
    assert "Targets: 4\r\n" in merged
    assert "-->\r\none\ntwo\r\n<!--" in merged


@pytest.mark.parametrize(
    ("change", "state"),
    [
        (lambda text: text, "fresh"),
        (lambda text: text.replace("Write here.", "Anything."), "fresh"),
        (lambda text: text.replace("Targets: 3", "Targets: 2"), "edited"),
        (lambda text: text.replace("End.\n", ""), "edited"),
        (lambda text: text + "And more.\n", "edited"),
        (lambda text: text + "\n", "stale"),
        (lambda text: text.partition("\n")[2], "foreign"),
        (lambda _: "", "foreign"),
    ],
    ids=["untouched", "in-region", "changed", "removed", "added", "blank-line", "no-header", "empty"],
)
def test_a_hand_edit_outside_of_a_region_is_told_from_an_old_page(change, state):
    """`docs` may overwrite what is stale, and must ask before it overwrites what is edited."""
    assert generated_state(change(merge_generated(None, TEMPLATE)), TEMPLATE) == state


def test_an_old_page_is_stale_and_a_missing_one_missing():
    """Both are simply written."""
    assert generated_state(merge_generated(None, "# Old\n"), TEMPLATE) == "stale"
    assert generated_state(None, TEMPLATE) == "missing"


def test_a_file_that_dodai_did_not_write_is_never_replaced():
    """A page of the same name may be somebody's own."""
    with pytest.raises(PageFileError, match="line 1: this file was not generated by dodai"):
        merge_generated("# My own rollout\n", TEMPLATE)


@given(templates())
def test_regenerating_is_idempotent(template):
    """A written file is fresh, and writing it again changes no byte."""
    written = merge_generated(None, template)
    assert merge_generated(written, template) == written
    assert is_fresh(written, template)


@given(templates(), templates())
def test_no_region_is_lost_between_any_two_templates(old, new):
    """Whatever the templates have in common: what was kept is kept, byte by byte, and the result is stable."""
    written = merge_generated(None, old)
    merged = merge_generated(written, new)
    pattern = re.compile(r"<!-- dodai:keep (\S+) -->\n([^\0]*?)^<!-- /dodai:keep -->", re.MULTILINE)
    kept = dict(pattern.findall(merged))
    for name, text in pattern.findall(written):
        assert not text.strip() or kept[name] == text
    assert merge_generated(merged, new) == merged
    assert generated_state(merged, new) == "fresh"


@given(templates(), st.data())
def test_every_edit_of_a_line_outside_of_the_regions_is_seen(template, data):
    """One visible character is enough."""
    lines = merge_generated(None, template).split("\n")
    depth, outside = 0, []
    for index, line in enumerate(lines[1:], 1):
        depth += line.startswith("<!-- dodai:keep")
        if not depth:
            outside.append(index)
        depth -= line.startswith("<!-- /dodai:keep")
    assume(outside)
    index = data.draw(st.sampled_from(outside))
    lines[index] += "x"
    assert generated_state("\n".join(lines), template) == "edited"


# --- user files ---


def test_a_region_is_added_at_the_end_of_a_file_that_has_none():
    """Everything before it is the user's."""
    assert merge_region("# Tech\n", "limits", "- one\n") == f"# Tech\n\n{owned('limits', '- one')}"
    assert merge_region("# Tech", "limits", "- one") == f"# Tech\n\n{owned('limits', '- one')}"
    assert merge_region("", "limits", "- one") == owned("limits", "- one\n")


def test_only_the_named_region_changes():
    """Other regions are somebody's too."""
    old = f"a\n{owned('x', 'old')}b\n{owned('y', 'stays')}"
    assert merge_region(old, "x", "new") == f"a\n{owned('x', 'new')}b\n{owned('y', 'stays')}"


def test_a_region_follows_the_line_ends_of_its_file():
    """A CRLF file stays one."""
    merged = merge_region("# Tech\r\n", "x", "a\nb")
    assert merged == "# Tech\r\n\r\n<!-- dodai:begin x -->\r\na\r\nb\r\n<!-- dodai:end x -->\r\n"
    assert region_state(merged, "x", "a\nb") == "fresh"


def test_a_marker_right_after_a_byte_order_mark_is_found():
    """Windows editors put one there."""
    old = "\ufeff" + owned("x", "old\n") + "tail"
    assert merge_region(old, "x", "new") == "\ufeff" + owned("x", "new\n") + "tail"


def test_the_state_of_a_region():
    """No file, no region, an old one, the right one."""
    assert region_state(None, "x", "a") == "missing"
    assert region_state("words\n", "x", "a") == "missing"
    assert region_state(owned("x", "b\n"), "x", "a") == "stale"
    assert region_state(owned("x", "a\n"), "x", "a") == "fresh"


@given(free_text, inside, free_text, names, free_text)
def test_every_byte_outside_of_a_region_survives(before, old, after, name, rendered):
    """CRLF, lone carriage returns, form feeds, no last newline: what is before and after stays as it is."""
    before = before if not before or before.endswith("\n") else before + "\n"
    merged = merge_region(before + owned(name, old) + after, name, rendered)
    assert merged.startswith(f"{before}<!-- dodai:begin {name} -->\n")
    assert merged.endswith(f"<!-- dodai:end {name} -->\n{after}")
    assert merge_region(merged, name, rendered) == merged
    assert region_state(merged, name, rendered) == "fresh"


@example("\r", "a", "x")
@given(free_text, names, free_text)
def test_adding_a_region_keeps_the_file_as_its_beginning(old, name, rendered):
    """And doing it twice adds it once."""
    merged = merge_region(old, name, rendered)
    assert merged.startswith(old)
    assert merge_region(merged, name, rendered) == merged


# --- malformed markers ---


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("<!-- dodai:keep a -->\nx\n", 1, "region `a` is never closed"),
        ("x\n<!-- /dodai:keep -->\n", 2, "closes a region that is not open"),
        (keep("a", "") + keep("a", ""), 3, "region `a` stands twice"),
        (keep("a", keep("b", "")), 2, "region `b` begins inside region `a` of line 1"),
        (keep("a", owned("b", "")), 2, "region `b` begins inside region `a` of line 1"),
        ("<!-- dodai:begin a -->\n<!-- dodai:end b -->\n", 2, "`b` is closed where `a` is open"),
        ("<!-- dodai:begin a -->\n<!-- /dodai:keep -->\n", 2, "closes a region that is not open"),
        ("<!-- dodai:keep -->\n", 1, "`<!-- dodai:keep -->` is not a marker"),
        ("\n  <!-- dodai:keep a -->\n", 2, "is not a marker"),
        ("<!-- dodai:keep a --> words\n", 1, "is not a marker"),
        ("<!--dodai:keep a-->\n", 1, "is not a marker"),
        ("<!-- DODAI:KEEP a -->\n", 1, "is not a marker"),
        ("<!-- dodai:keep a b -->\n", 1, "is not a marker"),
        ("<!-- dodai:keep a\n-->\n", 1, "is not a marker"),
        ("words\n" + merge_generated(None, "x\n"), 2, "is not a marker"),
    ],
)
def test_a_malformed_marker_is_refused_with_its_line(text, line, words):
    """Guessing what was meant could lose what is inside."""
    with pytest.raises(PageFileError) as caught:
        merge_region(text, "other", "x")
    assert (caught.value.line, words in caught.value.problem, bool(caught.value.fix)) == (line, True, True)


@pytest.mark.parametrize(
    "text", ["    <!-- dodai:keep a -->\n", "\t<!-- dodai:keep a -->\n", "say `<!-- dodai:keep a -->`\n"]
)
def test_a_marker_in_a_code_block_or_a_sentence_is_text(text):
    """Documents may explain the markers."""
    assert merge_region(text, "x", "y") == f"{text}\n{owned('x', 'y')}"


def test_a_text_with_markers_cannot_go_into_a_region():
    """It would be read as structure the next time."""
    with pytest.raises(PageFileError, match="line 2: the text for a region contains a marker"):
        merge_region("", "x", f"y\n{keep('a', '')}")


@pytest.mark.parametrize("name", ["", "a b", "-a", "a\n", "あ"])
def test_a_name_that_no_marker_could_carry_is_refused(name):
    """It could not be found again."""
    with pytest.raises(ValueError, match="cannot name a region"):
        merge_region("", name, "y")


# --- bytes ---


@given(st.text())
def test_text_and_bytes_are_the_same_document(text):
    """A byte order mark is part of it."""
    assume(not re.search(r"[\ud800-\udfff]", text))
    assert text_of(text.encode()).encode() == text.encode()


def test_bytes_that_are_not_utf8_are_refused_with_their_line():
    """Shift_JIS would otherwise be destroyed."""
    with pytest.raises(PageFileError, match="line 2: byte `0x93` is not UTF-8"):
        text_of("a\n日本".encode("shift_jis"))
