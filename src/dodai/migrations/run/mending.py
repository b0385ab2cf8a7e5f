"""`--fix`: annotate the files that goose would cut in the middle."""

from __future__ import annotations

from dodai.migrations import codes
from dodai.migrations.goose_file import files_of, mended
from dodai.migrations.ports import Target


def mend(target: Target) -> tuple[str, ...]:
    """The paths (relative to the root) of files that were rewritten; only annotation lines are added."""
    changed: list[str] = []
    wrong = {problem.path for problem in files_of(target).problems if problem.code is codes.SPLIT_DIFFERS}
    for path in sorted(wrong):
        file = target.root / path
        before = file.read_text()
        after = mended(before)
        if after != before:
            file.write_text(after)
            changed.append(path)
    return tuple(changed)
