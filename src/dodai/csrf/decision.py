"""Whether a request may pass: a pure function of its headers, the configured origins and the state of its token.

Every refusal has one word for the line (`reason`) and one code. The vectors are `spec/csrf/decision.json`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Literal
from urllib.parse import urlsplit

from dodai.core.dataclass import dataclass
from dodai.core.errors import Code, DodaiError
from dodai.csrf.codes import (
    BODY_TOO_SLOW,
    EXEMPTION_OVER,
    FOREIGN_ORIGIN,
    ORIGIN_MALFORMED,
    ORIGIN_NOT_SAID,
    REQUEST_UNREADABLE,
    TOKEN_DUPLICATED,
    TOKEN_EXPIRED,
    TOKEN_FOREIGN,
    TOKEN_INVALID,
    TOKEN_MISSING,
    TOKEN_TOO_LATE,
)
from dodai.csrf.policy import Mode
from dodai.csrf.token import Verdict

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""RFC 9110 §9.2.1, exactly as written there: `get` is another method, and unsafe."""

FETCH_SITES = frozenset({"same-origin", "same-site", "cross-site", "none"})

OVERRIDES = frozenset({b"x-http-method-override", b"x-http-method", b"x-method-override"})
"""Headers with which some frameworks turn a GET into something else; a safe method that carries one is not safe."""

TokenState = (
    Verdict
    | Literal["missing", "duplicated", "too_late", "too_slow", "unreadable", "disconnected", "cookie_duplicated"]
)

_ORIGIN = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([1-9][0-9]{0,4}))?", re.ASCII)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([1-9][0-9]{0,4}))?", re.ASCII)
_WILDCARD = re.compile(r"https://\*\.([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)(?::([1-9][0-9]{0,4}))?", re.ASCII)
_LABELS = re.compile(r"https://[a-z0-9_-]+(?:\.[a-z0-9_-]+)*", re.ASCII)
_SHELL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://[A-Za-z0-9._-]{1,253}", re.ASCII)
_NOT_SHELLS = frozenset(
    {"http", "https", "ws", "wss", "ftp", "file", "filesystem", "data", "blob", "about", "javascript"}
)
"""Schemes of the web itself, and those whose pages have the origin `null`."""
_BEARER = re.compile(r"bearer +[^\s,]+", re.IGNORECASE)
"""RFC 6750 §2.1, with any visible character in the token, but no comma: that is where a server joined two headers."""
_DEFAULT_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class Origins:
    """Where requests may come from: the public origins of the environment, and others that may post here.

    `below` are the ends of trusted https origins: `.example.com` for every subdomain.
    """

    public: frozenset[str] = frozenset()
    trusted: frozenset[str] = frozenset()
    below: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the browser says about where a request comes from.

    `same`: from us. `trusted`: from an origin in the manifest. `unknown`: it says nothing (old browser, or no browser).
    `hostile`: from elsewhere, or it contradicts itself. `browser_says_so`: it sent `Sec-Fetch-Site: same-origin`.
    """

    state: Literal["same", "trusted", "unknown", "hostile"]
    reason: str = ""
    browser_says_so: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer. `reason` is one word for the line and the counter; `code` and `status` are set on a refusal."""

    allow: bool
    reason: str
    code: Code | None = None
    status: int = 0


SAME_ORIGIN = Provenance("same", "same_origin", browser_says_so=True)
_USER_INITIATED = Provenance("same", "user_initiated")
_ALLOWED_BY_TOKEN = Decision(True, "token")
_WITHOUT_TOKEN = frozenset({FOREIGN_ORIGIN, ORIGIN_NOT_SAID, TOKEN_MISSING})
_REFUSALS: dict[str, tuple[Code, int]] = {
    "missing": (TOKEN_MISSING, 403),
    "malformed": (TOKEN_INVALID, 403),
    "unknown_key": (TOKEN_INVALID, 403),
    "tampered": (TOKEN_INVALID, 403),
    "future": (TOKEN_INVALID, 403),
    "expired": (TOKEN_EXPIRED, 403),
    "foreign": (TOKEN_FOREIGN, 403),
    "foreign_anonymous": (TOKEN_FOREIGN, 403),
    "duplicated": (TOKEN_DUPLICATED, 403),
    "cookie_duplicated": (TOKEN_DUPLICATED, 403),
    "too_late": (TOKEN_TOO_LATE, 403),
    "too_slow": (BODY_TOO_SLOW, 408),
    "unreadable": (REQUEST_UNREADABLE, 400),
    "disconnected": (REQUEST_UNREADABLE, 400),
}


def configure_origins(public: Iterable[str], trusted: Iterable[str] = ()) -> Origins:
    """The origins of an environment, normalised; raises DOD181 for one that no browser could send.

    A trusted one may be that of an app shell (`capacitor://localhost`), or `https://*.example.com` for every subdomain.
    The latter counts where `https://example.com` is a public origin: whoever serves that host owns what is below it,
    which is never so for a public suffix (`co.uk`, `github.io`). Elsewhere it is left out.
    """
    own, others = frozenset(map(_configured, public)), tuple(trusted)
    hosts = {urlsplit(origin).hostname for origin in own if origin.startswith("https:")}
    wide = [found for text in others if (found := _WILDCARD.fullmatch(text))]
    below = [f".{host}{port}" for host, port in map(_ending, wide) if host in hosts]
    named = frozenset(_trusted(text) for text in others if not _WILDCARD.fullmatch(text))
    return Origins(own, named, tuple(dict.fromkeys(below)))


def parse_origin(text: str) -> str | None:
    """`scheme://host[:port]` in lower case without a default port, or None if `text` is not exactly an origin.

    No path, user info, white space, other scheme or non-ASCII host; IPv6 in its shortest form (RFC 5952).
    """
    match = _ORIGIN.fullmatch(text)
    if match is None:
        return None
    scheme, host, port = match.groups()
    canonical = _host(host)
    if canonical is None or (port and int(port) > 65535):
        return None
    return f"{scheme}://{canonical}" + (f":{port}" if port and port != _DEFAULT_PORTS[scheme] else "")


def is_trusted(origin: str | None, origins: Origins) -> bool:
    """True when pages of `origin`, as a browser sends it, may post here from elsewhere.

    Those of a public origin may where there is another one, at which they are elsewhere.
    """
    if origin is None:
        return False
    if origin in origins.trusted:
        return True
    parsed = parse_origin(origin)
    if parsed is None or parsed in origins.trusted or (parsed in origins.public and len(origins.public) > 1):
        return parsed is not None
    return any(parsed.endswith(end) and _LABELS.fullmatch(parsed[: -len(end)]) for end in origins.below)


def judge_provenance(
    *,
    fetch_site: Sequence[str],
    origin: Sequence[str],
    referer: Sequence[str],
    host: str,
    origins: Origins,
) -> Provenance:
    """What the values of the three headers say (each a sequence: a header may arrive twice).

    `Sec-Fetch-Site` is believed first because no page can forge it, then `Origin`, then `Referer`. Without a configured
    public origin `host`, the request's own Host header, is compared instead: without the scheme, or with `https://` in
    front where that is how it is served. An `http:` page is never the same as that: whoever is in between writes it.
    """
    if len(fetch_site) > 1 or len(origin) > 1 or len(referer) > 1:
        return Provenance("hostile", "header_duplicated")
    sent = origin[0] if origin else None
    if fetch_site:
        return _judge_fetch_site(fetch_site[0], sent, host, origins)
    if sent is not None:
        return _judge_origin(sent, "origin", host, origins)
    if referer and referer[0]:
        return _judge_origin(_origin_of_url(referer[0]), "referer", host, origins)
    return Provenance("unknown", "no_provenance")


def needs_token(mode: Mode, provenance: Provenance) -> bool:
    """True when the decision depends on the token, so that the body may have to be searched for it."""
    if provenance.state == "hostile" or mode in ("header", "framework"):
        return False
    return mode != "either" or provenance.state == "unknown"


def decide(
    mode: Mode, provenance: Provenance, state: TokenState | None, *, anonymous: bool, credentials: bool = True
) -> Decision:
    """Whether an unsafe request may pass. `state` None: no token was looked for because `needs_token` was False.

    `anonymous` says that the visitor has neither a subject nor a nonce from `login()`, and a nonce that was made within
    five minutes of the token. For such a visitor a genuine token of another anonymous nonce passes when the browser
    itself vouches for the request: two tabs opened at once on the first visit overwrite each other's cookie.
    `report` decides like `both`; whoever calls lets the request pass and counts it.

    `credentials` says that it brings something a browser sends by itself (`carries_credentials`). In mode `header`
    nothing but the three headers proves anything, so a request with none of them passes only without credentials: a
    page gains nothing by it that anybody could not have sent. Go's CrossOriginProtection lets both pass; a client that
    hides where it comes from and brings a cookie is an old or altered browser, or a program that can send `Origin`.
    """
    if provenance.state == "hostile":
        return Decision(False, provenance.reason, FOREIGN_ORIGIN, 403)
    if not needs_token(mode, provenance):
        if mode == "header" and provenance.state == "unknown" and credentials:
            return Decision(False, provenance.reason, ORIGIN_NOT_SAID, 403)
        return Decision(True, provenance.reason)
    if state == "valid":
        return _ALLOWED_BY_TOKEN
    if state == "foreign_anonymous" and anonymous and provenance.browser_says_so:
        return Decision(True, "grace")
    found = state or "missing"
    code, status = _REFUSALS[found]
    return Decision(False, found if found.startswith("cookie") else f"token_{found}", code, status)


def carries_credentials(*, cookie: bool, authorization: Sequence[str]) -> bool:
    """True for what a browser adds to a request by itself: a cookie, or a password (Basic, Digest, Negotiate)."""
    return cookie or (bool(authorization) and not is_bearer(authorization))


def is_bearer(authorization: Sequence[str]) -> bool:
    """Whether the `Authorization` headers are one, with a token that a page can add only where CORS allows it."""
    return len(authorization) == 1 and _BEARER.fullmatch(authorization[0].strip(" \t")) is not None


def decide_exempt(*, holds: bool) -> Decision:
    """The decision for a route with an exemption: it passes unchecked until the exemption's last day is over.

    From then on a request is judged like any other, and `told_as_over` what becomes of it.
    """
    return Decision(True, "exempt") if holds else Decision(False, "exemption_over", EXEMPTION_OVER, 403)


def told_as_over(judged: Decision, over: Decision | None) -> Decision:
    """`judged`; where the exemption of its route is `over` and it brought no token, that is what it is told."""
    return over if over is not None and judged.code in _WITHOUT_TOKEN else judged


def decide_websocket(provenance: Provenance) -> Decision:
    """Whether a handshake may pass: browsers always send Origin with it, so only a hostile one is refused.

    One without comes from a program, whose cookies are its own: no page can make a browser leave Origin away (RFC 6455
    4.1), and there is no token that a handshake could carry. A proxy that drops Origin takes this protection with it.
    """
    if provenance.state == "hostile":
        return Decision(False, provenance.reason, FOREIGN_ORIGIN, 403)
    return Decision(True, provenance.reason)


def _judge_fetch_site(value: str, origin: str | None, host: str, origins: Origins) -> Provenance:
    if value in ("same-origin", "none"):
        if origins.public and origin not in (None, "null") and origin not in origins.public:
            judged = _judge_origin(origin, "origin", host, origins)
            if judged.state == "hostile":
                return judged
        return SAME_ORIGIN if value == "same-origin" else _USER_INITIATED
    if value in ("same-site", "cross-site"):
        if is_trusted(origin, origins):
            return Provenance("trusted", "trusted_origin")
        return Provenance("hostile", value.replace("-", "_"))
    return Provenance("hostile", "fetch_site_invalid")


def _judge_origin(sent: str | None, header: str, host: str, origins: Origins) -> Provenance:
    if sent == "null":
        return Provenance("hostile", "origin_null")
    parsed = sent if sent in origins.public else parse_origin(sent) if sent is not None else None
    if parsed in origins.public:
        return Provenance("same", f"{header}_matches")
    if is_trusted(sent, origins):
        return Provenance("trusted", "trusted_origin")
    if parsed is None:
        return Provenance("hostile", f"{header}_invalid")
    if not origins.public and _same_host(parsed, host):
        return Provenance("same", "host_matches")
    return Provenance("hostile", f"{header}_mismatch")


def _origin_of_url(url: str) -> str | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.netloc}" if url.isascii() and url.isprintable() else None


def _same_host(origin: str, host: str) -> bool:
    scheme = origin.partition(":")[0]
    bare = host.removeprefix("https://")
    match = _HOST.fullmatch(bare)
    if match is None or (bare != host and scheme != "https"):
        return False
    port = f":{match[2]}" if match[2] else ""
    return parse_origin(f"{scheme}://{match[1]}{port}") == origin


def _host(host: str) -> str | None:
    if not host.startswith("["):
        return host.lower()
    try:
        return f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
    except ValueError:
        return None


def _configured(text: str) -> str:
    origin = parse_origin(text)
    if origin is None:
        raise DodaiError(ORIGIN_MALFORMED, f"`{text}` is not an origin", ORIGIN_MALFORMED.fix.en, exit_code=2)
    return origin


def _trusted(text: str) -> str:
    shell = _SHELL.fullmatch(text)
    return text.lower() if shell is not None and shell[1].lower() not in _NOT_SHELLS else _configured(text)


def _ending(wide: re.Match[str]) -> tuple[str, str]:
    """(host below which everything is meant, port with its colon or nothing) of an origin with a `*`."""
    host, port = wide.groups()
    return host.lower(), f":{port}" if port and port != "443" else ""
