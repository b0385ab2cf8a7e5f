"""goose's own parser cases, read from the Go module cache while the test runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dodai.migrations.goose_file import FileError, ends_statement, split

ENVIRONMENT = {"GOOSE_ENV_REGION": "us_east_", "GOOSE_ENV_SET_BUT_EMPTY_VALUE": "", "GOOSE_ENV_NAME": "foo"}


def case_folders(source: Path) -> list[Path]:
    data = source / "internal" / "sqlparser" / "testdata"
    return sorted(path.parent for path in data.glob("*/*/input.sql"))


def test_every_golden_folder_splits_as_goose_splits_it(goose_source: Path):
    """Input and expected statements of goose's test data, both directions, variables included."""
    checked = 0
    for folder in case_folders(goose_source):
        text = (folder / "input.sql").read_text()
        for direction in ("up", "down"):
            golden = [path.read_text() for path in sorted(folder.glob(f"*.{direction}.golden.sql"))]
            if direction == "up" or golden:
                found = split(text, direction, environment=ENVIRONMENT).statements  # type: ignore[arg-type]
                assert [s.sql for s in found] == golden, folder.name
                checked += len(golden)
    assert checked >= 30


def test_every_invalid_file_is_refused(goose_source: Path):
    """goose's invalid inputs are invalid here."""
    files = sorted((goose_source / "internal" / "sqlparser" / "testdata" / "invalid" / "up").glob("*.sql"))
    assert files
    for path in files:
        with pytest.raises(FileError):
            split(path.read_text(), "up")


def test_counts_and_errors_of_the_inline_cases_are_the_same(goose_source: Path):
    """The tables in parser_test.go: statement counts, parsing errors, annotations, line ends."""
    source = (goose_source / "internal" / "sqlparser" / "parser_test.go").read_text()
    texts = dict(re.findall(r"^var (\w+) = `(.*?)`", source, re.MULTILINE | re.DOTALL))
    counts = re.findall(r"\{sql: (\w+), up: (\d+), down: (\d+)\}", source)
    assert len(counts) >= 8
    for name, up, down in counts:
        found = [len(split(texts[name], direction).statements) for direction in ("up", "down")]  # type: ignore[arg-type]
        assert found == [int(up), int(down)], name
    errors = re.search(r"func TestParsingErrors.*?\[\]string\{(.*?)\}", source, re.DOTALL)
    assert errors is not None
    for name in re.findall(r"\w+", errors[1]):
        with pytest.raises(FileError):
            split(texts[name], "up")
    for line, ends in re.findall(r'\{line: "((?:[^"\\]|\\.)*)", result: (true|false)\}', source):
        assert ends_statement(line.replace('\\"', '"')) is (ends == "true"), line


def test_transaction_flags_are_the_same(goose_source: Path):
    """goose's table of files and whether they use a transaction."""
    source = goose_source / "internal" / "sqlparser" / "parser_test.go"
    rows = re.findall(r'\{fileName: "([^"]+)", useTransactions: (true|false)\}', source.read_text())
    assert len(rows) == 3
    for name, flag in rows:
        assert split((source.parent / name).read_text(), "up").transactional is (flag == "true")
