"""Interceptors for gRPC servers and clients, asyncio and threaded, unary and streaming.

`grpc.aio.server(interceptors=dodai.grpc.aio_server_interceptors())` and
`grpc.aio.insecure_channel(target, interceptors=dodai.grpc.aio_client_interceptors("backend"))` are all there is to it.
`watch_server(grpc.aio.server())` and `watch_channel(grpc.aio.insecure_channel(target), "backend")` do the same at less
cost.
"""

from __future__ import annotations

from typing import Any

from dodai.grpc import aio_client, client
from dodai.grpc.aio_channel import WatchedChannel
from dodai.grpc.aio_server import AioServerInterceptor, WatchedServer
from dodai.grpc.calling import CallTarget
from dodai.grpc.server import ServerInterceptor
from dodai.runtime import Runtime, RuntimeConfig

__all__ = [
    "aio_client_interceptors",
    "aio_server_interceptors",
    "client_interceptors",
    "server_interceptors",
    "watch_channel",
    "watch_server",
]


def aio_server_interceptors(*, config: RuntimeConfig | None = None) -> list[Any]:
    """What to give `grpc.aio.server(interceptors=…)`: context, proved user and one line per RPC."""
    return [AioServerInterceptor(Runtime.of(config))]


def aio_client_interceptors(
    dependency: str = "backend",
    *,
    audience: str = "",
    idempotent: tuple[str, ...] = (),
    config: RuntimeConfig | None = None,
) -> list[Any]:
    """What to give `grpc.aio.insecure_channel(interceptors=…)`.

    `dependency` is the `[dependency.NAME]` whose deadline, retry budget and breaker hold; `audience` the service the
    identity proof is made for, the dependency's name by default. `idempotent` are patterns of unary RPCs that may be
    tried again when they were not answered, such as `quiz.Quiz/Get*`.
    """
    return aio_client.interceptors(CallTarget(Runtime.of(config), dependency, audience or dependency, idempotent))


def watch_server(server: Any, *, config: RuntimeConfig | None = None) -> Any:
    """`server`, a `grpc.aio.Server`, with context, proved user and one line for every RPC of what is added to it.

    Add services to what comes back. An interceptor of the server's own stands in front: an RPC that it answers by
    itself has no line.
    """
    return WatchedServer(server, Runtime.of(config))


def watch_channel(
    channel: Any,
    dependency: str = "backend",
    *,
    audience: str = "",
    idempotent: tuple[str, ...] = (),
    config: RuntimeConfig | None = None,
) -> Any:
    """`channel`, a `grpc.aio.Channel`, whose calls are watched; arguments as for `aio_client_interceptors`."""
    return WatchedChannel(channel, CallTarget(Runtime.of(config), dependency, audience or dependency, idempotent))


def server_interceptors(*, config: RuntimeConfig | None = None) -> list[Any]:
    """What to give `grpc.server(interceptors=…)`."""
    return [ServerInterceptor(Runtime.of(config))]


def client_interceptors(
    dependency: str = "backend", *, audience: str = "", config: RuntimeConfig | None = None
) -> list[Any]:
    """What to give `grpc.intercept_channel(channel, *interceptors)`; arguments as for `aio_client_interceptors`.

    Without `idempotent`: a blocking call is never tried again.
    """
    return [client.ClientInterceptor(CallTarget(Runtime.of(config), dependency, audience or dependency))]
