"""A small gRPC service for the tests of the host: health, its release in the trailing metadata, a graceful end."""

from __future__ import annotations

import asyncio
import os
import signal

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

RELEASE = os.environ["DODAI_RELEASE"]


class SaysRelease(grpc.aio.ServerInterceptor):
    async def intercept_service(self, continuation, details):
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        served = handler.unary_unary

        async def with_release(request, context):
            context.set_trailing_metadata((("x-release", RELEASE),))
            answer = served(request, context)
            return await answer if asyncio.iscoroutine(answer) else answer

        return grpc.unary_unary_rpc_method_handler(
            with_release,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


async def echo(request, _):
    await asyncio.sleep(0.02)
    return request + RELEASE.encode()


async def main():
    server = grpc.aio.server(interceptors=[SaysRelease()])
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    server.add_insecure_port(f"127.0.0.1:{os.environ['PORT']}")
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await server.start()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    await servicer.set("test.Sad", health_pb2.HealthCheckResponse.NOT_SERVING)
    await ended.wait()
    await server.stop(5)


asyncio.run(main())
