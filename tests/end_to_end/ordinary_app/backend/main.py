"""Stands for a backend in Go: gRPC without a health service, the address and the DSN under its own names."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import grpc
import psycopg
from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import Int64Value


def count(connection):
    return Int64Value(value=connection.execute("SELECT count(*) FROM orders").fetchone()[0])


def place(_request, _context):
    with psycopg.connect(os.environ["DB_DSN"]) as connection:
        connection.execute("INSERT INTO orders DEFAULT VALUES")
        return count(connection)


def counted(_request, _context):
    with psycopg.connect(os.environ["DB_DSN"]) as connection:
        return count(connection)


def method(answer):
    return grpc.unary_unary_rpc_method_handler(answer, Empty.FromString, Int64Value.SerializeToString)


server = grpc.server(ThreadPoolExecutor(4))
methods = {"Place": method(place), "Count": method(counted)}
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Orders", methods),))
server.add_insecure_port(os.environ["GRPC_LISTEN_ADDRESS"])
server.start()
server.wait_for_termination()
