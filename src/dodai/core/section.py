"""A section of the manifest as a dataclass: each key is one field, which declares its type, its unit and its default.

The annotated reference (`manifest.toml` beside each policy) holds the words and an example of each key and nothing that
stands here; `core.manifest.reference` puts the two together and refuses a key that has only one of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, field, fields, replace
from typing import Any, Literal, TypeVar

from dodai.core.dataclass import dataclass

UNITS_S: Mapping[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
UNITS_BYTES: Mapping[str, int] = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
Shape = Literal["plain", "named", "repeated"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Written:
    """How a field stands in the manifest: as `name`, its default as `text`; as a table of `section`, or not at all."""

    name: str = ""
    unit: str = ""
    text: str = ""
    read: Callable[[Any], Any] | None = None
    section: type | None = None
    shape: Shape = "plain"
    absent: bool = False


def measure(text: str, units: Mapping[str, float]) -> float:
    """`text` ("250ms", "8MiB") in the unit whose factor is 1; raises `ValueError` for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", text)
    if not match or match[2] not in units:
        raise ValueError(text)
    return float(match[1]) * units[match[2]]


def seconds(text: str = "", *, name: str = "") -> Any:
    """A field in seconds, written as a duration; required without `text`. `max_age_s` is written `max_age`."""
    default = measure(text, UNITS_S) if text else MISSING
    return field(default=default, metadata=_metadata(Written(name, "_s", text)))


def size(text: str = "", *, name: str = "") -> Any:
    """A field in bytes, written as a size; required without `text`. `body_limit_bytes` is written `body_limit`."""
    default = int(measure(text, UNITS_BYTES)) if text else MISSING
    return field(default=default, metadata=_metadata(Written(name, "_bytes", text)))


def key(default: Any = MISSING, *, name: str = "", read: Callable[[Any], Any] | None = None) -> Any:
    """A field that is written under another `name`, or that `read` makes of what is written."""
    made = {"default_factory": default} if callable(default) else {"default": default}
    return field(**made, metadata=_metadata(Written(name, read=read)))


def table(section: type, *, name: str = "") -> Any:
    """A field that is a table of its own: `[service.web.health]`."""
    return field(default_factory=section, metadata=_metadata(Written(name, section=section)))


def tables(section: type, *, name: str = "") -> Any:
    """A mapping of tables with names of their own: `[env.production]`."""
    return field(default_factory=dict, metadata=_metadata(Written(name, section=section, shape="named")))


def rows(section: type, *, name: str = "", read: Callable[[Any], Any] | None = None) -> Any:
    """A tuple of `[[name]]` tables; `read` makes something else of it."""
    how = Written(name, section=section, shape="repeated", read=read)
    return field(default_factory=tuple if read is None else lambda: read(()), metadata=_metadata(how))


def unwritten(default: Any = MISSING) -> Any:
    """A field that the manifest does not hold as a key, such as the name of a named table."""
    return field(default=default, metadata=_metadata(Written(absent=True)))


def written(section: type) -> Iterator[tuple[Field[Any], Written]]:
    """Each field that the manifest holds, with the name it has there."""
    for each in fields(section):
        how: Written = each.metadata.get("written") or Written()
        if not how.absent:
            yield each, replace(how, name=how.name or each.name.removesuffix(how.unit))


def bind(section: type[T], row: Mapping[str, Any], **others: Any) -> T:
    """The `section` in a validated table; absent keys have their defaults, `others` are no keys."""
    values = {each.name: _value(how, row[how.name]) for each, how in written(section) if row.get(how.name) is not None}
    return section(**values, **others)


def _value(how: Written, value: Any) -> Any:
    if how.section is None:
        bound = tuple(value) if isinstance(value, list) else value
    elif how.shape == "named":
        bound = {name: bind(how.section, row, **_named(how.section, name)) for name, row in value.items()}
    elif how.shape == "repeated":
        bound = tuple(bind(how.section, row) for row in value)
    else:
        bound = bind(how.section, value)
    return how.read(bound) if how.read else bound


def _named(section: type, name: str) -> dict[str, str]:
    keys = {each.name for each, _ in written(section)}
    return {each.name: name for each in fields(section) if each.name == "name" and "name" not in keys}


def _metadata(how: Written) -> dict[str, Written]:
    return {"written": how}
