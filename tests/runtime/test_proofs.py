"""IdentityProofs that are used again: for how long, for whom, and what is never remembered."""

from __future__ import annotations

import pytest

from dodai.runtime.identity import LIFETIME_S, PROOF_HEADER, REUSED_S, IdentityProofs, ProofKeyRing, sign

RING = ProofKeyRing.parse("k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY")
OTHER = ProofKeyRing.parse("k1:YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU")
NOW = 1_795_465_497.0
ID = "01a20a154cc271afb17c548fca6d98ca"


def proof(proofs: IdentityProofs, now_s: float, user: str = "u-1", audience: str = "backend") -> str:
    return dict(proofs.headers(audience, user, now_s))[PROOF_HEADER]


def test_proof_serves_the_calls_of_a_user_to_a_service_for_twenty_seconds():
    """And no other user, no other service, and not when the clock was set back."""
    proofs = IdentityProofs(RING)
    first = proof(proofs, NOW)
    assert proof(proofs, NOW + REUSED_S - 1) == first
    assert proof(proofs, NOW, user="u-2") != first
    assert proof(proofs, NOW, audience="billing") != first
    assert proof(proofs, NOW + REUSED_S) != first
    assert proof(proofs, NOW - 1) != first


@pytest.mark.parametrize(
    ("audience", "user", "later_s", "good"),
    [
        ("backend", "u-1", 0.0, True),
        ("backend", "u-1", LIFETIME_S + 4.0, True),
        ("backend", "u-1", LIFETIME_S + 6.0, False),
        ("backend", "u-1", -LIFETIME_S, False),
        ("backend", "u-2", 0.0, False),
        ("backend", "", 0.0, False),
        ("billing", "u-1", 0.0, False),
    ],
)
def test_proof_that_was_found_good_is_good_for_the_same_and_as_long(audience, user, later_s, good):
    """What is remembered says no more than what was verified."""
    proofs, sent = IdentityProofs(RING), sign(RING, audience="backend", user_id="u-1", now_s=NOW)
    assert proofs.hold(sent, audience="backend", request_id=ID, user_id="u-1", now_s=NOW)
    assert proofs.hold(sent, audience=audience, request_id=ID, user_id=user, now_s=NOW + later_s) is good


def test_proof_of_others_is_never_remembered():
    """Whoever has no key puts nothing into the memory of this process."""
    proofs = IdentityProofs(RING)
    for index in range(100):
        sent = sign(OTHER, audience="backend", user_id=f"u-{index}", now_s=NOW)
        assert not proofs.hold(sent, audience="backend", request_id=ID, user_id=f"u-{index}", now_s=NOW)
    assert not proofs._good


def test_proofs_that_are_kept_are_bounded():
    """A service with a million users keeps a few thousand."""
    proofs = IdentityProofs(RING)
    for index in range(10_000):
        sent = proof(proofs, NOW, user=f"u-{index}")
        assert proofs.hold(sent, audience="backend", request_id=ID, user_id=f"u-{index}", now_s=NOW)
    assert max(len(proofs._made), len(proofs._good)) <= 4096


def test_without_keys_there_is_a_user_and_no_proof():
    """Who gets it takes the user as claimed."""
    assert IdentityProofs(ProofKeyRing()).headers("backend", "u-1", NOW) == (("x-user-id", "u-1"),)
    assert IdentityProofs(ProofKeyRing()).headers("backend", "", NOW) == ()
