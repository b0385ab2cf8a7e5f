"""What went over the wire between a driver and a stand-in, held against the specification that the vendor publishes.

The specifications are not ours to hand on. They are looked for in `DODAI_TEST_VENDOR_SPECS`, else beside the repository;
a test that needs them carries `@pytest.mark.optional_part("vendor-specs")`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from dodai.standins import Exchange

ROOT = Path(__file__).parents[2]


def specs() -> Path | None:
    """The folder of the specifications; None where there is none."""
    told = os.environ.get("DODAI_TEST_VENDOR_SPECS")
    folder = Path(told) if told else ROOT.parent / "shared" / "specs"
    return folder if (folder / "README.md").is_file() else None


@dataclass(frozen=True, slots=True)
class Allowed:
    """Something that vendors do and their specification does not say, with the reason that it is believed.

    `status` allows a reply of that status to any operation (or to `where`, the start of `METHOD /path`); `path` a path.
    `says` allows what the validator says, where the specification contradicts itself.
    """

    reason: str
    status: int = 0
    path: str = ""
    where: str = ""
    says: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many exchanges agree with the specification, which only with the list of what is allowed, which not."""

    official: int = 0
    allowed: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spec:
    """One specification file; `server` is the address that its paths are below."""

    file: str
    server: str
    allowed: tuple[Allowed, ...] = field(default=())

    def judge(self, exchanges: Iterable[Exchange]) -> Verdict:
        """Every request and every reply validated; a lost reply has only its request."""
        official = allowed = 0
        problems: list[str] = []
        for exchange in exchanges:
            said = list(self._problems(exchange))
            excused = [self._allows(exchange, kind) or self._excuses(text) for kind, text in said]
            if not said:
                official += 1
            elif all(excused):
                allowed += 1
            else:
                problems += [f"{exchange.method} {exchange.path} {exchange.status}: {text}" for _, text in said]
        return Verdict(official, allowed, tuple(problems))

    def _problems(self, exchange: Exchange) -> Iterable[tuple[str, str]]:
        from openapi_core.exceptions import OpenAPIError
        from openapi_core.templating.paths.exceptions import PathError
        from openapi_core.templating.responses.exceptions import ResponseNotFound

        api, request = _loaded(self.file), _Request(exchange, self.server)
        try:
            api.validate_request(request)
        except PathError:
            yield "path", "there is no such path"
            return
        except OpenAPIError as error:
            yield "request", _reason(error)
        if not exchange.status:
            return
        try:
            api.validate_response(request, _Response(exchange))
        except ResponseNotFound:
            yield "status", "this status is not declared"
        except OpenAPIError as error:
            yield "reply", _reason(error)

    def _excuses(self, text: str) -> bool:
        """Whether each thing that the validator says is allowed."""
        known = [each.says for each in self.allowed if each.says]
        return all(any(re.search(says, piece) for says in known) for piece in text.split("; "))

    def _allows(self, exchange: Exchange, kind: str) -> bool:
        here = f"{exchange.method} {exchange.path}"
        for each in self.allowed:
            if kind == "status" and each.status == exchange.status and here.startswith(each.where):
                return True
            if kind == "path" and each.path and exchange.path.startswith(each.path):
                return True
        # The body of an error whose status is declared nowhere cannot be judged either.
        return False


@cache
def _loaded(file: str) -> Any:
    from openapi_core import OpenAPI

    folder = specs()
    assert folder is not None, "ask for it with @pytest.mark.optional_part('vendor-specs')"
    described = json.loads((folder / file).read_text("utf-8"))
    for operations in described["paths"].values():
        for operation in operations.values():
            for reply in operation.get("responses", {}).values() if isinstance(operation, dict) else ():
                if reply.get("content") == {}:  # "no body" for a reader, "a body of no kind" for openapi-core
                    del reply["content"]
    return OpenAPI.from_dict(described)


def _reason(error: BaseException) -> str:
    """The innermost words: what is wrong with which field."""
    cause = error.__cause__ or error
    errors = getattr(cause, "schema_errors", None)
    if errors:
        return "; ".join(f"{'.'.join(map(str, each.absolute_path)) or '$'}: {each.message[:160]}" for each in errors)
    return f"{type(cause).__name__}: {cause}"[:300]


@dataclass(frozen=True)
class _Request:
    exchange: Exchange
    server: str

    @cached_property
    def parameters(self) -> Any:
        from urllib.parse import parse_qsl

        from openapi_core import datatypes
        from werkzeug.datastructures import Headers, ImmutableMultiDict

        return datatypes.RequestParameters(
            query=ImmutableMultiDict(parse_qsl(self.exchange.query, keep_blank_values=True)),
            header=Headers({**self.exchange.headers, "authorization": "Bearer shown"}),
            cookie=ImmutableMultiDict(),
        )

    @property
    def host_url(self) -> str:
        return self.server

    @property
    def path(self) -> str:
        return self.exchange.path

    @property
    def method(self) -> str:
        return self.exchange.method.lower()

    @property
    def body(self) -> bytes | None:
        return self.exchange.content or None

    @property
    def content_type(self) -> str:
        return self.exchange.headers.get("content-type", "application/json")


@dataclass(frozen=True)
class _Response:
    exchange: Exchange

    @property
    def status_code(self) -> int:
        return self.exchange.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self.exchange.reply_headers

    @property
    def data(self) -> bytes | None:
        return self.exchange.reply or None

    @property
    def content_type(self) -> str:
        return self.exchange.reply_headers.get("content-type", "application/json")
