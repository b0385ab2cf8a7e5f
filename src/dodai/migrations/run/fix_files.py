"""`--fix`: annotate the files that goose would cut in the middle."""

from __future__ import annotations

from dodai.migrations import codes
from dodai.migrations.goose_file import files_of, fixed_text
from dodai.migrations.ports import MigrationTarget


def fix(target: MigrationTarget) -> tuple[str, ...]:
    """The paths (relative to the root) of files that were rewritten; only annotation lines are added."""
    changed: list[str] = []
    wrong = {problem.path for problem in files_of(target).problems if problem.code is codes.SPLIT_DIFFERS}
    for path in sorted(wrong):
        file = target.root / path
        before = file.read_text()
        after = fixed_text(before)
        if after != before:
            file.write_text(after)
            changed.append(path)
    return tuple(changed)
