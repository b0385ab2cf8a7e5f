"""A canary beside the rest, by the alert engine: what is worse, what only looks so, and what nobody can tell."""

from __future__ import annotations

import json

import pytest

from dodai.observability.policy import ObservabilityPolicy
from dodai.observability.run.canary_judge import CanaryTraffic

NOW = 1_795_900_000.0
POLICY = ObservabilityPolicy.from_manifest({})


def lines(version, count, failed=0, ms=20.0, **more):
    made = []
    for number in range(count):
        bad = number < failed
        line = {
            "ts": NOW + number / 100,
            "type": "http",
            "service": "web",
            "version": version,
            "method": "GET",
            "route": "/quiz",
            "status": 500 if bad else 200,
            "outcome": "server_error" if bad else "ok",
            "latencyMs": ms,
            "requestId": f"{version}-{number}",
            **more,
        }
        made.append(json.dumps(line).encode())
    return made


def verdict(*groups, least=20):
    traffic = CanaryTraffic("web", "new", POLICY, frozenset({"/readyz"}), least)
    try:
        for group in groups:
            traffic.add(group, NOW + 5)
        return traffic.verdict(NOW + 5)
    finally:
        traffic.close()


WORSE = {
    "errors": (lines("new", 40, failed=6), lines("old", 100), "error-ratio 15 % of 40 requests, the rest 0 % of 100"),
    "slow": (lines("new", 40, ms=3000.0), lines("old", 100), "p95-ms"),
    "errors where nobody else serves": (lines("new", 40, failed=6), [], "the rest too few to say"),
    "twice as bad as a rest that is bad": (lines("new", 40, failed=30), lines("old", 100, failed=20), "75 %"),
}
AS_GOOD = {
    "same": (lines("new", 40), lines("old", 100)),
    "two failures say nothing": (lines("new", 40, failed=2), lines("old", 100)),
    "as bad as the rest": (lines("new", 40, failed=8), lines("old", 100, failed=20)),
    "as slow as the rest": (lines("new", 40, ms=3000.0), lines("old", 100, ms=2900.0)),
    "probes are nobody's requests": (lines("new", 40), lines("new", 40, failed=40, route="/readyz")),
    "another service": (lines("new", 40), lines("new", 40, failed=40, service="backend")),
    "no version said": (lines("new", 40), lines("", 40, failed=40)),
    "torn": (lines("new", 40), [b"{", b"[]", b"", b"null"]),
}


@pytest.mark.parametrize("case", WORSE.values(), ids=WORSE)
def test_canary_that_is_worse_than_the_rest_is_told_with_both_figures_and_requests_to_look_at(case):
    """Both the threshold of the manifest and the rest are exceeded."""
    found = verdict(case[0], case[1])
    assert len(found.worse) == 1
    assert case[2] in found.worse[0]
    assert found.samples
    assert all(one.startswith("new-") for one in found.samples)


@pytest.mark.parametrize("case", AS_GOOD.values(), ids=AS_GOOD)
def test_canary_that_is_no_worse_is_not_blamed(case):
    """What all have is not the canary's, and what is not its own is not counted."""
    found = verdict(*case)
    assert found.worse == ()
    assert found.requests == 40


def test_too_few_requests_say_nothing_and_are_counted():
    """Nineteen failures of nineteen are no verdict where twenty are asked for; the number is what decides."""
    found = verdict(lines("new", 19, failed=19), lines("old", 100))
    assert (found.requests, found.rest, found.worse) == (19, 100, ())
    assert verdict(lines("new", 20, failed=20), lines("old", 100)).worse


def test_no_traffic_at_all_is_a_count_of_nothing():
    """It is for whoever asks to say what that means."""
    found = verdict([], [])
    assert (found.requests, found.rest, found.worse, found.seen) == (0, 0, (), ())
