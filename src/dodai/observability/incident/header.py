"""The file of an incident: a TOML header between two lines `+++`, then Markdown for people."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime

from dodai.core.dataclass import dataclass

FENCE = "+++"
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9-]+")


@dataclass(frozen=True, slots=True)
class Header:
    """What programs read. `id` is the request or the alert it began from; the two answers are empty until given."""

    id: str
    env: str
    began: datetime
    detected_by: str
    metric_added: str

    @property
    def answered(self) -> bool:
        return bool(self.detected_by or self.metric_added)

    def as_json(self) -> dict[str, str | None]:
        return {
            "id": self.id,
            "environment": self.env,
            "began": self.began.isoformat(),
            "detectedBy": self.detected_by or None,
            "metricAdded": self.metric_added or None,
        }


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why the header of a file cannot be read; `line` is where."""

    problem: str
    line: int = 1

    def as_json(self) -> dict[str, str | None]:
        return {"problem": self.problem}


def parse(text: str) -> Header | Unreadable:
    """The header of a file of an incident."""
    lines = text.splitlines()
    if not lines or lines[0].strip() != FENCE:
        return Unreadable(f"the first line is not `{FENCE}`")
    end = next((at for at, line in enumerate(lines[1:], 1) if line.strip() == FENCE), None)
    if end is None:
        return Unreadable(f"the header has no second `{FENCE}`")
    try:
        table = tomllib.loads("\n".join(lines[1:end]))
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        return Unreadable(f"the header is not TOML: {error}", int(found[1]) + 1 if found else end + 1)
    unknown = sorted(table.keys() - {"id", "env", "began", "detected_by", "metric_added"})
    if unknown:
        return Unreadable(f"the header has a key `{unknown[0]}` that nothing reads")
    began = table.get("began")
    if not isinstance(began, datetime) or began.tzinfo is None:
        return Unreadable("`began` is not an instant such as 2026-11-29T10:00:00Z")
    words = [table.get(name, "") for name in ("id", "env", "detected_by", "metric_added")]
    if not all(isinstance(word, str) for word in words):
        return Unreadable("`id`, `env`, `detected_by` and `metric_added` are strings")
    id_, env, detected_by, metric_added = (str(word).strip() for word in words)
    return Header(id_, env, began.astimezone(UTC), detected_by, metric_added)


def file_name(id_: str, began_s: float) -> str:
    """The same for the same incident, and sorted by time: `2026-11-29-a1b2c3d4.md`."""
    day = datetime.fromtimestamp(began_s, UTC).date().isoformat()
    plain = _NOT_IN_A_NAME.sub("-", id_)
    return f"{day}-{plain if len(plain) < 24 else plain[-12:]}.md"
