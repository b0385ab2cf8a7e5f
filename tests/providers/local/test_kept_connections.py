"""Which requests share a connection to the service, and what becomes of them when it ends one."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from tests.support.wait import until_async

from dodai.operations.ports import EdgeSpec
from dodai.providers.local.edge import kept_connections
from dodai.providers.local.edge.listener import EdgeServer

PAGE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Service:
    """Answers on a connection for as long as it is kept; `seen` are (number of the connection, method)."""

    def __init__(self):
        self.connections = self.ended = 0
        self.seen = []
        self.after = {}  # number of the request: what is done instead of, or behind, the answer

    async def serve(self, reader, writer):
        self.connections += 1
        mine = self.connections
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if b"content-length" in head.lower():
                    await reader.readexactly(2)
                self.seen.append((mine, head.split()[0].decode()))
                instead = self.after.get(len(self.seen), PAGE)
                writer.write(instead[:-2] if head.startswith(b"HEAD") else instead)
                if instead != PAGE or b"connection: close" in head.lower():
                    break
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.ended += 1
            writer.close()


@pytest.fixture
async def service():
    return Service()


@pytest.fixture
async def edge(service, tmp_path):
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    found = EdgeServer(tmp_path, "test")
    await found.listen()
    found.serve(EdgeSpec(routes=(("/", "web"),)), "key", {"web": server.sockets[0].getsockname()[1]})
    yield found
    await found.close(0)
    server.close()


async def ask(edge, *methods):
    async with httpx2.AsyncClient(timeout=10) as http:
        return [
            await http.request(method, edge.url + "/", content=b"ab" if method == "POST" else None)
            for method in methods
        ]


async def test_requests_without_effects_share_a_connection_and_one_with_effects_has_its_own(edge, service):
    """What could not be sent twice meets a service that is there now; and nothing is read into the next request."""
    answers = await ask(edge, "GET", "HEAD", "POST", "GET")
    assert [answer.status_code for answer in answers] == [200] * 4
    assert service.seen == [(1, "GET"), (1, "HEAD"), (2, "POST"), (1, "GET")]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 4


async def test_get_with_a_body_has_a_connection_of_its_own(edge, service):
    """Where its body ends is what servers disagree on."""
    await ask(edge, "GET")
    async with httpx2.AsyncClient(timeout=10) as http:
        await http.request("GET", edge.url + "/", content=b"ab")
    assert service.seen == [(1, "GET"), (2, "GET")]


async def test_connection_that_the_service_ends_unanswered_costs_no_visitor_anything(edge, service):
    """Servers end kept connections whenever they like: the request is sent again, once, on a new one."""
    service.after[2] = b""
    answers = await ask(edge, "GET", "GET")
    assert [answer.text for answer in answers] == ["ok", "ok"]
    assert service.seen == [(1, "GET"), (1, "GET"), (2, "GET")]


async def test_answer_that_breaks_off_is_not_asked_for_again(edge, service):
    """The service was at work on it: the visitor sees that it broke off."""
    service.after[2] = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart"
    await ask(edge, "GET")
    with pytest.raises(httpx2.TransportError):
        await ask(edge, "GET")
    assert len(service.seen) == 2


async def test_words_that_nobody_asked_for_are_nobodys_answer(edge, service):
    """Servers tell an idle connection 408 before they end it."""
    service.after[1] = PAGE + b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    answers = await ask(edge, "GET", "GET")
    assert [answer.status_code for answer in answers] == [200, 200]
    assert service.seen == [(1, "GET"), (2, "GET")]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nok",
    ],
    ids=["close", "1.0", "no length"],
)
async def test_connection_that_the_service_does_not_keep_is_not_used_again(edge, service, answer):
    """It says so, or the end of the answer is that of the connection."""
    service.after[1] = answer
    answers = await ask(edge, "GET", "GET")
    assert [answer.text for answer in answers] == ["ok", "ok"]
    assert service.seen == [(1, "GET"), (2, "GET")]


async def test_nothing_goes_where_traffic_went_before(edge, service):
    """Once traffic goes elsewhere all that wait end, and one in use ends with its request."""
    await ask(edge, "GET")
    edge.kept.forget()
    await until_async(lambda: service.ended)
    await ask(edge, "GET")
    assert service.seen == [(1, "GET"), (2, "GET")]
    (port,) = edge.kept._kept
    await until_async(lambda: edge.kept._kept[port])
    taken = edge.kept.take(port)
    since = edge.kept.round
    edge.kept.forget()
    edge.kept.keep(1, taken, since)
    assert taken.ended


async def test_connection_ends_by_itself_when_nobody_asks(edge, service, monkeypatch):
    """Before the service would end it."""
    monkeypatch.setattr(kept_connections, "IDLE_S", 0.05)
    await ask(edge, "GET")
    await until_async(lambda: service.ended)
    assert service.seen == [(1, "GET")]
