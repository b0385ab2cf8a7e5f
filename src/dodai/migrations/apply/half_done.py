"""A file that stopped half-way: what is done of it must still say the same."""

from __future__ import annotations

import hashlib

from dodai.core.errors import DodaiError
from dodai.migrations import codes
from dodai.migrations.ledger import FileProgress
from dodai.migrations.migration import Migration, Statement


def statement_checksum(statement: Statement) -> str:
    text = " ".join(statement.sql.split())
    return hashlib.sha256((text if statement.data is None else f"{text}\0{statement.data}").encode()).hexdigest()


def refuse_edited(migration: Migration, statements: tuple[Statement, ...], before: FileProgress) -> None:
    """What is done must still say the same, or two versions of the file would be mixed (DOD261)."""
    begun = {**before.done, **{number: checksum for number, (checksum, _) in before.reached.items()}}
    for number, checksum in sorted(begun.items()):
        statement = statements[number - 1] if number <= len(statements) else None
        if statement is None or statement_checksum(statement) != checksum:
            code = codes.HALF_EDITED
            line = statement.line if statement else 0
            message = f"{migration.path}:{line}: statement {number} is done here, but the file now says something else"
            raise DodaiError(code, message, code.fix.en, exit_code=1)
