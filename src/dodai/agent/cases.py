"""The requests that every route of an application gets: hostile ones, and valid ones to compare them with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import drive

FORM = "application/x-www-form-urlencoded"
Case = tuple[list[tuple[str, str]], bytes]

MULTIPART = "multipart/form-data; boundary=dodai-audit"
_PARTS = b'--dodai-audit\r\ncontent-disposition: form-data; name="probe"\r\n\r\n1\r\n--dodai-audit--\r\n'
_OVERRIDES = ("x-http-method-override", "x-http-method", "x-method-override")


def hostile_and_valid(
    served: drive.Served, request: Mapping[str, Any], native: Mapping[str, str] | None
) -> dict[str, Any]:
    """Each case as (headers, body), with tokens that the application itself gave to two visitors.

    `native` are tokens of the framework's own protection; a token that the sign-in brings is used where neither can be
    had.
    """
    origin = request["origin"]
    base = [("host", origin.partition("://")[2]), ("accept", "application/json")]
    base += [(name, value) for name, value in request["sign_in"].items() if name != "cookie" and not _is_token(name)]
    ours = [("origin", origin), ("referer", origin + "/")]
    signed_in = _cookie(list(request["sign_in"].items()))
    new = [*base, *ours, *_cookie_header(signed_in)]
    own, other = _visitor(served, new, request), _visitor(served, new, request)
    ours_too = bool(own["token"])
    brought = next(((name, value) for name, value in request["sign_in"].items() if _is_token(name)), None)
    if not ours_too and native:
        own = {**own, **native}
        other = {**own, "token": native["other"]}
    elif not ours_too and brought:
        own = {**own, "header": brought[0], "token": brought[1]}
    token = own["token"] or "d1.none.00000000." + "A" * 86
    plain = [*base, *ours, *_cookie_header(own["cookie"], signed_in)]
    form, header = [*plain, ("content-type", FORM)], own["header"]
    theirs = [
        ("origin", "https://attacker.invalid"),
        ("referer", "https://attacker.invalid/"),
        ("sec-fetch-site", "cross-site"),
    ]
    # Another site never has the token. dodai refuses it all the same; what checks the token alone need not.
    theirs += [] if own["token"] and not ours_too else [(header, token)]
    at = max(0, len(token) - 20)
    altered = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
    nowhere = [pair for pair in theirs if pair[0] != "referer" and pair[0] != "origin"]
    cases: dict[str, Any] = {
        "missing": (form, b"probe=1"),
        # What a form of any site can send without a preflight, and a check that looks at one content type lets through.
        "text_plain": ([*plain, ("content-type", "text/plain")], b'{"probe": "="}'),
        "disguised": ([*plain, ("content-type", "Text/Plain; x=application/json")], b'{"probe": "="}'),
        "multipart": ([*plain, ("content-type", MULTIPART)], _PARTS),
        "no_content_type": (plain, b""),
        # A page that hides where it comes from: `no-referrer`, or a sandboxed frame.
        "null_origin": ([*base, ("origin", "null"), *nowhere, *_cookie_header(own["cookie"], signed_in)], b""),
        "tampered": (form, f"{own['field']}={altered}".encode()),
        "cross_site": ([*base, *theirs, *_cookie_header(own["cookie"], signed_in)], b""),
    }
    if other["token"]:
        cases["foreign"] = (form, f"{own['field']}={other['token']}".encode())
    if request.get("expired") and (ours_too or not own["token"]):
        expired = request["expired"]
        stale = [*base, *ours, *_cookie_header(expired["cookie"], signed_in), (header, expired["token"])]
        cases["expired"] = (stale, b"")
    if own["token"]:
        cases["valid"] = (form, f"{own['field']}={token}".encode())
        cases["valid_header"] = ([*plain, (header, token)], b"")
    if ours_too and native:
        both = [*base, *ours, *_cookie_header(own["cookie"], native["cookie"], signed_in)]
        cases["valid_both"] = ([*both, (header, token), (native["header"], native["token"])], b"")
    return cases


def naming(method: str, *, form: bool) -> tuple[str, list[tuple[str, str]], bytes]:
    """(query, headers, body) by which frameworks and middleware let a request name another method than its own."""
    named = [(name, method) for name in _OVERRIDES]
    return f"?_method={method}", named, f"_method={method}".encode() if form else b""


def _visitor(served: drive.Served, headers: list[tuple[str, str]], request: Mapping[str, Any]) -> dict[str, str]:
    """Token and cookie that an application protected by dodai gives to a new visitor; empty otherwise."""
    sent = [*headers, ("sec-fetch-site", "same-origin")]
    answer = served.request("GET", request["refresh"], sent, scheme=scheme(request))
    body = answer.json if answer.status == 200 and isinstance(answer.json, Mapping) else {}
    return {
        "token": str(body.get("token", "")),
        "cookie": "; ".join(cookie.partition(";")[0] for cookie in answer.cookies()),
        "field": str(body.get("field", request["field"])),
        "header": str(body.get("header", request["header"])),
    }


def _cookie_header(*cookies: str) -> list[tuple[str, str]]:
    value = "; ".join(cookie for cookie in cookies if cookie)
    return [("cookie", value)] if value else []


def _is_token(header: str) -> bool:
    return "csrf" in header or "xsrf" in header


def _cookie(headers: list[tuple[str, str]]) -> str:
    return "; ".join(value for name, value in headers if name.lower() == "cookie")


def scheme(request: Mapping[str, Any]) -> str:
    """The scheme of the origin under which the application is asked."""
    return str(request["origin"]).partition("://")[0]
