"""Answers of the edge's own, and its words for visitors: those of its codes are for who runs the site."""

from __future__ import annotations

from collections.abc import Mapping

from dodai.core.refusal import VisitorWords
from dodai.core.text import Text
from dodai.providers.local.edge.request_checks import Headers

_LATER = Text(
    "Try again in a minute. If it goes on, tell whoever runs this site the request id below",
    "しばらくしてからもう一度お試しください。続く場合は、下のリクエスト ID を添えてサイトの管理者にお知らせください",
)

VISITOR_WORDS: Mapping[str, VisitorWords] = {
    "DOD550": VisitorWords(
        Text("The request could not be understood", "リクエストを理解できませんでした"),
        _LATER,
    ),
    "DOD551": VisitorWords(
        Text("What was sent is larger than this site accepts", "送信されたデータがこのサイトの上限を超えています"),
        Text("Send a smaller file or a shorter text", "より小さいファイルか短い文章を送ってください"),
    ),
    "DOD553": VisitorWords(
        Text("There is no page at this address", "このアドレスにページはありません"),
        Text("Check the address", "アドレスを確認してください"),
    ),
    "DOD554": VisitorWords(Text("This site does not answer just now", "現在このサイトは応答していません"), _LATER),
    "DOD557": VisitorWords(
        Text("Too much was sent from your address in a short time", "短時間に送信が多すぎました"),
        Text("Wait a minute, then try again", "1 分ほど待ってから、もう一度お試しください"),
    ),
    "DOD555": VisitorWords(
        Text("This site did not answer in time", "時間内にこのサイトから応答がありませんでした"), _LATER
    ),
}


def response_bytes(status: int, fields: Headers, body: bytes) -> bytes:
    """An answer of the edge's own, head and body."""
    phrase = _PHRASES.get(status, "Error").encode()
    lines = [b"HTTP/1.1 %d %s" % (status, phrase), *(name + b": " + value for name, value in fields)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


_PHRASES = {
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    502: "Bad Gateway",
    504: "Gateway Timeout",
}
