"""Drives ASGI applications by hand: exact headers, exact chunks, and a count of the bytes that were read."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from dodai.csrf.enforce import csrf_token, protect
from dodai.csrf.policy import CsrfPolicy

APP = "https://app.example.com"
EVIL = "https://evil.example"
NOW = 1_795_000_000
FORM = "application/x-www-form-urlencoded"


def key(name: str) -> str:
    """A key ring entry; the same name is the same key."""
    return f"{name}:" + base64.urlsafe_b64encode(hashlib.sha256(name.encode()).digest()).decode().rstrip("=")


KEYS = key("k001")


@dataclass
class Clock:
    now_s: float = NOW

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Answer:
    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    bytes_read: int = 0
    closed: bool = False

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key == name]
        return found[0] if found else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def cookie(self) -> str:
        """`name=value` of the CSRF cookie that the response sets; empty when it sets none."""
        found = [value for key, value in self.headers if key == "set-cookie" and "dodai-csrf" in value]
        return found[-1].partition(";")[0] if found else ""


@dataclass
class Handler:
    """An application that answers GET with a token and counts what else reaches it."""

    calls: list[tuple[str, str, bytes]] = field(default_factory=list)
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def __call__(self, scope, receive, send):
        if scope["type"] == "websocket":
            self.calls.append(("WEBSOCKET", scope["path"], b""))
            await send({"type": "websocket.accept"})
            return
        body = b""
        if scope["method"] not in ("GET", "HEAD"):
            more = True
            while more:
                message = await receive()
                assert message["type"] == "http.request", message
                body += message.get("body", b"")
                more = message.get("more_body", False)
            self.calls.append((scope["method"], scope["path"], body))
        text = csrf_token() if scope["path"] == "/form" else "ok"
        await send({"type": "http.response.start", "status": 200, "headers": list(self.headers)})
        await send({"type": "http.response.body", "body": text.encode()})


def guarded(app: Any = None, *, keys: str = KEYS, origins: Iterable[str] = (APP,), clock=None, subject=None, **policy):
    """`app` behind the layer, with the policy of the manifest keys given."""
    return protect(
        app or Handler(),
        policy=CsrfPolicy.from_manifest(policy),
        keys=keys,
        origins=origins,
        clock=clock or Clock(),
        subject=subject,
    )


async def call(app, method="POST", path="/save", headers=(), chunks=(), *, kind="http", gone=False, **more) -> Answer:
    """One request; `chunks` are its body messages, `gone` ends them with a disconnect instead of the last one."""
    answer = Answer()
    waiting = list(chunks) or [b""]
    pairs = [
        (name.encode("latin-1"), value.encode("latin-1") if isinstance(value, str) else value)
        for name, value in headers
    ]
    scope = {
        "type": kind,
        "method": method,
        "path": path.partition("?")[0],
        "raw_path": path.partition("?")[0].encode("utf-8", "replace"),
        "query_string": path.partition("?")[2].encode(),
        "headers": pairs,
        "root_path": "",
        "scheme": "https",
        "http_version": "1.1",
        "client": ("192.0.2.7", 1),
        "server": ("127.0.0.1", 80),
        **more,
    }

    async def receive():
        if kind == "websocket":
            return {"type": "websocket.connect"}
        if not waiting:
            if gone:
                return {"type": "http.disconnect"}
            await asyncio.sleep(3600)
        chunk = waiting.pop(0)
        answer.bytes_read += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting) or gone}

    async def send(message):
        if message["type"].endswith("response.start"):
            answer.status = message["status"]
            answer.headers += [(k.decode("latin-1").lower(), v.decode("latin-1")) for k, v in message["headers"]]
        elif message["type"].endswith("response.body"):
            answer.body += message.get("body", b"")
        elif message["type"] == "websocket.accept":
            answer.status = 101
        elif message["type"] == "websocket.close":
            answer.closed = True

    if kind == "websocket":
        del scope["method"]
    await asyncio.wait_for(app(scope, receive, send), 20)
    return answer


@dataclass
class Browser:
    """One visitor: keeps the CSRF cookie, sends the headers that a browser sends with a form of its own page."""

    app: Any
    cookie: str = ""
    other_cookies: str = ""
    token: str = ""

    def headers(self, *extra: tuple[str, str]) -> list[tuple[str, str]]:
        cookies = "; ".join(part for part in (self.cookie, self.other_cookies) if part)
        return [("host", "app.example.com"), *([("cookie", cookies)] if cookies else []), *extra]

    async def get(self, path="/form") -> Answer:
        answer = await call(self.app, "GET", path, self.headers())
        self.cookie = answer.cookie or self.cookie
        if re.fullmatch(r"d1\..{100}", answer.text):
            self.token = answer.text
        return answer

    async def post(
        self, path="/save", *, token=None, site="same-origin", kind=FORM, body=None, method="POST", more=()
    ) -> Answer:
        chosen = self.token if token is None else token
        data = body if body is not None else f"a=1&csrf_token={chosen}".encode()
        sent = self.headers(("content-type", kind), *((("sec-fetch-site", site),) if site else ()), *more)
        answer = await call(self.app, method, path, sent, [data])
        self.cookie = answer.cookie or self.cookie
        return answer


def multipart(*parts: tuple[str, bytes] | tuple[str, bytes, str], boundary: str = "XbOuNdArY") -> tuple[str, bytes]:
    """(content type, body) of parts (name, data) or, for a file, (name, data, file name)."""
    body = b""
    for part in parts:
        name = f'; filename="{part[2]}"' if len(part) == 3 else ""
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{part[0]}"{name}\r\n\r\n'.encode()
        body += part[1] + b"\r\n"
    return f"multipart/form-data; boundary={boundary}", body + f"--{boundary}--\r\n".encode()
