"""Python modules read in one walk: the same hashes and words as the plain way of saying them."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodai.migrations.python_file import survey

MODULES = sorted(Path(json.__file__).parents[1].glob("[a-f]*.py"))[:30]
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
VALUES = st.one_of(
    TEXTS.map(repr),
    st.integers(0, 10**30).map(repr),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.binary(max_size=6).map(repr),
    st.sampled_from(
        ["None", "True", "...", "()", "[]", "{}", "name", "self.old.name", "{**kept}", "lambda a, *, b=None: a"]
    ),
)
CALLS = st.builds(
    lambda name, given, named: f"{name}({', '.join([*given, *(f'k{n}={v}' for n, v in enumerate(named))])})",
    st.sampled_from(["migrations.RunPython", "RunSQL", "op.add_column", "op.get_bind().execute"]),
    st.lists(VALUES, max_size=3),
    st.lists(VALUES, max_size=2),
)
STATEMENTS = st.one_of(
    st.builds("a: int = {}".format, VALUES),
    st.builds("def upgrade():\n    {}\n    pass".format, CALLS),
    st.builds("def downgrade():\n    return f'{{{}}} of'".format, st.sampled_from(["x!r:>5", "y", "z.w"])),
    st.builds("class Migration(migrations.Migration):\n    operations = [{}, {}]".format, CALLS, CALLS),
    st.builds("for each in {}:\n    print(each)\nelse:\n    del each".format, VALUES),
)


def plain(node: object) -> object:
    """The meaning of a tree as the log's hashes are defined over it."""
    if isinstance(node, ast.AST):
        fields = ((name, plain(value)) for name, value in ast.iter_fields(node) if name not in ("ctx", "kind"))
        return (type(node).__name__, *((name, value) for name, value in fields if value not in (None, ())))
    if isinstance(node, list):
        return tuple(plain(each) for each in node)
    return None if node is None else (type(node).__name__, repr(node))


def agree(source: str) -> None:
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    for apart in (None, *tree.body[:3]):
        found = survey(tree, apart)
        rest = ast.Module([node for node in tree.body if node is not apart], [])
        assert found.sha256 == hashlib.sha256(repr(plain(tree)).encode()).hexdigest()
        assert found.rest_sha256 == hashlib.sha256(repr(plain(rest)).encode()).hexdigest()
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert found.words == {word.lower() for text in texts for word in re.findall(r"[^\W\d]\w*", text)}
    assert found.attributes == {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    assert {*map(id, found.calls)} == {id(node) for node in nodes if isinstance(node, ast.Call)}


@given(st.lists(STATEMENTS, max_size=5))
def test_one_walk_finds_what_several_found(statements: list[str]) -> None:
    """Hashes, words, attributes and calls of modules in the shape of migrations."""
    agree("\n".join(statements))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_one_walk_of_a_module_of_the_standard_library(module: Path) -> None:
    """Programs that nobody wrote for this."""
    agree(module.read_text(encoding="utf-8"))


def test_the_hash_of_a_module_is_the_one_in_every_log() -> None:
    """Databases keep it: another one would make an edited file of each that was applied."""
    found = survey(ast.parse('revision = "a1"\ndef upgrade():\n    op.add_column("t", sa.Column("c", sa.Text))\n'))
    assert found.sha256 == "17b3d6aa4e2218aaf09504cbca587eb9f3ea0c7383626d9c35a79e68634d5c7e"
