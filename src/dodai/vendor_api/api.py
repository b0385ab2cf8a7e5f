"""Client of a vendor's HTTP API: one token, bounded retries, shared rate limits, replies held against a contract.

It has no SDK below it and no vendor in it: a driver declares its `Vendor` and one `Operation` per endpoint.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field
from functools import cache, partial
from typing import Any, Generic, Literal, TypeVar, cast
from urllib.parse import quote, urlsplit

import httpx2

from dodai.core.dataclass import dataclass
from dodai.core.errors import Code, DodaiError, Reply
from dodai.vendor_api import codes
from dodai.vendor_api.contract import OffContractError, Reader
from dodai.vendor_api.rate import Limiter, Rate

T = TypeVar("T")
Source = Literal["official", "transcribed", "allow-listed"]
"""Where an endpoint is described: in the vendor's published specification, in a copy that was made by hand from the
vendor's pages, or only in a list of ours with a reason."""
ATTEMPT_S, SPREAD, LOOK_S = 10.0, 0.25, 0.5
_REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A credential and the environment variable it came from; its value is in no repr, message or journal.

    `scheme` is the word before it in `Authorization` where that is not the vendor's usual one. Without a value no such
    header is sent: for what a vendor shows to everybody.
    """

    variable: str
    value: str = field(repr=False)
    scheme: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """What is the same for all calls to a vendor.

    `throttled` are the statuses that say that nothing was done and that the request may be sent again. `rates` are by
    action, `""` is any other. `lag_s`: so long a read may still show what was before a change.
    """

    name: str
    scheme: str = "Bearer"
    throttled: frozenset[int] = frozenset({423, 429})
    rates: Mapping[str, Rate] = field(default_factory=dict)
    lag_s: float = 2.0
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[T]):
    """One endpoint. `limited_by` are the path parameters that have a rate of their own.

    `repeatable`: sending it twice does no harm (by default what HTTP says of the method). `confidential`: what the
    vendor answers to a bad request may hold what was sent, so it is not shown.
    """

    name: str
    method: str
    path: str
    reply: Reader[T]
    source: Source = "official"
    limited_by: tuple[str, ...] = ()
    repeatable: bool | None = None
    confidential: bool = False
    ok: tuple[int, ...] = (200, 201, 202, 204)

    @property
    def is_repeatable(self) -> bool:
        return self.method in _REPEATABLE if self.repeatable is None else self.repeatable


@dataclass(frozen=True, slots=True)
class VendorAnswer(Generic[T]):
    """What came back. `status` 0: the reply was lost, `value` is what a look found afterwards."""

    value: T
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class VendorError(DodaiError):
    """A call that did not succeed; `status` is the HTTP status, 0 when none came, `body` what came with it."""

    status: int = 0
    body: Any = field(default=None, repr=False)


@dataclass(eq=False)
class Api:
    """The API of one vendor under one token, safe to share between threads; get it with `api_of`."""

    vendor: Vendor
    base_url: str
    token: ApiToken
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    pause: Callable[[threading.Event, float], object] = field(default=threading.Event.wait, repr=False)
    calls: Counter[tuple[Source, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        refuse_plain(self.vendor.name, self.base_url)
        self._limiter = Limiter(self.clock)
        self._client = httpx2.Client(trust_env=False, follow_redirects=False)
        self._threads = ThreadPoolExecutor(16, thread_name_prefix=f"{self.vendor.name}-api")
        self._counting = threading.Lock()

    def close(self) -> None:
        """End its connections; the one of `api_of` lives as long as the process."""
        self._client.close()
        self._threads.shutdown(wait=False)

    async def call(self, operation: Operation[T], **options: Any) -> VendorAnswer[T]:
        """As `call_now`, without blocking; a cancelled call sends nothing more."""
        stop = threading.Event()
        sent = partial(self.call_now, operation, **options, stop=stop)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, sent)
        finally:
            stop.set()

    def call_now(
        self,
        operation: Operation[T],
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        deadline_s: float = 30.0,
        effect: Callable[[], T | None] | None = None,
        stop: threading.Event | None = None,
    ) -> VendorAnswer[T]:
        """The answer to `operation`, all tries together within `deadline_s`.

        Sent again: what was throttled (after `Retry-After`), what never arrived, and, where it is repeatable, what got
        no clear answer. Otherwise `effect` looks whether it happened: its value is the answer, None for "not to be
        seen", which has to hold for the vendor's lag before the request is sent again. Without `effect` the caller
        gets the unclear answer (DOD706). Raises `VendorError` with DOD701-DOD707.
        """
        sending = _Sending(self, operation, path or {}, query, body, headers or {}, stop or threading.Event())
        end = self.clock() + deadline_s
        for attempt in range(1_000_000):
            try:
                return sending.once(end)
            except VendorError as error:
                if error.reply == "rejected":
                    raise
                if error.reply == "ambiguous" and not operation.is_repeatable:
                    if effect is None or error.code is codes.OFF_CONTRACT:
                        raise
                    if (seen := self._look(effect, end, sending.stop)) is not None:
                        return VendorAnswer(seen)
                wait = error.data.get("retry_after_s", min(5.0, 0.2 * 2**attempt) * _spread())
                if self.clock() + wait >= end or sending.stop.is_set():
                    raise
                self.pause(sending.stop, wait)
        raise AssertionError("unreachable")

    def _look(self, effect: Callable[[], T | None], end: float, stop: threading.Event) -> T | None:
        """What `effect` finds, asked until the vendor's lag is over."""
        until = min(self.clock() + self.vendor.lag_s, end)
        while (seen := effect()) is None and self.clock() < until and not stop.is_set():
            self.pause(stop, LOOK_S)
        return seen

    def count(self, operation: Operation[Any]) -> None:
        with self._counting:
            self.calls[operation.source, operation.name] += 1

    def take_place(self, operation: Operation[Any], path: Mapping[str, str], end: float, stop: threading.Event) -> str:
        """Wait for the shared rate limit; the key of the queue. DOD704 when the deadline comes first."""
        key, rate = self._queue(operation, path)
        if rate is None:
            return key
        wait = self._limiter.reserve(key, rate, end - self.clock())
        if wait is None:
            said = (
                f"{self.vendor.name} takes `{operation.name}` {rate.per_s:g} times a second, too slow for the deadline"
            )
            raise self.error(codes.THROTTLED, said, "throttled", retry_after_s=1 / rate.per_s)
        if wait:
            self.pause(stop, wait)
        return key

    def hold(self, operation: Operation[Any], path: Mapping[str, str], for_s: float) -> None:
        """All callers of this queue wait: the vendor said how long."""
        key, rate = self._queue(operation, path)
        self._limiter.hold(key, rate or Rate(1_000), for_s)

    def _queue(self, operation: Operation[Any], path: Mapping[str, str]) -> tuple[str, Rate | None]:
        rate = self.vendor.rates.get(operation.name) or self.vendor.rates.get("")
        return "/".join((operation.name, *(path[name] for name in operation.limited_by))), rate

    def error(self, code: Code, said: str, reply: Reply, status: int = 0, body: Any = None, **data: Any) -> VendorError:
        """A coded error about this vendor; what is wrong with a token is the user's to mend."""
        fault: Literal["user", "provider"] = "user" if code in codes.OF_THE_USER else "provider"
        fix = code.fix.en.replace("TOKEN", f"`{self.token.variable}`")
        return VendorError(code, said, fix, fault, data=data, reply=reply, status=status, body=body)

    def attempt(self, method: str, url: str, *, left_s: float, headers: Mapping[str, str], **rest: Any) -> Any:
        word, value = self.token.scheme or self.vendor.scheme, self.token.value
        own = {**({"authorization": f"{word} {value}"} if value else {}), **self.vendor.headers}
        timeout = httpx2.Timeout(max(0.05, min(ATTEMPT_S, left_s)))
        return self._client.request(method, self.base_url + url, headers={**own, **headers}, timeout=timeout, **rest)


@cache
def api_of(make: Callable[[], Vendor], base_url: str, token: ApiToken) -> Api:
    """The one client of this process for a vendor, an address and a token: rates and counts are of all callers."""
    return Api(make(), base_url.rstrip("/"), token)


def refuse_plain(vendor: str, base_url: str) -> None:
    """DOD709 (exit 2) for an address that a token would reach in clear text; loopback is meant for stand-ins."""
    parts = urlsplit(base_url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return
    said = f"the address of {vendor}, `{base_url}`, is neither https nor on this machine"
    raise DodaiError(codes.PLAIN_ADDRESS, said, codes.PLAIN_ADDRESS.fix.en, exit_code=2)


def token_from(variables: Mapping[str, str], variable: str, vendor: str) -> ApiToken:
    """The token in an environment variable; DOD700 (exit 2) when it is not set."""
    if value := variables.get(variable, "").strip():
        return ApiToken(variable, value)
    said = f"`{variable}` is not set, and {vendor} answers nobody without a token"
    raise DodaiError(codes.NO_TOKEN, said, codes.NO_TOKEN.fix.en.replace("TOKEN", f"`{variable}`"), exit_code=2)


@dataclass(frozen=True, slots=True)
class _Sending(Generic[T]):
    """One request, sent as often as it takes."""

    api: Api
    operation: Operation[T]
    path: Mapping[str, str]
    query: Mapping[str, str | int] | None
    body: Any
    headers: Mapping[str, str]
    stop: threading.Event

    @property
    def _named(self) -> str:
        return f"`{self.operation.method} {self._url}`"

    @property
    def _url(self) -> str:
        return self.operation.path.format(**{name: quote(value, safe="") for name, value in self.path.items()})

    def once(self, end: float) -> VendorAnswer[T]:
        """Send it now, when the limiter lets it; `VendorError` says what became of it."""
        api, vendor = self.api, self.api.vendor.name
        api.take_place(self.operation, self.path, end, self.stop)
        if self.stop.is_set():
            raise api.error(codes.UNAVAILABLE, f"{self._named} was not sent: the caller gave up", "unavailable")
        api.count(self.operation)
        told = {} if self.body is None else {"content": json.dumps(self.body).encode()}
        typed = {} if self.body is None else {"content-type": "application/json"}
        try:
            response = api.attempt(
                self.operation.method,
                self._url,
                left_s=end - api.clock(),
                headers={**typed, **self.headers},
                params=self.query,
                **told,
            )
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            said = f"{vendor} cannot be reached at `{api.base_url}`: {type(error).__name__}"
            raise api.error(codes.UNAVAILABLE, said, "unavailable") from None
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            said = f"{vendor} gave no answer to {self._named} ({type(error).__name__}): it may have been carried out"
            raise api.error(codes.UNCLEAR, said, "ambiguous") from None
        return self._judged(response)

    def _judged(self, response: httpx2.Response) -> VendorAnswer[T]:
        if response.status_code not in self.operation.ok:
            raise self._refused(response)
        try:
            value = self.operation.reply(json.loads(response.content) if response.content.strip() else None)
        except ValueError as error:
            why = str(error) if isinstance(error, OffContractError) else "it is not JSON"
            reply: Reply = "rejected" if self.operation.method == "GET" else "ambiguous"
            said = f"the reply of {self.api.vendor.name} to {self._named} is not as its specification says: {why}"
            raise self.api.error(codes.OFF_CONTRACT, said, reply, response.status_code) from None
        headers = {name.lower(): text for name, text in response.headers.items()}
        return VendorAnswer(value, response.status_code, headers)

    def _refused(self, response: httpx2.Response) -> VendorError:
        status, vendor = response.status_code, self.api.vendor.name
        said = f"{vendor} answered {status} to {self._named}{self._reason(response)}"
        error = partial(self.api.error, status=status, body=_parsed(response))
        if status == 401:
            return error(codes.TOKEN_REFUSED, f"{vendor} does not accept `{self.api.token.variable}`", "rejected")
        if status == 403:
            return error(codes.TOKEN_LACKS, said, "rejected")
        wait = _retry_after_s(response.headers.get("retry-after", ""))
        later: dict[str, Any] = {} if wait is None else {"retry_after_s": wait}
        if status in self.api.vendor.throttled:
            if wait is not None:
                self.api.hold(self.operation, self.path, wait)
            return error(codes.THROTTLED, said, "throttled", **later)
        if status == 408 or (status >= 500 and status != 501):
            if self.operation.is_repeatable:
                return error(codes.UNAVAILABLE, said, "unavailable", **later)
            return error(codes.UNCLEAR, f"{said}: it may have been carried out", "ambiguous", **later)
        return error(codes.REFUSED, said, "rejected")

    def _reason(self, response: httpx2.Response) -> str:
        """What the vendor says about it, in one line."""
        if self.operation.confidential:
            return ""
        text = _text_of(_parsed(response))
        if value := self.api.token.value:
            text = text.replace(value, "…")
        text = " ".join(text.split())
        return f": {text[:300]}" if text else ""


def _parsed(response: httpx2.Response) -> Any:
    try:
        return json.loads(response.content)
    except ValueError:
        return None


def _text_of(body: object) -> str:
    """The reason in the usual places: `error`, `message`, `detail`, `errors[].message`."""
    if not isinstance(body, Mapping):
        return ""
    found = next((body[name] for name in ("error", "message", "detail") if isinstance(body.get(name), str)), "")
    errors = body.get("errors")
    if not found and isinstance(errors, list):
        found = "; ".join(str(each.get("message", "")) for each in errors if isinstance(each, Mapping))
    return cast("str", found)


def _retry_after_s(text: str) -> float | None:
    """Seconds of a `Retry-After`, which is a number or a date (RFC 9110 section 10.2.3)."""
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _spread() -> float:
    """Callers that failed together do not come back together."""
    return 1 + random.uniform(-SPREAD, SPREAD)  # noqa: S311 - not for secrets
