from __future__ import annotations

from urllib.parse import quote

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dodai.operations.ports import CacheRule
from dodai.providers.local.edge import request_checks
from dodai.providers.local.edge.request_checks import EdgeRefusedError

NAMES = st.sampled_from(
    ["Content-Length", "content-length", "Transfer-Encoding", "Host", "X-A", "Connection", "x-edge-key", "X_User_Id",
     "Content-Length ", " X-B", "Expect", "", "x-forwarded-for", "Cookie"]
)  # fmt: skip
VALUES = st.sampled_from(
    [
        "5",
        "0",
        "5, 5",
        "+5",
        "chunked",
        "Chunked",
        "gzip, chunked",
        "a.example",
        "a b",
        "x\r\n y",
        "x\ny",
        "\x00",
        "1" * 20,
    ]
)
TARGETS = st.sampled_from(["/", "/a?b=c", "//x", "http://a/", "*", "/a b", "/a#b", "/%00", "\\x", ""])
METHODS = st.sampled_from(["GET", "POST", "TRACE", "CONNECT", "get", "BREW", "G T"])


def heads():
    lines = st.lists(st.tuples(NAMES, VALUES), max_size=5).map(lambda rows: [f"{n}: {v}" for n, v in rows])
    versions = st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", ""])
    first = st.tuples(METHODS, TARGETS, versions).map(" ".join)
    return st.tuples(first, lines).map(
        lambda made: "\r\n".join([made[0], "Host: a.example", *made[1], "", ""]).encode("latin-1")
    )


def accepted(raw):
    """The request the edge would pass on; None when it refuses."""
    try:
        request_checks.check_bytes(raw)
        wire = h11.Connection(h11.SERVER)
        wire.receive_data(raw)
        request = wire.next_event()
        if not isinstance(request, h11.Request):
            return None
        request_checks.check_request(request.method, request.target, request.http_version, list(request.headers))
    except (EdgeRefusedError, h11.RemoteProtocolError):
        return None
    return request


@given(heads())
@example(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n")
def test_what_is_accepted_has_one_end_one_host_and_one_reading(raw):
    """No two parsers can disagree about a request that passes, and none of its bytes can start another header."""
    request = accepted(raw)
    if request is None:
        return
    names = [name for name, _ in request.headers]
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    assert names.count(b"host") == 1
    passed = request_checks.forwarded(list(request.headers), [(b"x-edge-key", b"k")])
    assert [value for name, value in passed if name.replace(b"_", b"-") == b"x-edge-key"] == [b"k"]
    assert not any(name.replace(b"_", b"-").startswith((b"x-user-", b"x-forwarded-")) for name, _ in passed)
    assert not any(byte in part for name, value in passed for part in (name, value) for byte in b"\r\n\0")


CLAIMS = [
    b"x-identity-proof",
    b"x-forwarded",
    b"x-client-ip",
    b"X_Client_IP",
    b"x-cluster-client-ip",
    b"client-ip",
    b"fastly-client-ip",
    b"x-original-url",
    b"x-rewrite-url",
    b"x-original-host",
    b"x-host",
    b"x-http-host-override",
    b"content_length",
]


@pytest.mark.parametrize("name", CLAIMS)
def test_a_header_that_claims_trust_or_another_path_is_not_passed_on(name):
    """Neither a proof of identity, nor a client address, nor another path or length, however the name is spelled."""
    sent = [(b"host", b"a.example"), (b"content-length", b"5"), (name.lower(), b"/admin")]
    assert request_checks.forwarded(sent, []) == sent[:2]


@given(heads())
def test_a_refusal_is_always_one_of_ours(raw):
    """Whatever the bytes are, the checks end in a decision, not in a crash."""
    accepted(raw)


SPELLINGS = st.sampled_from(
    [lambda c: c, lambda c: quote(c, safe=""), lambda c: f"%{ord(c):02x}", lambda c: f"%25{ord(c):02X}", str.upper]
)
NOISE = st.sampled_from(["", "/", "/./", "/x/../", "//", "/%2e/", "/a/b/../..", "\\"])


@given(
    st.lists(SPELLINGS, min_size=8, max_size=8),
    NOISE,
    st.sampled_from(["", "/", "/metrics", "?a=b", "/csrf/x", ";v=1"]),
)
def test_no_spelling_of_a_reserved_path_passes(spellings, noise, tail):
    """Letters in any encoding, detours in front, anything behind."""
    word = "".join(spell(char) for spell, char in zip(spellings, "-/dodai/", strict=True)).rstrip("/")
    path = f"{noise.rstrip('/')}/{word}{tail}"
    assert request_checks.is_blocked(path.encode())


@given(st.text(alphabet="abc-/.dodai%25\\;", max_size=24))
def test_a_path_that_does_not_spell_the_word_is_never_blocked(path):
    """The block is about one prefix; it must not eat ordinary pages."""
    target = "/" + path
    if "dodai" not in target.replace("%", "").lower() and "d" not in target:
        assert not request_checks.is_blocked(target.encode())


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/", "web"),
        ("/x", "web"),
        ("/api", "api"),
        ("/api/x", "api"),
        ("/apix", "web"),
        ("/api/v2/x", "v2"),
        ("/api?q=/z", "api"),
    ],
)
def test_the_longest_prefix_that_ends_at_a_slash_wins(path, service):
    """`/apix` is not below `/api`."""
    found = request_checks.route_of(path.encode(), (("/", "web"), ("/api", "api"), ("/api/v2/", "v2")))
    assert found is not None
    assert found[1] == service


def test_without_a_fitting_prefix_there_is_no_route():
    """The edge then answers by itself."""
    assert request_checks.route_of(b"/x", (("/api", "api"),)) is None


@pytest.mark.parametrize("path", [b"/static/../me", b"/static/%2e%2e/me", b"/static/..%2fme"])
def test_a_detour_out_of_a_static_path_is_not_cached(path):
    """Else a private page could be stored under a public name (web cache deception)."""
    rules = (CacheRule(prefix="/static/", ttl_s=60),)
    assert (b"x-edge-cache", b"BYPASS") in request_checks.caching(b"GET", path, 200, [], rules)
    assert (b"x-edge-cache", b"MISS") in request_checks.caching(b"GET", b"/static/a.css", 200, [], rules)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Proxy",
            "Remote-User",
            "Remote_User",
            "X-Remote-User",
            "X-Remote-Group",
            "X-WebAuth-User",
            "X-Authentik-Username",
        ),
        *("x_authentik_groups", "X-Auth-Request-Email", "X-Authenticated-User", "Cf-Access-Jwt-Assertion"),
    ],
)
def test_client_cannot_say_who_it_is_nor_through_whom_to_call(name):
    """What a proxy that signs people in would say, in any spelling that becomes the same variable, is gone."""
    sent = [(b"host", b"a.example"), (name.lower().encode(), b"admin"), (b"accept", b"*/*")]
    assert request_checks.forwarded(sent, []) == [(b"host", b"a.example"), (b"accept", b"*/*")]
