"""Is the schema new enough for this release? The pure part of readiness; the facade for a driver asks the question."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.migrations.policy import TOOL_LEDGERS, MigrationsPolicy, missing_ids


@dataclass(frozen=True, slots=True)
class SchemaReadiness:
    """True when ready. `missing`: the required ids not known to be applied; `detail`: a line without any secret."""

    missing: tuple[str, ...] = ()
    detail: str = "ok"

    @property
    def ready(self) -> bool:
        return not self.missing

    def __bool__(self) -> bool:
        return self.ready


def required_of(text: str) -> frozenset[str]:
    """The ids in `DODAI_REQUIRED_SCHEMA`, separated by commas or white space; empty when nothing is required."""
    return frozenset(word for word in re.split(r"[,\s]+", text) if word)


def question(policy: MigrationsPolicy) -> str:
    """One SELECT without parameters whose rows are the applied ids (first column, text).

    For SQL files it is goose's rule: the newest row of a version decides. Other tools keep heads only
    (Alembic) or what a squash replaced (Django), so dodai's own log answers: it has every migration that it applied,
    and since the last `migrate up` those that the tool had applied by itself.
    """
    if policy.format not in TOOL_LEDGERS:
        schema, table = policy.ledger_parts
        name = _quoted(schema, table)
        return (
            "SELECT version_id::text FROM (SELECT DISTINCT ON (version_id) version_id, is_applied"  # noqa: S608 - quoted
            f" FROM {name} ORDER BY version_id, id DESC) AS newest WHERE is_applied"
        )
    return (
        "SELECT migration FROM (SELECT DISTINCT ON (migration) migration, event"  # noqa: S608 - quoted
        f" FROM {_quoted(policy.log_schema, 'migration_log')}"
        " WHERE event IN ('applied', 'adopted', 'recorded', 'reverted')"
        " ORDER BY migration, id DESC) AS newest WHERE event <> 'reverted'"
    )


def _quoted(*parts: str) -> str:
    return ".".join(f'"{part.replace(chr(34), chr(34) * 2)}"' for part in parts if part)


def answer(required: Iterable[str], rows: Iterable[Sequence[Any]]) -> SchemaReadiness:
    """Ready when every required id is among the rows of `question`; later ones do no harm (expand, contract)."""
    missing = missing_ids(required, (str(row[0]) for row in rows))
    if not missing:
        return SchemaReadiness()
    shown = ", ".join(f"`{id_}`" for id_ in missing[:3]) + (" …" if len(missing) > 3 else "")
    return SchemaReadiness(missing, f"DOD255 schema-not-ready: {len(missing)} migrations missing: {shown}")


def no_ledger(required: Iterable[str]) -> SchemaReadiness:
    """The answer when the ledger does not exist (SQLSTATE 42P01 or 3F000): nothing was ever applied."""
    return answer(required, ())


def unasked(required: Iterable[str], why: str) -> SchemaReadiness:
    """The answer when the database could not be asked: not ready, for what is not known is not taken for granted."""
    return SchemaReadiness(tuple(sorted(required)), f"DOD255 schema-not-ready: the database could not be asked ({why})")
