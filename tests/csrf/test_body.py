"""The search for the token in a form: what is found, what is refused, and that chunking never matters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.csrf.driver import FORM, multipart

from dodai.csrf.body import BUFFER_BYTES, open_search, parse_parameters

LIMIT = 64 * 1024
MULTIPART = "multipart/form-data; boundary=XbOuNdArY"


def search(kind: str, *chunks: bytes, limit: int = LIMIT) -> tuple[str, str, int]:
    """(state, value, number of chunks that were looked at)."""
    opened = open_search([kind.encode("latin-1")], "csrf_token", limit)
    if isinstance(opened, str):
        return opened, "", 0
    for index, chunk in enumerate(chunks):
        if opened.feed(chunk, last=index == len(chunks) - 1) != "more":
            return opened.state, opened.value, index + 1
    return opened.state, opened.value, len(chunks)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"csrf_token=abc", ("found", "abc")),
        (b"a=1&csrf_token=abc&b=2", ("found", "abc")),
        (b"csrf_token=a%2Eb%2ec", ("found", "a.b.c")),
        (b"csrf%5Ftoken=abc", ("found", "abc")),
        (b"%63%73%72%66_token=abc", ("found", "abc")),
        (b"csrf_token=", ("found", "")),
        (b"csrf_token", ("found", "")),
        (b"csrf_token=a=b", ("found", "a=b")),
        (b"csrf_token=%zz%", ("found", "%zz%")),
        (b"csrf_token=a+b", ("found", "a b")),
        (b"csrf_token=%00%0d%0a", ("found", "\0\r\n")),
        (b"csrf_token=\xff\xfe", ("found", "\xff\xfe")),
        (b"", ("missing", "")),
        (b"a=1", ("missing", "")),
        (b"CSRF_TOKEN=abc", ("missing", "")),
        (b"csrf_token[]=abc", ("missing", "")),
        (b"xcsrf_token=abc", ("missing", "")),
        (b"csrf_tokenx=abc", ("missing", "")),
        (b"a=csrf_token=abc", ("missing", "")),
        (b"a=1;csrf_token=abc", ("missing", "")),
        (b"&&&&", ("missing", "")),
        (b"csrf_token=abc&csrf_token=abc", ("duplicated", "")),
        (b"csrf_token=abc&csrf%5ftoken=def", ("duplicated", "")),
        (b"csrf_token&csrf_token=def", ("duplicated", "")),
    ],
)
def test_urlencoded_field(body, expected):
    """The field is found by its decoded name, exactly once, or not at all."""
    assert search(FORM, body)[:2] == expected


def test_urlencoded_field_beyond_the_window_is_too_late():
    """A field behind 64 KiB of other fields is refused with a reason that says so."""
    assert search(FORM, b"a=" + b"x" * LIMIT + b"&csrf_token=abc")[0] == "too_late"


def test_urlencoded_field_cut_by_the_window_is_not_half_a_token():
    """A value that the window cuts in two is never taken for a shorter one."""
    assert search(FORM, b"a=" + b"x" * (LIMIT - 16) + b"&csrf_token=abcdef")[0] == "too_late"


def test_urlencoded_search_stops_reading_at_its_window():
    """An endless form is given up after 64 KiB."""
    state, _, chunks = search(FORM, *[b"x" * 1024] * 1000)
    assert (state, chunks) == ("too_late", 65)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("application/json", "missing"),
        ("text/plain", "missing"),
        ("", "missing"),
        ("multipart/mixed; boundary=x", "missing"),
        ("multipart/form-data", "unreadable"),
        ("multipart/form-data; boundary=", "unreadable"),
        ('multipart/form-data; boundary=""', "unreadable"),
        ("multipart/form-data; boundary=a; boundary=b", "unreadable"),
        ("multipart/form-data; boundary=" + "x" * 71, "unreadable"),
        ('multipart/form-data; boundary="a\\\r\nb"', "unreadable"),
        ('multipart/form-data; boundary="a ', "unreadable"),
        ('multipart/form-data; boundary="a "', "unreadable"),
        ("multipart/form-data; boundary=\xe9", "unreadable"),
        ("multipart/form-data; boundary", "unreadable"),
        ("multipart/form-data, application/json; boundary=x", "missing"),
    ],
)
def test_content_type_without_readable_form(kind, expected):
    """A type that has no fields, or contradicts itself, is known before the first byte is read."""
    assert search(kind, b"anything") == (expected, "", 0)


@pytest.mark.parametrize(
    "kind",
    [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-URLencoded",
        "application/x-www-form-urlencoded;charset=utf-16",
        " application/x-www-form-urlencoded ; charset=UTF-8",
    ],
)
def test_content_type_is_read_in_any_case_and_charsets_change_nothing(kind):
    """The body is bytes: a charset parameter cannot hide the field or invent one."""
    assert search(kind, b"csrf_token=abc")[:2] == ("found", "abc")


def test_two_content_types_are_unreadable():
    """Two headers could make the application parse what was not searched."""
    assert open_search([b"text/plain", FORM.encode()], "csrf_token", LIMIT) == "unreadable"


@pytest.mark.parametrize(
    "kind",
    [
        MULTIPART,
        'multipart/form-data; boundary="XbOuNdArY"',
        "Multipart/Form-Data;BOUNDARY=XbOuNdArY",
        "multipart/form-data; charset=utf-7; boundary=XbOuNdArY",
        "multipart/form-data; boundary=XbOuNdArY;",
    ],
)
def test_boundary_is_read_in_every_usual_form(kind):
    """Quoted, unquoted, in any case, with other parameters."""
    assert search(kind, multipart(("csrf_token", b"abc"))[1])[:2] == ("found", "abc")


def part(headers: str, data: str) -> bytes:
    return f"--XbOuNdArY\r\n{headers}\r\n\r\n{data}\r\n".encode("latin-1")


END = b"--XbOuNdArY--\r\n"
FIELD = 'Content-Disposition: form-data; name="csrf_token"'
OTHER = 'Content-Disposition: form-data; name="a"'
FILE = 'Content-Disposition: form-data; name="f"; filename="f.bin"'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (part(FIELD, "abc") + END, ("found", "abc")),
        (b"preamble\r\n" + part(FIELD, "abc") + END, ("found", "abc")),
        (part(OTHER, "1") + part(FIELD, "abc") + END, ("found", "abc")),
        (part(FIELD, "abc") + part(FILE, "data") + END, ("found", "abc")),
        (part(FILE, "small") + part(FIELD, "abc") + END, ("found", "abc")),
        (part(FIELD, "") + END, ("found", "")),
        (part("content-disposition: FORM-DATA; name=csrf_token", "abc") + END, ("found", "abc")),
        (part(f"X-Other: 1\r\n{FIELD}\r\nContent-Type: text/plain", "abc") + END, ("found", "abc")),
        (part('Content-Disposition: form-data; name="csrf\\_token"', "abc") + END, ("found", "abc")),
        (part(FIELD, "a\r\n--XbOu\r\nb") + END, ("found", "a\r\n--XbOu\r\nb")),
        (part(FIELD, "abc").replace(b"\r\nContent", b"  \t\r\nContent") + END, ("found", "abc")),
        (END, ("missing", "")),
        (part(OTHER, "1") + END, ("missing", "")),
        (part(FIELD + '; filename="x"', "abc") + END, ("missing", "")),
        (part(FIELD + "; filename=", "abc") + END, ("missing", "")),
        (part(FIELD + "; filename*=utf-8''x", "abc") + END, ("missing", "")),
        (part("X-Nothing: 1", "abc") + END, ("missing", "")),
        (part('Content-Disposition: form-data; filename="name=csrf_token"', "abc") + END, ("missing", "")),
        (part('Content-Disposition: form-data; name="CSRF_TOKEN"', "abc") + END, ("missing", "")),
        (part(OTHER, FIELD + "\r\n\r\nabc") + END, ("missing", "")),
        (part(FILE, FIELD + "\r\n\r\nabc") + END, ("missing", "")),
        (part(FIELD, "abc") + part(FIELD, "def") + END, ("duplicated", "")),
        (part(FIELD, "abc") + part(FIELD, "abc"), ("duplicated", "")),
        (part('Content-Disposition: form-data; name="csrf_token"; name="a"', "abc") + END, ("unreadable", "")),
        (part(FIELD + "\r\n" + OTHER, "abc") + END, ("unreadable", "")),
        (part(OTHER + "\r\n folded: csrf_token", "abc") + END, ("unreadable", "")),
        (part('Content-Disposition: attachment; name="csrf_token"', "abc") + END, ("unreadable", "")),
        (part('Content-Disposition: form-data; name="csrf_token', "abc") + END, ("unreadable", "")),
        (b"--XbOuNdArYx\r\n" + FIELD.encode() + b"\r\n\r\nabc\r\n" + END, ("unreadable", "")),
        (b"--XbOuNdArY\n" + FIELD.encode() + b"\n\nabc\n--XbOuNdArY--\n", ("unreadable", "")),
        (part(FIELD + "\r\n\nontent-Type: text/plain", "abc") + END, ("unreadable", "")),
        (part(FIELD + "\r\nContent-Type: text/plain\r", "abc") + END, ("unreadable", "")),
        (part(OTHER + "\nX: 1", "1") + part(FIELD, "abc") + END, ("unreadable", "")),
        (b"", ("unreadable", "")),
        (b"nothing at all", ("unreadable", "")),
        (part(FIELD, "abc")[:-2], ("unreadable", "")),
        (b"--XbOuNdArY\r\n" + FIELD.encode() + b"\r\n" + b"X: " + b"y" * 20000, ("unreadable", "")),
    ],
)
def test_multipart_field(body, expected):
    """The field is a part with that name and without a file name, exactly once."""
    assert search(MULTIPART, body)[:2] == expected


def test_multipart_search_stops_at_the_first_chunk_when_the_token_stands_first():
    """A large upload is not read before the decision."""
    _, body = multipart(("csrf_token", b"abc"), ("f", b"x" * 1_000_000, "f.bin"))
    chunks = [body[i : i + 65536] for i in range(0, len(body), 65536)]
    assert search(MULTIPART, *chunks) == ("found", "abc", 1)


def test_multipart_token_behind_a_large_file_is_too_late():
    """A quarter of a MiB is held back at most; a token behind more than that is refused, and the message says where to put it."""
    _, body = multipart(("f", b"x" * 2_000_000, "f.bin"), ("csrf_token", b"abc"))
    chunks = [body[i : i + 65536] for i in range(0, len(body), 65536)]
    state, _, count = search(MULTIPART, *chunks)
    assert state == "too_late"
    assert count * 65536 <= BUFFER_BYTES + 65536


def test_multipart_token_behind_large_fields_is_too_late():
    """Other fields, and what stands in front of the first part, count towards 64 KiB."""
    _, body = multipart(("a", b"x" * LIMIT), ("csrf_token", b"abc"))
    assert search(MULTIPART, body)[0] == "too_late"
    assert search(MULTIPART, b"x" * (LIMIT + 1) + b"\r\n", body)[0] == "too_late"


@given(
    st.lists(st.tuples(st.sampled_from(["a", "csrf_token", "f"]), st.binary(max_size=40), st.booleans()), max_size=5),
    st.data(),
)
def test_chunking_never_changes_the_outcome_of_multipart(parts, data):
    """However a body is cut, the state and the value are the same."""
    kind, body = multipart(*[(n, d, "x") if is_file else (n, d) for n, d, is_file in parts])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    chunks = [body[i:j] for i, j in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert search(kind, *chunks)[:2] == search(kind, body)[:2]


@given(st.binary(max_size=200), st.data())
def test_chunking_never_changes_the_outcome_of_any_bytes(noise, data):
    """Neither for bodies that are no form at all."""
    for kind in (FORM, MULTIPART):
        body = noise.replace(b"|", b"--XbOuNdArY").replace(b"~", b"csrf_token=")
        cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=4)))
        chunks = [body[i:j] for i, j in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        assert search(kind, *chunks)[:2] == search(kind, body)[:2]


def test_one_byte_at_a_time_costs_no_quadratic_time():
    """A body of half a million messages of one byte is searched within the window."""
    chunks = [b"x"] * (LIMIT + 1)
    assert search(FORM, *chunks)[0] == "too_late"


@pytest.mark.parametrize("text", [b"; a", b"; =b", b'; a="b', b"; a=b; a=c", b"; a=b c", b"x; a=b"])
def test_malformed_parameters_are_none(text):
    """A parameter list that two parsers could read differently is refused."""
    assert parse_parameters(text) is None
