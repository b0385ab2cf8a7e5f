"""Refusals: the answers dodai gives instead of the application's, as JSON or HTML, in English or Japanese."""

from __future__ import annotations

import json
from html import escape

from dodai.core.dataclass import dataclass
from dodai.core.errors import Code
from dodai.core.page import Lang, Text

_TITLES: dict[int, Text] = {
    403: Text("Refused", "拒否されました"),
    404: Text("Not found", "見つかりません"),
    413: Text("Too large", "サイズが大きすぎます"),
    429: Text("Too many requests", "リクエストが多すぎます"),
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
class VisitorWords:
    """What a page says to a visitor, where the words of the code are for who runs or writes the site."""

    message: Text
    fix: Text


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of dodai: `status`, its `code`, and one word for the line saying why (`reason`).

    `message` and `fix` replace the code's own words, `visitor` both on a page. None may carry anything the client sent.
    """

    status: int
    code: Code
    reason: str = ""
    message: Text | None = None
    fix: Text | None = None
    visitor: VisitorWords | None = None


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
    shown = refusal.visitor
    message, fix = (shown.message(lang), shown.fix(lang)) if shown else _words(refusal, lang)
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
