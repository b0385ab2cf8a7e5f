"""The manifest: one annotated reference is documentation, validation and defaults; every problem is told at once."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dodai
from dodai.core.manifest import ManifestProblems, assemble, read
from dodai.core.manifest.scan import find, scan
from dodai.csrf.policy import CsrfPolicy
from dodai.operations.policy import Health, OperationsPolicy
from dodai.runtime.manifest_location import parts
from dodai.wiring.registry import reference, reference_in_japanese

PROJECT = "[project]\nname = 'quiz'\n"
FRAGMENT = "# A table.\n[x]\n# A key.\n#: integer\nkey = 1\n"


@dataclass(frozen=True)
class Section:
    key: int = 3


def problems(text: str) -> list[tuple[str, int, str, str]]:
    with pytest.raises(ManifestProblems) as raised:
        read(text.encode(), reference())
    return [(f.code.id, f.place.line if f.place else 0, f.message, f.advice) for f in raised.value.findings]


def test_smallest_manifest_has_every_default_filled_in():
    """A name is enough; durations are seconds and sizes bytes."""
    manifest = read(PROJECT.encode(), reference())
    assert manifest.name == "quiz"
    assert manifest.data["edge"]["max_body"] == 10 * 1024 * 1024
    assert manifest.data["service"] == {}
    assert manifest.data["journey"] == ()


def test_unknown_key_names_line_and_nearest_key():
    """A misspelt key is an error that says which key was meant."""
    assert problems("[project]\nname = 'quiz'\n\n[service.web]\ncommand = ['x']\npubilc = true\n") == [
        ("DOD002", 6, "unknown key `pubilc` in [service.web]", "did you mean `public`?")
    ]


def test_several_problems_are_told_at_once_in_the_order_of_the_file():
    """Nobody fixes a manifest one run at a time."""
    found = problems("[project]\nname = 7\n[service.web]\nneeds = ['backend']\ncommand = 'serve'\n")
    assert [(code, line) for code, line, _, _ in found] == [("DOD003", 2), ("DOD005", 4), ("DOD003", 5)]


def test_missing_required_key_points_at_its_table_and_explains_the_key():
    """The fix shows the key, its type and what it is for."""
    ((code, line, message, fix),) = problems(PROJECT + "[service.web]\npublic = true\n")
    assert (code, line, message) == ("DOD004", 3, "[service.web] lacks `command`")
    assert fix.startswith("add `command = …`, a list of a string: The program")


def test_syntax_error_has_line_and_column_and_no_traceback():
    """TOML's own message is kept, its position becomes ours."""
    ((code, line, _, _),) = problems("[project]\nname = 'quiz'\n[oops\n")
    assert (code, line) == ("DOD001", 3)


def test_manifest_that_is_not_utf8_is_a_syntax_problem():
    """Bytes of another encoding are refused with the line they stand in."""
    with pytest.raises(ManifestProblems) as raised:
        read(b"[project]\nname = '\xff'\n", reference())
    assert raised.value.code.id == "DOD001"
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("drain = 10", "a duration"),
        ("drain = '10 parsecs'", "a duration"),
        ("protocol = 'smtp'", 'one of "http", "grpc"'),
        ("public = 'yes'", "true or false"),
        ("env = ['A=1']", "a table"),
        ("command = [1]", "a string"),
    ],
)
def test_value_of_the_wrong_form_says_what_was_expected(line, expected):
    """The offending value and the expected form stand in one sentence."""
    command = "" if line.startswith("command") else "command = ['x']\n"
    found = problems(f"{PROJECT}[service.web]\n{command}{line}\n")
    assert found[0][0] == "DOD003"
    assert expected in found[0][2]


def test_reference_of_every_fragment_is_documented_and_its_defaults_are_valid():
    """Each key has a sentence, and the JSON Schema knows it."""
    schema = reference().json_schema()
    keys = reference().keys()
    assert len(keys) > 50
    assert all(key.doc.endswith((".", "。", "?", ")")) for _, key in keys), [
        k for k, v in keys if not v.doc.endswith(".")
    ]
    assert schema["required"] == ["project"]
    assert schema["additionalProperties"] is False


def test_fragment_without_type_or_sentence_is_refused():
    """A key nobody explained cannot enter the reference."""
    with pytest.raises(ValueError, match="needs a sentence"):
        assemble({"x": "# A table.\n[x]\nkey = 1\n"}, {"x": Section})
    with pytest.raises(ValueError, match="is no kind of value"):
        assemble({"x": FRAGMENT.replace("integer", "colour")}, {"x": Section})


def test_every_example_and_default_of_the_reference_is_of_its_kind():
    """No command looks at this again: what it works with is the same."""
    looked_at = assemble(*parts())
    assert (looked_at.text, looked_at.json_schema()) == (reference().text, reference().json_schema())


def test_a_key_is_declared_once():
    """The fragment has words and an example, the field the default; a key with only one of them is refused."""
    made = assemble({"x": FRAGMENT}, {"x": Section})
    ((path, key),) = made.keys()
    assert (path, key.default, key.required) == ("x.key", 3, False)
    assert "#: integer; default 3\n" in made.text
    assert made.json_schema()["properties"]["x"]["properties"]["key"]["default"] == 3
    with pytest.raises(ValueError, match=r"no field declares `x\.other`"):
        assemble({"x": FRAGMENT.replace("key =", "other =")}, {"x": Section})
    with pytest.raises(ValueError, match=r"no `manifest\.toml` has lines for `x\.key`"):
        assemble({"x": "# A table.\n[x]\n"}, {"x": Section})
    with pytest.raises(ValueError, match="says what its field declares"):
        assemble({"x": FRAGMENT.replace("integer", "integer; default 4")}, {"x": Section})
    with pytest.raises(ValueError, match='one of "a", "b"'):
        assemble({"x": FRAGMENT.replace("integer", 'one of "a" "b"').replace("= 1", "= 'a'")}, {"x": Section})


def test_a_section_is_bound_by_names_units_and_nested_tables():
    """A duration becomes `_s`, a size `_bytes`; named tables know their name; what is absent has its default."""
    text = (
        PROJECT + "[env.production]\napproval_age = '2h'\n[service.web]\ncommand = ['x']\n[service.web.health]\n"
        "timeout = '5s'\n[csrf]\nheader = 'X-Token'\nsearch = '1KiB'\n[[csrf.limit]]\nroute = 'POST /a'\nsize = '1MiB'\n"
    )
    manifest = read(text.encode(), reference())
    policy = OperationsPolicy.from_manifest(manifest)
    assert policy.project == "quiz"
    production, web = policy.environments["production"], policy.services["web"]
    assert (production.name, production.approval_age_s, production.provider) == ("production", 7200.0, "local")
    assert (web.name, web.command, web.drain_s, web.health) == ("web", ("x",), 10.0, Health(timeout_s=5.0))
    csrf = CsrfPolicy.from_manifest(manifest.section("csrf") or {})
    assert csrf == CsrfPolicy(header="x-token", search_bytes=1024, limits={"POST /a": 1024**2})
    assert CsrfPolicy.from_manifest({}) == CsrfPolicy()


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused_with_a_coded_problem(text):
    """Garbage never raises anything but coded problems."""
    try:
        read(text.encode("utf-8", "surrogatepass"), reference())
    except ManifestProblems as error:
        assert all(finding.code.id.startswith("DOD00") for finding in error.findings)


def test_positions_survive_multi_line_values_strings_and_inline_tables():
    """The scanner is not fooled by brackets and headers inside values."""
    text = 'a = """\n[not.a.table]\nx = 1\n"""\nlist = [\n  "]",  # [no]\n  { b = 1 },\n]\n[t]\nk = 1\n[[r]]\nq = 1\n[[r]]\nq = 2\n'
    tomllib.loads(text)
    assert [(line.path, line.number) for line in scan(text)] == [
        (("a",), 1),
        (("list",), 5),
        (("t",), 9),
        (("t", "k"), 10),
        (("r", 0), 11),
        (("r", 0, "q"), 12),
        (("r", 1), 13),
        (("r", 1, "q"), 14),
    ]
    found = find(text, ("r", 1, "missing"))
    assert found is not None
    assert found.number == 13


def test_every_table_and_key_has_a_japanese_sentence():
    """With the types, defaults and examples of the English text, and no sentence left over."""
    package = Path(dodai.__file__).parent
    stored = [tomllib.loads(file.read_text("utf-8")) for file in package.glob("*/manifest.ja.toml")]
    known = {path.replace(".NAME.", "."): key for path, key in reference().keys()}  # noqa: SIM118 - a method of ours
    tables = {path.rpartition(".")[0] for path in known} - {""}
    assert {path for part in stored for path in part} == known.keys() | tables
    japanese, english = reference_in_japanese(), reference().text
    assert tomllib.loads(japanese) == tomllib.loads(english)

    def types(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith("#:")]

    assert types(japanese) == types(english)
    sentences = [line for line in japanese.splitlines() if line.startswith("# ")]
    assert [line for line in sentences if not re.search(r"[ぁ-んァ-ヶ一-龠]|^# ID$", line)] == []
