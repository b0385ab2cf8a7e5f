"""JSON lines over the unix socket: values to plain data and back, errors by their code."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from dodai.core.errors import Code, DodaiError
from dodai.providers.local.codes import CODES, HOST_GONE

LINE_BYTES = 4 * 1024 * 1024


def line(message: Mapping[str, Any]) -> bytes:
    """The bytes of `message`; in ASCII, because a path that is not UTF-8 could not be encoded otherwise."""
    return json.dumps(message, default=plain).encode("ascii") + b"\n"


def plain(value: Any) -> Any:
    """A dataclass as a dict; anything else is not for the wire."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return dict(value)


def read(kind: Any, data: Any) -> Any:
    """`data` as a value of type `kind`: dataclasses, tuples, mappings and unions of them."""
    origin = get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return kind(**{name: read(hints[name], value) for name, value in data.items() if name in hints})
    if origin is tuple:
        inner = get_args(kind)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(read(inner[0], item) for item in data)
        return tuple(read(one, item) for one, item in zip(inner, data, strict=True))
    if origin in (Union, types.UnionType):
        real = [one for one in get_args(kind) if one is not type(None)]
        return None if data is None else read(real[0], data)
    if origin is Literal or not isinstance(data, dict):
        return data
    return dict(data)


def error_data(error: DodaiError) -> dict[str, Any]:
    return {**error.as_json(), "exitCode": error.exit_code, "reply": error.reply}


def read_error(data: Mapping[str, Any]) -> DodaiError:
    return DodaiError(
        code_of(str(data.get("code", ""))),
        str(data.get("message", "")),
        str(data.get("fix", "")),
        data.get("fault", "provider"),
        int(data.get("exitCode", 3)),
        tuple(data.get("details", ())),
        data.get("data", {}),
        data.get("reply"),
    )


def code_of(code_id: str) -> Code:
    return next((code for code in CODES if code.id == code_id), HOST_GONE)
