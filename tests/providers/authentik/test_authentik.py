"""The Authentik driver against the stand-in: what sign-in allows beside the manifest, tokens that end, and bad days."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import closing
from datetime import UTC, datetime

import pytest
from tests.support.vendor_spec import Allowed, Spec

from dodai.core.errors import DodaiError
from dodai.providers.authentik.authentik_api import authentik
from dodai.providers.authentik.sign_in import AuthentikSignIn
from dodai.standins import ApiFault
from dodai.standins.authentik_standin import AuthentikStandIn
from dodai.vendor_api import Api, ApiToken

CANARY = "ak_c4n4ry"
CALLBACK = "https://quiz.example.com/auth/callback"
PUBLISHED = Spec(
    "authentik-v3-trimmed.json",
    "https://auth.example.com",
    allowed=(
        Allowed("health and discovery are outside of the REST schema", path="/-/health/"),
        Allowed("health and discovery are outside of the REST schema", path="/application/o/"),
        Allowed(
            "nullable beside an allOf, which the validator reads as not nullable",
            says=r"^(provider_obj|meta_icon_themed_urls): None",
        ),
        Allowed("Django REST Framework answers 404 for what is not there", status=404),
    ),
)


@pytest.fixture
def server():
    scopes = frozenset({"view_application", "view_oauth2provider", "view_token", "view_blueprintinstance"})
    with AuthentikStandIn({CANARY: scopes, "narrow": frozenset({"view_application"})}) as standin:
        standin.client["redirect_uris"] = [{"matching_mode": "strict", "url": CALLBACK}]
        yield standin


@pytest.fixture
def sign_in(server):
    with closing(Api(authentik(), server.url, ApiToken("AUTHENTIK_TOKEN", CANARY))) as api:
        yield AuthentikSignIn(
            lambda: api, server.url, "quiz", (CALLBACK,), client_id="quiz",
            now=lambda: datetime(2026, 11, 29, tzinfo=UTC),
        )  # fmt: skip


def seen(sign_in):
    return asyncio.run(sign_in.observe())


def test_sign_in_that_is_as_the_manifest_says_differs_in_nothing(server, sign_in):
    """Issuer, client, redirect URIs: all of them looked at, nothing changed."""
    state = seen(sign_in)
    assert (state.issuer, state.differs, state.remarks) == (f"{server.url}/application/o/quiz/", (), ())
    assert {one.path.split("/")[-2] for one in server.exchanges if "api" in one.path} >= {"quiz", "7", "tokens"}
    assert {one.method for one in server.exchanges} == {"GET"}


class Overheard(AuthentikStandIn):
    """Notes which address each question was put to, and with what token."""

    def answer(self, method, target, headers, content):
        self.heard = [*getattr(self, "heard", ()), (target, headers["host"], headers.get("authorization"))]
        return super().answer(method, target, headers, content)


def test_issuer_is_that_of_the_address_of_people_whatever_the_api_is_reached_at():
    """Authentik says the address that it was asked at; the token goes to the API alone."""
    with Overheard({CANARY: frozenset({"*"})}) as server:
        server.client["redirect_uris"] = [strict(CALLBACK)]
        people = server.url.replace("127.0.0.1", "localhost")
        with closing(Api(authentik(), server.url, ApiToken("AUTHENTIK_TOKEN", CANARY))) as api:
            state = seen(AuthentikSignIn(lambda: api, people, "quiz", (CALLBACK,)))
    assert (state.issuer, state.differs) == (f"{people}/application/o/quiz/", ())
    outside = [(host, token) for target, host, token in server.heard if "openid-configuration" in target]
    assert outside == [(people.removeprefix("http://"), None)]
    inside = {(host, token) for target, host, token in server.heard if target.startswith("/api/")}
    assert inside == {(server.url.removeprefix("http://"), f"Bearer {CANARY}")}


@pytest.mark.parametrize("typed", [True, False], ids=["2026.5", "before"])
def test_redirect_uris_are_judged_as_such_by_their_type(server, sign_in, typed):
    """An address for signing out is nobody's way in, and one for signing in has no need of a type."""
    server.types_uris = typed
    out = {"matching_mode": "regex", "url": "https://quiz.example.com/bye.*", "redirect_uri_type": "logout"}
    server.client["redirect_uris"] = [strict(CALLBACK), *([out] if typed else ())]
    assert seen(sign_in).differs == ()
    server.client["redirect_uris"] = [{**strict(CALLBACK), "redirect_uri_type": "logout"}]
    assert seen(sign_in).differs == (f"people cannot be sent back to `{CALLBACK}` after signing in",)


@dataclasses.dataclass(frozen=True)
class Drift:
    """What somebody changed in Authentik, and what is said."""

    id: str
    words: str
    client: dict = dataclasses.field(default_factory=dict)
    server: dict = dataclasses.field(default_factory=dict)
    sign_in: dict = dataclasses.field(default_factory=dict)


def strict(url):
    return {"matching_mode": "strict", "url": url}


DRIFTS = (
    Drift("redirect URI is missing", f"people cannot be sent back to `{CALLBACK}`", client={"redirect_uris": []}),
    Drift(
        "redirect URI with another slash",
        f"people cannot be sent back to `{CALLBACK}`",
        client={"redirect_uris": [strict(f"{CALLBACK}/")]},
    ),
    Drift(
        "one more redirect URI",
        "people may be sent to `https://old.example.com/cb` too",
        client={"redirect_uris": [strict(CALLBACK), strict("https://old.example.com/cb")]},
    ),
    Drift(
        "redirect URI that is a pattern",
        "is a regex: it may match somebody else's address",
        client={"redirect_uris": [strict(CALLBACK), {"matching_mode": "regex", "url": "https://.*"}]},
    ),
    Drift("another client", "the client id is `other`, not `quiz`", client={"client_id": "other"}),
    Drift("public client", "the client is `public`", client={"client_type": "public"}),
    Drift(
        "another issuer",
        "/`, not `http://",
        client={"issuer_mode": "global"},
    ),
    Drift("no PKCE", "PKCE with S256 is not offered", server={"challenges": ["plain"]}),
    Drift("no blueprint", "there is no blueprint `quiz`", sign_in={"blueprint": "quiz"}),
    Drift(
        "blueprint that failed",
        "the blueprint `quiz` is error",
        server={"blueprint": "error"},
        sign_in={"blueprint": "quiz"},
    ),
)


@pytest.mark.parametrize("drift", DRIFTS, ids=lambda drift: drift.id)
def test_each_difference_is_said_and_nothing_else(server, sign_in, drift):
    """One change, named with what it means for people who sign in."""
    server.client |= drift.client
    for name, value in drift.server.items():
        if name == "blueprint":
            server.shelf.add("quiz", status=value)
        else:
            setattr(server, name, value)
    differs = seen(dataclasses.replace(sign_in, **drift.sign_in)).differs
    assert any(drift.words in said for said in differs), differs
    assert len(differs) <= 2  # a redirect URI that changed is one too few and one too many


def test_tokens_that_end_soon_are_named_on_every_page(server, sign_in):
    """Fourteen days before; one that never ends, or later, is no news."""
    for number in range(60):
        server.token(f"never-{number}")
    server.token("later", "2027-11-29T00:00:00Z")
    server.token("soon", "2026-12-05T00:00:00Z")
    server.token("over", "2026-11-01T00:00:00Z")
    assert seen(sign_in).remarks == (
        "the token `soon` ends in 6 days (2026-12-05)",
        "the token `over` has ended (2026-11-01)",
    )


@dataclasses.dataclass(frozen=True)
class BadDay:
    """What is wrong, and what is said."""

    id: str
    code: str
    words: str
    token: str = CANARY
    server: dict = dataclasses.field(default_factory=dict)
    sign_in: dict = dataclasses.field(default_factory=dict)
    fault: ApiFault | None = None


BAD_DAYS = (
    BadDay("expired token", "DOD701", "does not accept `AUTHENTIK_TOKEN`", token=f"{CANARY}-expired"),
    BadDay("token that may not see clients", "DOD702", "answered 403", token="narrow"),
    BadDay("no such application", "DOD760", "has no application `other`", sign_in={"slug": "other"}),
    BadDay("application without a client", "DOD760", "has no provider", server={"clients": {}}),
    BadDay("not ready", "DOD705", "answered 503 to `GET /-/health/ready/`", server={"ready": False}),
    BadDay(
        "reply off the contract",
        "DOD707",
        "`$.slug` should be there",
        fault=ApiFault(kind="off contract", where="applications"),
    ),
)


@pytest.mark.parametrize("day", BAD_DAYS, ids=lambda day: day.id)
def test_bad_day_is_a_coded_error_without_token_or_client_secret(server, sign_in, day, monkeypatch):
    """What could not be looked at is no difference and no agreement."""
    secret = server.client["client_secret"]
    for name, value in day.server.items():
        setattr(server, name, value)
    if day.fault:
        server.faults.add(day.fault)
    with closing(Api(authentik(), server.url, ApiToken("AUTHENTIK_TOKEN", day.token), pause=lambda *_: None)) as api:
        clock = iter(range(10**6))
        api.clock = lambda: float(next(clock))  # the deadline comes after as many looks
        asked = dataclasses.replace(sign_in, connect=lambda: api, **day.sign_in)
        with pytest.raises(DodaiError) as caught:
            seen(asked)
    error = caught.value
    assert (error.code.id, day.words in error.message) == (day.code, True), error
    assert CANARY not in f"{error!r}{error}{asked!r}"
    assert secret not in f"{error!r}{error}{asked!r}"


@pytest.mark.optional_part("vendor-specs")
def test_driver_and_stand_in_keep_to_the_published_specification(server, sign_in):
    """Every request and every reply, an error among them."""
    server.shelf.add("quiz", status="successful")
    server.token("soon", "2026-12-05T00:00:00Z")
    server.token("never")
    seen(dataclasses.replace(sign_in, blueprint="quiz"))
    with pytest.raises(DodaiError):
        seen(dataclasses.replace(sign_in, slug="other"))
    verdict = PUBLISHED.judge(server.exchanges)
    assert verdict.problems == ()
    assert verdict.official >= 3
    assert verdict.official + verdict.allowed == len(server.exchanges)
