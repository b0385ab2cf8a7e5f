"""Other people's parsers and decisions as oracles: what we find in a body is what the application will find in it.

A token that is found where the application's parser sees another value, or none, would vouch for a request that is
served differently. Verdicts of other implementations stand here as facts about them, not as code.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

import pytest
from django.conf import settings
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http import QueryDict
from django.http.multipartparser import MultiPartParser
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from python_multipart.multipart import FormParser
from tests.csrf.test_body import search
from werkzeug.formparser import parse_form_data

from dodai.csrf.decision import Origins, decide, judge_provenance, needs_token
from dodai.csrf.enforce.asgi_layer import is_unsafe

URLENCODED, BOUNDARY = "application/x-www-form-urlencoded", "XbOuNdArY"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
FIELD = "csrf_token"
Oracle = Callable[[str, bytes], "list[str] | None"]


def of_werkzeug(kind: str, body: bytes) -> list[str] | None:
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": kind,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    try:
        _, form, _ = parse_form_data(environ, stream_factory=lambda *_: io.BytesIO(), silent=False)
    except Exception:  # noqa: BLE001 - a body that it refuses is never served
        return None
    return form.getlist(FIELD)


def of_django(kind: str, body: bytes) -> list[str] | None:
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="x" * 50, LOGGING_CONFIG=None)
    try:
        if kind == URLENCODED:
            return QueryDict(body, encoding="utf-8").getlist(FIELD)
        meta = {"CONTENT_TYPE": kind, "CONTENT_LENGTH": str(len(body))}
        form, _ = MultiPartParser(meta, io.BytesIO(body), [MemoryFileUploadHandler()], "utf-8").parse()
    except Exception:  # noqa: BLE001 - as above
        return None
    return form.getlist(FIELD)


def of_python_multipart(kind: str, body: bytes) -> list[str] | None:
    found: list[str] = []

    def on_field(field: object) -> None:
        read = unquote_to_bytes if kind == URLENCODED else bytes  # it leaves decoding to whoever calls
        if read(getattr(field, "field_name", b"") or b"") == FIELD.encode():
            found.append(read(getattr(field, "value", b"") or b"").decode("utf-8", "replace"))

    name, _, boundary = kind.partition("; boundary=")
    try:
        parser = FormParser(name, on_field, lambda _: None, boundary=boundary.encode() or None)
        parser.write(body)
        parser.finalize()
    except Exception:  # noqa: BLE001 - as above
        return None
    return found


ORACLES: dict[str, Oracle] = {"werkzeug": of_werkzeug, "django": of_django, "python-multipart": of_python_multipart}

NAMES = st.sampled_from([FIELD, FIELD, "a", "CSRF_TOKEN", "csrf_token[]", "csrf%5Ftoken", ""])
VALUES = st.text("abcXYZ019.-_=", max_size=12)


@st.composite
def multipart_parts(draw: st.DrawFn) -> bytes:
    """A body of fields and files as browsers write them, with what differs between writers."""
    body = b""
    for _ in range(draw(st.integers(0, 4))):
        name = draw(NAMES).replace("%5F", "_")
        file = draw(st.sampled_from(["", "", '; filename="x.txt"']))
        head = f'Content-Disposition: form-data; name="{name}"{file}\r\n'
        head += draw(
            st.sampled_from(["", "Content-Type: text/plain\r\n", "Content-Type: text/plain; charset=utf-8\r\n"])
        )
        body += f"--{BOUNDARY}\r\n{head}\r\n{draw(VALUES)}\r\n".encode()
    return body + f"--{BOUNDARY}--\r\n".encode()


@pytest.mark.parametrize("oracle", ORACLES.values(), ids=ORACLES.keys())
@hypothesis_settings(deadline=None, max_examples=150)
@given(pairs=st.lists(st.tuples(NAMES, VALUES), max_size=5))
def test_urlencoded_fields_are_those_of_the_parser(oracle, pairs):
    """Found, missing and duplicated mean one, none and several of them."""
    body = "&".join(f"{name}={value.replace('=', '%3D')}" for name, value in pairs).encode()
    agree(oracle, URLENCODED, body)


@pytest.mark.parametrize("oracle", ORACLES.values(), ids=ORACLES.keys())
@hypothesis_settings(deadline=None, max_examples=150)
@given(body=multipart_parts())
def test_multipart_fields_are_those_of_the_parser(oracle, body):
    """Fields are fields, and files are none, whatever their name is."""
    agree(oracle, MULTIPART, body)


@pytest.mark.parametrize("oracle", ORACLES.values(), ids=ORACLES.keys())
@hypothesis_settings(deadline=None, max_examples=300)
@given(
    body=multipart_parts(),
    at=st.integers(0, 400),
    new=st.sampled_from([b"\r", b"\n", b"-", b'"', b";", b"", b"\0", b" "]),
)
@example(
    body=f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{FIELD}"\r\nContent-Type: a/b\r\n\r\nx\r\n'.encode()
    + f"--{BOUNDARY}--\r\n".encode(),
    at=len(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{FIELD}"\r\n'),
    new=b"\n",
)  # werkzeug's headers end there
def test_damaged_multipart_never_has_another_token(oracle, body, at, new):
    """A byte changed: where both still read it, both read the same; a body that either refuses is never served."""
    at = min(at, len(body) - 1)
    damaged = body[:at] + new + body[at + 1 :]
    state, value, _ = search(MULTIPART, damaged)
    seen = oracle(MULTIPART, damaged)
    if state == "found" and seen:
        # Where a value ends in a damaged body is read differently; which one it is must not be.
        assert any(each.startswith(value) or value.startswith(each) for each in seen)


def agree(oracle: Oracle, kind: str, body: bytes) -> None:
    state, value, _ = search(kind, body)
    seen = oracle(kind, body)
    if seen is None:
        return
    if state == "found":
        assert seen[:1] == [value]
    elif state == "missing":
        assert seen == []
    elif state == "duplicated":
        assert len(seen) > 1


GO = [
    # What `CrossOriginProtection` of Go 1.25 answers for a host `example.com`: method, headers, allowed.
    ("POST", {"sec-fetch-site": "same-origin"}, True),
    ("POST", {"sec-fetch-site": "none"}, True),
    ("POST", {"sec-fetch-site": "cross-site"}, False),
    ("POST", {"sec-fetch-site": "same-site"}, False),
    ("POST", {}, True),
    ("POST", {"origin": "https://example.com"}, True),
    ("POST", {"origin": "https://attacker.example"}, False),
    ("POST", {"origin": "null"}, False),
    ("GET", {"sec-fetch-site": "cross-site"}, True),
    ("HEAD", {"sec-fetch-site": "cross-site"}, True),
    ("OPTIONS", {"sec-fetch-site": "cross-site"}, True),
    ("PUT", {"sec-fetch-site": "cross-site"}, False),
]
DJANGO = [
    # What Django's origin check answers on https for the same host; a missing header is left to its Referer check.
    ("POST", {"origin": "https://example.com"}, True),
    ("POST", {"origin": "http://example.com"}, False),
    ("POST", {"origin": "https://example.com:4443"}, False),
    ("POST", {"origin": "https://sub.example.com"}, False),
    ("POST", {"origin": "null"}, False),
    ("POST", {"referer": "https://example.com/page"}, True),
    ("POST", {"referer": "http://example.com/page"}, False),
    ("POST", {"referer": "https://evil.example/https://example.com"}, False),
    ("GET", {"origin": "https://evil.example"}, True),
]


@pytest.mark.parametrize(("method", "headers", "allowed"), [*GO, *DJANGO])
def test_decision_where_no_token_is_asked_is_that_of_others(method, headers, allowed):
    """Mode `header`, with the public origin known: the same requests pass and the same are refused."""
    assert passes(method, headers) is allowed


def passes(method: str, headers: dict[str, str]) -> bool:
    if not is_unsafe(method):
        return True
    provenance = judge_provenance(
        **{name.replace("-", "_").replace("sec_", ""): [value] for name, value in {**_NONE, **headers}.items() if value}
        | {name.replace("-", "_").replace("sec_", ""): [] for name in _NONE if name not in headers},
        host="example.com",
        origins=Origins(frozenset({"https://example.com"})),
    )
    assert not needs_token("header", provenance)
    return decide("header", provenance, None, anonymous=True, credentials=False).allow


_NONE = {"sec-fetch-site": "", "origin": "", "referer": ""}
