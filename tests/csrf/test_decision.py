"""The decision: every vector of `spec/csrf/decision.json`, and what no vector can list."""

from __future__ import annotations

import calendar
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodai.core.errors import DodaiError
from dodai.csrf.decision import (
    OVERRIDES,
    Decision,
    Origins,
    carries_credentials,
    configure_origins,
    decide,
    decide_exempt,
    decide_websocket,
    judge_provenance,
    needs_token,
    parse_origin,
    told_as_over,
)
from dodai.csrf.enforce.asgi_layer import is_unsafe
from dodai.csrf.enforce.csrf_protection import CsrfProtection, collect
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.token import parse_key_ring
from dodai.frameworks import MatchedRoute

EXEMPTIONS = json.loads((Path(__file__).parents[2] / "spec/csrf/exemption.json").read_text())
SPEC = json.loads((Path(__file__).parents[2] / "spec/csrf/decision.json").read_text())
ORIGINS = Origins(frozenset({"https://app.example.com"}))


def judge(vector: dict[str, Any]) -> Decision:
    """The decision for a vector, by the functions in the order in which the layer calls them."""
    raw = [(name.encode(), value.encode("utf-8").decode("latin-1")) for name, value in vector["headers"]]
    if not vector["websocket"] and not is_unsafe(vector["method"], [(name, b"") for name, _ in raw]):
        return Decision(True, "safe")
    over = None
    if vector["exemption"] and OVERRIDES.isdisjoint(name for name, _ in raw):
        exempt = decide_exempt(holds=vector["exemption"] == "holds")
        if exempt.allow:
            return exempt
        over = exempt
    provenance = judge_provenance(
        fetch_site=[value for name, value in raw if name == b"sec-fetch-site"],
        origin=[value for name, value in raw if name == b"origin"],
        referer=[value for name, value in raw if name == b"referer"],
        host=vector["host"],
        origins=configure_origins(vector["public"], vector["trusted"]),
    )
    if vector["websocket"]:
        return told_as_over(decide_websocket(provenance), over)
    if vector["token"] is None:
        assert not needs_token(vector["mode"], provenance)
    cookie, passwords = [[value for name, value in raw if name == each] for each in (b"cookie", b"authorization")]
    credentials = carries_credentials(cookie=bool(cookie), authorization=passwords)
    judged = decide(vector["mode"], provenance, vector["token"], anonymous=vector["anonymous"], credentials=credentials)
    return told_as_over(judged, over)


@pytest.mark.parametrize("vector", SPEC["vectors"], ids=lambda vector: vector["name"])
def test_decision_vector(vector):
    """The decision, its reason and its status are those of the specification."""
    decision = judge(SPEC["defaults"] | vector)
    assert (decision.allow, decision.reason, decision.status) == (vector["allow"], vector["reason"], vector["status"])
    assert (decision.code is None) == decision.allow


@pytest.mark.parametrize("vector", EXEMPTIONS["vectors"], ids=lambda vector: vector["name"])
def test_exemption_vector(vector):
    """Which request an exemption is for, and until when, is the same in every web tier."""
    at = calendar.timegm(time.strptime(vector["today"], "%Y-%m-%d"))
    gate = CsrfProtection.of(
        CsrfPolicy.from_manifest({"exemption": vector["exemptions"]}).of_service(vector.get("service", "web"), {}),
        parse_key_ring("k001:6KmH-XtgmFGnfhDW1IE47w5Rj0a58doRRboYOtAvk1M"),
        ["https://app.example.com"],
        find=lambda _: MatchedRoute(vector["route"], None, watched=True),
        watched=True,
        clock=lambda: at,
    )
    sent = collect([(name.encode(), value.encode()) for name, value in vector["headers"]])
    exempt, over = gate.exemption(gate.route({}, sent), sent)
    assert (over and over.reason if exempt is None else exempt.reason) == vector["answer"]
    assert exempt is None or (exempt.allow and over is None)


def test_there_are_at_least_150_vectors():
    """The plan asks for 150; a vector that is lost is noticed."""
    assert len(SPEC["vectors"]) >= 150


@given(st.text(), st.text(), st.text(), st.text())
def test_no_header_value_makes_the_decision_fail(fetch_site, origin, referer, host):
    """Whatever a client sends, the answer is one of four states and never an exception."""
    provenance = judge_provenance(
        fetch_site=[fetch_site] if fetch_site else [],
        origin=[origin] if origin else [],
        referer=[referer],
        host=host,
        origins=ORIGINS,
    )
    assert provenance.state in {"same", "trusted", "unknown", "hostile"}


@given(st.text(alphabet="htps:/.[]@%0123456789abcdefAPP \t\r\n\\?#", max_size=60))
def test_a_parsed_origin_parses_to_itself(text):
    """Normalising twice changes nothing, so configured and received origins compare equal."""
    origin = parse_origin(text)
    assert origin is None or parse_origin(origin) == origin


@pytest.mark.parametrize("origin", ["app.example.com", "https://app.example.com/", "https://日本.example", "*", ""])
def test_an_origin_that_no_browser_sends_is_refused_when_the_app_starts(origin):
    """A typo in the manifest is a coded error, not a site that refuses everybody."""
    with pytest.raises(DodaiError) as caught:
        configure_origins([origin])
    assert caught.value.code.id == "DOD181"
