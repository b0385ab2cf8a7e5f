"""The asyncio client side without interceptors: a channel whose calls are watched where they are made.

`grpc.aio` runs an interceptor in a task of its own for each call, which costs more than all that it does here.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Self

from grpc import aio

from dodai.grpc.aio_client import as_aio, count_ended
from dodai.grpc.calling import Calling, CallRefusedError, CallTarget, status_of


class WatchedChannel:
    """A `grpc.aio.Channel` around another; whatever it does not watch is that one's own."""

    def __init__(self, channel: aio.Channel, target: CallTarget) -> None:
        self._channel = channel
        self._target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    async def __aenter__(self) -> Self:
        await self._channel.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._channel.__aexit__(*raised)

    def unary_unary(self, method: str, *arguments: Any, **named: Any) -> Any:
        inner, target = self._channel.unary_unary(method, *arguments, **named), self._target
        return lambda request, **options: WatchedCall(inner, _begin(target, method, options), request, options)

    def unary_stream(self, method: str, *arguments: Any, **named: Any) -> Any:
        return _streaming(self._channel.unary_stream(method, *arguments, **named), self._target, method)

    def stream_unary(self, method: str, *arguments: Any, **named: Any) -> Any:
        return _streaming(self._channel.stream_unary(method, *arguments, **named), self._target, method)

    def stream_stream(self, method: str, *arguments: Any, **named: Any) -> Any:
        return _streaming(self._channel.stream_stream(method, *arguments, **named), self._target, method)


class WatchedCall:
    """A unary call and, where it may be tried again, those after it. Everything else is asked of the call under way."""

    __slots__ = ("_call", "_calling", "_inner", "_options", "_request", "_told")

    def __init__(self, inner: Any, calling: Calling, request: Any, options: dict[str, Any]) -> None:
        self._inner = inner
        self._request = request
        self._options = options
        self._told = False
        self._calling = calling
        self._call = self._send()

    def __await__(self) -> Generator[Any, None, Any]:
        calling = self._calling
        while True:
            try:
                response = yield from self._call.__await__()
            except BaseException as error:
                status = status_of(error)
                calling.done(status, error)
                if self._told or not calling.target.may_retry(calling.method, status, calling.attempt):
                    raise
                try:
                    calling.again()
                except CallRefusedError as refused:
                    raise as_aio(refused) from error
                self._call = self._send()
                continue
            calling.done("OK")
            return response

    def __getattr__(self, name: str) -> Any:
        if name in WatchedCall.__slots__:
            raise AttributeError(name)  # one that could not be made has nothing to be asked of
        if not self._told:
            # Whoever asks may never wait for the response: it is counted when it is there.
            self._told = True
            calling = self._calling
            self._call.add_done_callback(lambda ended: count_ended(ended, calling))
        return getattr(self._call, name)

    def __del__(self) -> None:
        calling = getattr(self, "_calling", None)
        if calling is not None:
            calling.done("CANCELLED")  # which is what becomes of a call that nobody holds any more

    def _send(self) -> Any:
        return self._inner(self._request, **_options(self._calling, self._options))


class Pairs(aio.Metadata):  # type: ignore[misc]
    """Metadata that is ready to be sent; an `aio.Metadata` is taken apart and put together again for each call."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__()
        self._pairs = pairs

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)


def _streaming(inner: Any, target: CallTarget, method: str) -> Callable[..., Any]:
    def call(*request: Any, **options: Any) -> Any:
        calling = _begin(target, method, options)
        try:
            made = inner(*request, **_options(calling, options))
        except BaseException as error:
            calling.done(status_of(error), error)
            raise
        made.add_done_callback(lambda ended: count_ended(ended, calling))
        return made

    return call


def _begin(target: CallTarget, method: str, options: dict[str, Any]) -> Calling:
    try:
        return Calling(target, method, options.get("timeout"))
    except CallRefusedError as refused:
        raise as_aio(refused) from None


def _options(calling: Calling, options: dict[str, Any]) -> dict[str, Any]:
    """What the inner call is given: `options` with our timeout and metadata."""
    given: Iterable[tuple[str, Any]] | None = options.get("metadata")
    pairs = calling.metadata(given)
    plain = options.get("compression") is not None  # which adds a pair of its own
    return {**options, "timeout": calling.timeout_s, "metadata": tuple(pairs) if plain else Pairs(pairs)}
