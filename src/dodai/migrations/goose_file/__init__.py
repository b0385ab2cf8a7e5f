"""goose's SQL migration files, and plain ones: how they are named, split, parsed and found.

The rules are those of pressly/goose 3.29 (internal/sqlparser): annotations stand alone on their line, a statement ends
with the line whose last word before a comment ends in `;`, and everything between `StatementBegin` and `StatementEnd`
is one statement. Where a real SQL lexer would cut elsewhere, the file is refused, because the server would get half a
statement.
"""

from __future__ import annotations

from dodai.migrations.goose_file.folder import (
    files_of,
    history_of,
    nothing_found,
    read_files,
    read_folder,
    statements_of,
)
from dodai.migrations.goose_file.layouts import NESTED
from dodai.migrations.goose_file.parse import directives, parse, version_of
from dodai.migrations.goose_file.plain import parse_plain, parse_repeatable
from dodai.migrations.goose_file.split import ends_statement, fixed_text, split
from dodai.migrations.migration import FileError, FileProblem, MigrationFolder

__all__ = [
    "NESTED",
    "FileError",
    "FileProblem",
    "MigrationFolder",
    "directives",
    "ends_statement",
    "files_of",
    "fixed_text",
    "history_of",
    "nothing_found",
    "parse",
    "parse_plain",
    "parse_repeatable",
    "read_files",
    "read_folder",
    "split",
    "statements_of",
    "version_of",
]
