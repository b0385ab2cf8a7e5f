"""What the edge decides about a request from its head alone, pure: refuse, block, strip, route."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote_to_bytes

from dodai.core.dataclass import dataclass
from dodai.core.errors import Code
from dodai.core.refusal import VisitorWords
from dodai.core.text import Text
from dodai.operations.ports import OPEN_RESERVED, CacheRule
from dodai.providers.local.codes import EDGE_REFUSED

Headers = list[tuple[bytes, bytes]]

MAX_HEADERS = 100
_OPEN = frozenset(path.encode() for path in OPEN_RESERVED)
HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
    | {b"proxy-authorization", b"proxy-authenticate", b"expect", b"http2-settings"}
)
"""RFC 9110 section 7.6.1, and what its predecessors listed."""
TRUSTED = (
    frozenset({b"x-request-id", b"traceparent", b"tracestate", b"baggage", b"x-attempt", b"x-deadline-ms", b"cf-ray"})
    | {b"forwarded", b"x-forwarded", b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip", b"client-ip"}
    | {b"cf-connecting-ip", b"true-client-ip", b"fastly-client-ip", b"x-host", b"x-http-host-override"}
    | {b"x-original-url", b"x-original-host", b"x-rewrite-url"}
    | {b"proxy", b"remote-user", b"remote-groups", b"remote-email", b"remote-name", b"x-remote-user", b"x-webauth-user"}
)
TRUSTED_PREFIXES = (
    *(b"x-forwarded-", b"x-user-", b"x-identity-", b"x-edge-", b"x-dodai-", b"x-remote-", b"x-webauth-"),
    *(
        b"x-authentik-",
        b"x-auth-request-",
        b"x-authenticated-",
        b"x-goog-authenticated-",
        b"cf-access-",
        b"x-amzn-oidc-",
    ),
)
"""Only a trusted hop may say these; from a client they would be a claim to be somebody or somewhere else.

Proxies that sign people in say who it is in `X-Authentik-*`, `X-Remote-User`, `X-Auth-Request-*` and the like; `Proxy`
would become `HTTP_PROXY`, by which some libraries choose whom they call (CVE-2016-5385, httpoxy).
`x-original-url` and `x-rewrite-url` replace the path in some applications, behind the back of what is blocked here.
"""
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?\Z")
_TARGET = re.compile(rb"/[\x21\x24-\x7e\x80-\xff]*(?:\?[\x21\x24-\x7e\x80-\xff\x22]*)?\Z")
_DETOUR = re.compile(rb"[%\\;]|//|/\.")
"""Without any of these a path can be read in one way only, but for the slash at its end."""
_LENGTH = re.compile(rb"[0-9]{1,18}\Z")


@dataclass(eq=False)
class EdgeRefusedError(Exception):
    """The edge answers by itself. `reason` is one word for the line; the connection ends after it."""

    status: int
    code: Code
    reason: str
    message: Text | None = None
    retry_after_s: int = 0


def malformed(reason: str, en: str, ja: str, status: int = 400) -> EdgeRefusedError:
    return EdgeRefusedError(status, EDGE_REFUSED, reason, Text(en, ja))


def check_bytes(head: bytes) -> None:
    """Refuse what parsers are known to disagree on: bare CR or LF, NUL, folded lines, spaces before the colon."""
    lines = head[:-4].split(b"\r\n")
    if any(b"\n" in line or b"\r" in line or b"\0" in line for line in lines):
        raise malformed("bare_line_break", "A header contains a bare line break", "ヘッダーに不正な改行があります")
    if any(line[:1] in (b" ", b"\t") for line in lines):
        raise malformed("folded_header", "A header is folded over two lines", "ヘッダーが複数行に折り返されています")
    if len(lines) > MAX_HEADERS + 1:
        raise EdgeRefusedError(
            431, EDGE_REFUSED, "too_many_headers", Text("There are too many headers", "ヘッダーが多すぎます")
        )
    names = [line.partition(b":")[0] for line in lines[1:]]
    if any(not name or name[-1:] in (b" ", b"\t") for name in names):
        raise malformed("space_in_header", "A header name is malformed", "ヘッダー名の形式が不正です")
    lengths = [line for line in lines[1:] if line[:15].lower() == b"content-length:"]
    if len(lengths) > 1 or any(b"," in line for line in lengths):  # the parser would merge equal ones
        raise malformed("bad_length", "Content-Length is malformed", "Content-Length の形式が不正です")


def check_request(method: bytes, target: bytes, version: bytes, headers: Headers) -> None:
    """Refuse a request whose end, host or path could be read in two ways (RFC 9112 sections 3.2 and 6.3)."""
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    if codings and lengths:
        raise malformed(
            "two_lengths", "The request states its length twice", "リクエストの長さが二重に指定されています"
        )
    if len(lengths) > 1 or any(not _LENGTH.match(length) for length in lengths):
        raise malformed("bad_length", "Content-Length is malformed", "Content-Length の形式が不正です")
    if codings and (codings != [b"chunked"] or version != b"1.1"):
        raise malformed("bad_coding", "Only chunked transfer coding is accepted", "転送符号は chunked だけです", 501)
    if method in (b"CONNECT", b"TRACE"):
        raise malformed("method", "This method is not accepted", "このメソッドは利用できません", 405)
    if not _TARGET.match(target):
        raise malformed("target", "The request target is not a path", "リクエスト先がパスではありません")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1 or not _HOST.match(hosts[0]):
        raise malformed(
            "host", "There must be exactly one valid Host header", "Host ヘッダーは正しいものが一つ必要です"
        )


def content_length(headers: Headers) -> int:
    """The declared length of the body; 0 without one."""
    return next((int(value) for name, value in headers if name == b"content-length"), 0)


def is_blocked(target: bytes) -> bool:
    """Whether the path is below `/-/dodai/` however it is spelled, and not one of the two that are open.

    Servers differ in whether they decode, collapse slashes or resolve dots before routing, so every reading counts.
    """
    path = target.partition(b"?")[0]
    return path not in _OPEN and any(_is_reserved(reading) for reading in readings(path))


def readings(path: bytes) -> list[bytes]:
    """What servers may take the path for: decoded up to three times, each as it stands and with detours resolved."""
    if not _DETOUR.search(path):
        return [path, path.rstrip(b"/") or b"/"]
    decoded = [path]
    for _ in range(3):
        decoded.append(unquote_to_bytes(decoded[-1]))
    return [form for reading in decoded for form in (reading, _resolved(reading))]


def _is_reserved(path: bytes) -> bool:
    path = path.lower()
    return path == b"/-/dodai" or path.startswith((b"/-/dodai/", b"/-/dodai;", b"/-/dodai?", b"/-/dodai\0"))


def _resolved(path: bytes) -> bytes:
    parts: list[bytes] = []
    for part in path.replace(b"\\", b"/").split(b"/"):
        part = part.partition(b";")[0]  # noqa: PLW2901 - path parameters are cut off by some servers
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/" + b"/".join(parts)


def route_of(target: bytes, routes: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """The (prefix, service) with the longest prefix of the path; a prefix ends at a slash."""
    path = target.partition(b"?")[0].decode("latin-1")
    fitting = [pair for pair in routes if path == pair[0] or path.startswith(pair[0].rstrip("/") + "/")]
    return max(fitting, key=lambda pair: len(pair[0]), default=None)


def forwarded(headers: Headers, added: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers for the service: what belongs to one hop or claims trust is gone, `added` comes last.

    An underscore counts as a hyphen, because gateways in between turn both into the same variable.
    """
    listed = _listed_in_connection(headers)
    kept = [(name, value) for name, value in headers if _passes(name, listed)]
    return [*kept, *added]


def _passes(sent: bytes, listed: frozenset[bytes]) -> bool:
    name = sent.replace(b"_", b"-")
    if name in (b"host", b"content-length"):
        return sent == name  # `content_length` would be a second length to whoever reads variables
    return not (name in HOP_BY_HOP or name in listed or name in TRUSTED or name.startswith(TRUSTED_PREFIXES))


def returned(headers: Headers, added: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers for the client: hop-by-hop ones and our own are replaced."""
    listed = _listed_in_connection(headers)
    ours = {name for name, _ in added} | {b"x-request-id", b"x-edge-ray", b"x-edge-cache", b"x-edge-key"}
    kept = [pair for pair in headers if pair[0] not in HOP_BY_HOP and pair[0] not in listed and pair[0] not in ours]
    return [*kept, *added]


def _listed_in_connection(headers: Headers) -> frozenset[bytes]:
    return frozenset(
        word.strip().lower() for name, value in headers if name == b"connection" for word in value.split(b",")
    )


def caching(
    method: bytes, target: bytes, status: int, headers: Headers, rules: Sequence[CacheRule]
) -> list[tuple[bytes, bytes]]:
    """What the answer says about caching: public only where the manifest says so and nobody's cookie is set.

    Everything else is private to the person who asked, whatever the application forgot to say.
    """
    said = b", ".join(value for name, value in headers if name == b"cache-control").lower()
    every = readings(target.partition(b"?")[0])  # all of them: a detour could store a private page under /static/
    rule = next((rule for rule in rules if all(one.startswith(_prefix(rule)) for one in every)), None)
    cookies = any(name == b"set-cookie" for name, _ in headers)
    refused = b"private" in said or b"no-store" in said
    if rule is not None and method in (b"GET", b"HEAD") and status in (200, 304) and not cookies and not refused:
        return [(b"cache-control", b"public, max-age=%d" % int(rule.ttl_s)), (b"x-edge-cache", b"MISS")]
    if not said or b"public" in said or b"s-maxage" in said:
        return [(b"cache-control", b"private, no-cache"), (b"x-edge-cache", b"BYPASS")]
    return [(b"x-edge-cache", b"BYPASS")]


def _prefix(rule: CacheRule) -> bytes:
    return rule.prefix.rstrip("*").encode()


def wants_websocket(method: bytes, headers: Headers) -> bool:
    upgrade = any(name == b"upgrade" and value.lower() == b"websocket" for name, value in headers)
    return method == b"GET" and upgrade and b"upgrade" in _listed_in_connection(headers)


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
