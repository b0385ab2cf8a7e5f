"""Where sources read environment variables: one reader per language, all of them pure functions over texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath

from dodai.operations.check.variable_reads.declared_in_files import given_in, is_configuration
from dodai.operations.check.variable_reads.ecmascript import script_reads
from dodai.operations.check.variable_reads.go import go_reads
from dodai.operations.check.variable_reads.python import python_reads
from dodai.operations.check.variable_reads.use import GivenValue, Read

__all__ = ["LANGUAGES", "GivenValue", "Read", "given_in", "is_configuration", "language_of", "reads_of"]

Reader = Callable[[Mapping[str, str]], Iterable[Read]]
LANGUAGES: Mapping[str, tuple[tuple[str, ...], Reader]] = {
    "Python": ((".py",), python_reads),
    "JavaScript": ((".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".mts", ".cts"), script_reads),
    "Go": ((".go",), go_reads),
}


def language_of(path: str) -> str:
    """The language of a source of the application; empty for tests, generated code and everything else."""
    name, folders = PurePosixPath(path).name, PurePosixPath(path).parts[:-1]
    if _SKIPPED.intersection(folders) or _is_test(name) or name.endswith((".d.ts", "_pb2.py", "_pb2_grpc.py")):
        return ""
    return next((one for one, (suffixes, _) in LANGUAGES.items() if name.endswith(suffixes)), "")


def reads_of(files: Mapping[str, str]) -> tuple[Read, ...]:
    """Every read in `files` (text by path), of each language, in the order of path and line."""
    found: list[Read] = []
    for language, (_, reader) in LANGUAGES.items():
        found += reader({path: text for path, text in files.items() if language_of(path) == language})
    return tuple(sorted(set(found)))


_SKIPPED = frozenset(
    {"node_modules", "site-packages", "venv", ".venv", "dist", "build", "vendor", "__pycache__"}
    | {"tests", "test", "__tests__", "e2e", "testdata", "fixtures"}
)


def _is_test(name: str) -> bool:
    stem = name.partition(".")[0]
    marked = any(part in name for part in (".test.", ".spec.", ".stories."))
    return marked or stem.startswith("test_") or stem.endswith("_test") or name == "conftest.py"
