"""Refusals: the answers dodai gives instead of the application's, as JSON or HTML, in English or Japanese."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape

from dodai.core.errors import Code
from dodai.core.page import Lang, Text

EDGE_KEY_MISSING = Code(
    "DOD060",
    "edge-key-missing",
    Text("The request did not come through the edge", "エッジを経由していないリクエストです"),
    Text(
        "A service that answers without its edge has no rate limit, no TLS policy and no trustworthy client address",
        "エッジを経由しないと、レート制限・TLS ポリシー・信頼できる接続元アドレスが失われます",
    ),
    Text("Use the public address of the site", "サイトの公開アドレスからアクセスしてください"),
)
UNHANDLED_ERROR = Code(
    "DOD061",
    "unhandled-error",
    Text(
        "The application failed while serving this request",
        "リクエストの処理中にアプリケーションでエラーが発生しました",
    ),
    Text(
        "An exception reached the outermost layer; its type and stack are in the line with this request id",
        "例外が最も外側の層まで到達しました。型とスタックは、このリクエスト ID の行にあります",
    ),
    Text(
        "Try again; if it keeps failing, tell the operator the request id",
        "もう一度お試しください。続く場合は、リクエスト ID を添えて管理者にお知らせください",
    ),
)
RESERVED_PATH = Code(
    "DOD062",
    "reserved-path",
    Text("There is nothing at this reserved path", "この予約済みパスには何もありません"),
    Text("Paths below /-/dodai/ never reach the application", "/-/dodai/ 以下のパスはアプリケーションに届きません"),
    Text("Check the address", "アドレスを確認してください"),
)
BODY_TOO_LARGE = Code(
    "DOD063",
    "body-too-large",
    Text("The request body is larger than this address accepts", "リクエスト本文がこのアドレスの上限を超えています"),
    Text(
        "A bound keeps one request from taking the memory of all others",
        "一つのリクエストが全体のメモリを使い切らないように上限があります",
    ),
    Text("Send less data", "送信するデータを小さくしてください"),
)
DEPENDENCY_UNAVAILABLE = Code(
    "DOD064",
    "dependency-unavailable",
    Text("A service this page depends on is not available", "このページが依存するサービスに接続できません"),
    Text(
        "The dependency refused the call or its breaker is open; the line with this request id names it",
        "依存先が呼び出しを拒否したか、ブレーカーが開いています。依存先の名前はこのリクエスト ID の行にあります",
    ),
    Text("Try again in a few seconds", "数秒おいてからもう一度お試しください"),
)
DEPENDENCY_TIMEOUT = Code(
    "DOD065",
    "dependency-timeout",
    Text(
        "A service this page depends on did not answer in time",
        "このページが依存するサービスが時間内に応答しませんでした",
    ),
    Text(
        "The deadline of the call passed; the line with this request id names the dependency",
        "呼び出しの期限が過ぎました。依存先の名前はこのリクエスト ID の行にあります",
    ),
    Text("Try again in a few seconds", "数秒おいてからもう一度お試しください"),
)
CODES: tuple[Code, ...] = (
    EDGE_KEY_MISSING,
    UNHANDLED_ERROR,
    RESERVED_PATH,
    BODY_TOO_LARGE,
    DEPENDENCY_UNAVAILABLE,
    DEPENDENCY_TIMEOUT,
)

_TITLES: dict[int, Text] = {
    403: Text("Refused", "拒否されました"),
    404: Text("Not found", "見つかりません"),
    413: Text("Too large", "サイズが大きすぎます"),
    500: Text("Something went wrong", "エラーが発生しました"),
    503: Text("Temporarily unavailable", "一時的に利用できません"),
    504: Text("No answer in time", "時間内に応答がありませんでした"),
}
_REQUEST_ID_LABEL = Text("Request id", "リクエスト ID")
_HTML = """<!doctype html>
<html lang="{lang}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title><style>
:root{{color-scheme:light dark}}
body{{font:1rem/1.6 system-ui,sans-serif;margin:0 auto;max-width:38rem;padding:12vh 1.5rem}}
h1{{font-size:1.5rem;margin:0 0 .5rem}}
code{{font-family:ui-monospace,monospace;overflow-wrap:anywhere}}
dl{{margin-top:2rem;font-size:.875rem}}
dd{{margin:0}}
</style></head><body><main>
<h1>{title}</h1>
<p>{message}</p>
<p>{fix}</p>
<dl><dt>{label}</dt><dd><code>{request_id}</code> · <code>{code}</code></dd></dl>
</main></body></html>
"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of dodai: `status`, its `code`, and one word for the line saying why (`reason`).

    `message` and `fix` replace the code's own words. Neither may carry anything the client sent.
    """

    status: int
    code: Code
    reason: str = ""
    message: Text | None = None
    fix: Text | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    """A refusal as an HTTP response; header names are lower case."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def render(refusal: Refusal, request_id: str, *, accept: str = "", accept_language: str = "") -> Rendered:
    """The response for `refusal`: HTML when `accept` prefers it over JSON, else JSON; both in the client's language.

    JSON is `{"error": {"code", "name", "message", "fix"}, "requestId"}`. Never cached, never sniffed, never framed.
    """
    lang = preferred_lang(accept_language)
    html = prefers_html(accept)
    body = _html(refusal, request_id, lang) if html else _json(refusal, request_id, lang)
    headers = (
        (b"content-type", b"text/html; charset=utf-8" if html else b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"content-language", lang.encode()),
        (b"cache-control", b"no-store"),
        (b"vary", b"accept, accept-language"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
        (b"x-request-id", request_id.encode("ascii", "replace")),
    )
    return Rendered(refusal.status, headers, body)


def prefers_html(accept: str) -> bool:
    """True when the `Accept` header names HTML with at least the weight of JSON (RFC 9110 §12.5.1)."""
    html = json_weight = 0.0
    for media, weight in _weighted(accept):
        if media in {"text/html", "application/xhtml+xml"}:
            html = max(html, weight)
        elif media == "application/json" or media.endswith("+json"):
            json_weight = max(json_weight, weight)
    return html > 0 and html >= json_weight


def preferred_lang(accept_language: str) -> Lang:
    """`ja` when Japanese is asked for with more weight than English, else `en`."""
    best: dict[str, float] = {}
    for tag, weight in _weighted(accept_language):
        lang = tag.split("-", 1)[0]
        best[lang] = max(best.get(lang, 0.0), weight)
    japanese, english = best.get("ja", 0.0), best.get("en", 0.0)
    if japanese == english and japanese:
        first = accept_language.lower()
        return "ja" if first.find("ja") < first.find("en") else "en"
    return "ja" if japanese > english else "en"


def _weighted(header: str) -> list[tuple[str, float]]:
    parts = header[:1024].lower().split(",")
    return [(name.strip(), _weight(parameters)) for name, _, parameters in (part.partition(";") for part in parts)]


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value.strip())))
            except ValueError:
                return 0.0
    return 1.0


def _words(refusal: Refusal, lang: Lang) -> tuple[str, str]:
    return (refusal.message or refusal.code.what)(lang), (refusal.fix or refusal.code.fix)(lang)


def _json(refusal: Refusal, request_id: str, lang: Lang) -> bytes:
    message, fix = _words(refusal, lang)
    error = {"code": refusal.code.id, "name": refusal.code.name, "message": message, "fix": fix}
    return json.dumps({"error": error, "requestId": request_id}, ensure_ascii=False).encode()


def _html(refusal: Refusal, request_id: str, lang: Lang) -> bytes:
    message, fix = _words(refusal, lang)
    title = _TITLES.get(refusal.status, _TITLES[500 if refusal.status >= 500 else 403])
    return _HTML.format(
        lang=lang,
        title=escape(title(lang)),
        message=escape(message),
        fix=escape(fix),
        label=escape(_REQUEST_ID_LABEL(lang)),
        request_id=escape(request_id),
        code=escape(refusal.code.id),
    ).encode()
