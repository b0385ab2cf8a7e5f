"""Interceptors for gRPC servers and clients, asyncio and threaded, unary and streaming.

`grpc.aio.server(interceptors=dodai.grpc.aio_server_interceptors())` and
`grpc.aio.insecure_channel(target, interceptors=dodai.grpc.aio_client_interceptors("backend"))` are all there is to it.
"""

from __future__ import annotations

from typing import Any

from dodai.grpc import aio_client, client
from dodai.grpc.aio_server import AioServerInterceptor
from dodai.grpc.calling import CallTarget
from dodai.grpc.server import ServerInterceptor
from dodai.runtime import Runtime, RuntimeConfig

__all__ = ["aio_client_interceptors", "aio_server_interceptors", "client_interceptors", "server_interceptors"]


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
