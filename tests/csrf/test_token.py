"""The token: every vector of `spec/csrf/token.json`, and what holds for all tokens."""

from __future__ import annotations

import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodai.core.errors import DodaiError
from dodai.csrf.token import (
    GRACE_S,
    TOKEN,
    decode_nonce,
    encode_nonce,
    first_nonce,
    is_anonymous,
    is_contemporary,
    issue,
    keyed,
    new_nonce,
    parse_key_ring,
    verify,
)

SPEC = json.loads((Path(__file__).parents[2] / "spec/csrf/token.json").read_text())
RING = parse_key_ring(SPEC["issue"][0]["ring"])


@pytest.mark.parametrize("vector", SPEC["issue"], ids=lambda vector: vector["name"])
def test_issued_token_vector(vector):
    """With the same key, nonce, subject, time and random bytes the token is the same everywhere."""
    token = issue(
        parse_key_ring(vector["ring"]),
        nonce=decode_nonce(vector["nonce"]),
        subject=vector["subject"],
        now_s=vector["now"],
        random=bytes.fromhex(vector["random"]),
    )
    assert token == vector["token"]


@pytest.mark.parametrize("vector", SPEC["verify"], ids=lambda vector: vector["name"])
def test_verified_token_vector(vector):
    """What a token is worth is the same everywhere."""
    verdict = verify(
        parse_key_ring(vector["ring"]),
        vector["token"],
        nonce=decode_nonce(vector["nonce"]) if vector["nonce"] else None,
        subject=vector["subject"],
        now_s=vector["now"],
        max_age_s=vector["maxAge"],
    )
    assert verdict == vector["verdict"]


def test_there_are_at_least_40_vectors():
    """The plan asks for 40; a vector that is lost is noticed."""
    assert len(SPEC["verify"]) >= 40


@pytest.mark.parametrize("row", SPEC["nonce"]["good"], ids=lambda row: row["text"])
def test_good_nonce_vector(row):
    """A nonce keeps its bytes and its class through the cookie."""
    nonce = decode_nonce(row["text"])
    assert nonce is not None
    assert (nonce.hex(), is_anonymous(nonce), encode_nonce(nonce)) == (row["hex"], row["anonymous"], row["text"])


@pytest.mark.parametrize("text", SPEC["nonce"]["bad"])
def test_bad_nonce_is_none(text):
    """A cookie that is not ours to the last bit is treated as absent."""
    assert decode_nonce(text) is None


@pytest.mark.parametrize("row", SPEC["nonce"]["made"])
def test_made_nonce_vector(row):
    """The class in the first bit, the time in the last four bytes, what is random between them."""
    nonce = new_nonce(bytes.fromhex(row["random"]), signed_in=row["signedIn"], now_s=row["now"])
    assert encode_nonce(nonce) == row["text"]


@pytest.mark.parametrize("row", SPEC["nonce"]["first"], ids=lambda row: row["subject"])
def test_first_nonce_vector(row):
    """A visitor with a subject and no cookie gets the same one from every tier."""
    assert encode_nonce(first_nonce(parse_key_ring(row["ring"]), row["subject"])) == row["text"]


@pytest.mark.parametrize("row", SPEC["ring"]["good"], ids=lambda row: row[0])
def test_good_ring_vector(row):
    """A ring keeps the order of its keys: the first signs."""
    assert [key.kid for key in parse_key_ring(row[1]).keys] == row[2]


@pytest.mark.parametrize("row", SPEC["ring"]["bad"], ids=lambda row: row[0])
def test_bad_ring_is_refused_without_showing_a_key(row):
    """A ring that cannot be used stops the start, and the message never contains key material."""
    with pytest.raises(DodaiError) as caught:
        parse_key_ring(row[1])
    assert caught.value.code.id == "DOD180"
    assert not any(
        len(secret) > 8 and secret in str(caught.value) for secret in row[1].replace(",", ":").split(":")[1::2]
    )


def test_key_ring_never_prints_its_keys():
    """A ring in a traceback or a log shows key ids only."""
    assert repr(RING) == "KeyRing(k001)"
    assert "mac" not in repr(RING.keys[0])


@given(random=st.binary(min_size=16, max_size=16), nonce=st.binary(min_size=16, max_size=16), subject=st.text())
def test_every_token_has_the_grammar_and_verifies(random, nonce, subject):
    """Whatever nonce and subject, a token has 103 characters of the grammar and is valid for its own visitor."""
    token = issue(RING, nonce=nonce, subject=subject, now_s=1_795_000_000, random=random)
    assert TOKEN.fullmatch(token)
    assert verify(RING, token, nonce=nonce, subject=subject, now_s=1_795_000_000, max_age_s=60) == "valid"


@given(st.data())
def test_no_altered_token_is_valid(data):
    """Replacing any one character makes the token worthless."""
    nonce = bytes(16)
    token = issue(RING, nonce=nonce, now_s=1_795_000_000, random=data.draw(st.binary(min_size=16, max_size=16)))
    index = data.draw(st.integers(0, len(token) - 1))
    char = data.draw(st.characters().filter(lambda c: c != token[index]))
    altered = token[:index] + char + token[index + 1 :]
    assert verify(RING, altered, nonce=nonce, now_s=1_795_000_000, max_age_s=60) != "valid"


@given(st.text())
def test_arbitrary_text_is_never_a_token(text):
    """No text makes verification raise."""
    assert verify(RING, text, nonce=None, now_s=0, max_age_s=60) == "malformed"


@given(st.binary(min_size=16, max_size=16), st.booleans(), st.integers(GRACE_S, 2**32 - 1 - GRACE_S))
def test_new_nonce_says_whether_login_was_called_and_when_it_was_made(random, signed_in, now_s):
    """The class and the time of a nonce survive whatever the random bytes are."""
    nonce = new_nonce(random, signed_in=signed_in, now_s=now_s)
    assert len(nonce) == 16
    assert is_anonymous(nonce) is not signed_in
    for far, near in ((0, True), (GRACE_S, True), (GRACE_S + 1, False)):
        for issued in (now_s - far, now_s + far):
            if 0 <= issued < 2**32:
                assert is_contemporary(issue(RING, nonce=nonce, now_s=issued, random=random), nonce) is near


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_keyed_hash_is_hmac_sha256(secret, message):
    """The faster form computes RFC 2104, for keys shorter and longer than a block."""
    assert keyed(secret)(message) == hmac.digest(secret, message, "sha256")
