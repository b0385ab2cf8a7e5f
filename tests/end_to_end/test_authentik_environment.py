"""An environment whose people sign in at an Authentik: what differs is said, and never holds up a deploy."""

from __future__ import annotations

import pytest
from tests.end_to_end.small_app import SmallApp

from dodai.standins.authentik_standin import AuthentikStandIn

CANARY = "ak_c4n4ry"
CALLBACK = "https://quiz.example.com/auth/callback"


@pytest.fixture
def server():
    with AuthentikStandIn({CANARY: frozenset({"*"})}) as standin:
        yield standin


@pytest.fixture
def app(tmp_path, server):
    small = SmallApp(tmp_path)
    people = server.url.replace("127.0.0.1", "localhost")
    table = f'{{ url = "{people}", application = "quiz", redirect_uris = ["{CALLBACK}"] }}'
    small.write(environment=f'identity = "authentik"\nauthentik = {table}')
    yield small
    small.clear()


def test_sign_in_that_differs_is_said_by_doctor_and_preflight_and_a_deploy_goes_on(app, server):
    """A redirect URI that is missing, an Authentik that is away, a token that it does not know: said, with the reason."""
    said = []

    def run(*words, code=0, token=CANARY):
        done = app.run(*words, AUTHENTIK_TOKEN=token, AUTHENTIK_URL=server.url)
        said.append(done.stdout + done.stderr)
        assert done.returncode == code, done.stderr
        return done

    lacks = f"people cannot be sent back to `{CALLBACK}` after signing in"
    assert lacks in run("doctor", "staging").stdout
    assert f"sign-in: {lacks}" in run("deploy", "staging", "--yes").stderr
    server.client["redirect_uris"] = [{"matching_mode": "strict", "url": CALLBACK}]
    assert "/application/o/quiz/ is as the manifest says" in run("doctor", "staging").stdout

    app.write(
        spoil="# second",
        environment=(app.folder / "dodai.toml").read_text().split("[env.staging]\n")[1].split("\n[service")[0],
    )
    unknown = run("deploy", "staging", "--yes", token=f"{CANARY}-old")
    assert "sign-in: not seen: Authentik does not accept `AUTHENTIK_TOKEN`" in unknown.stderr
    assert "DOD700" not in unknown.stderr
    assert CANARY not in "".join(said)
    assert server.client["client_secret"] not in "".join(said)


def test_provider_that_knows_no_accounts_cannot_be_named_for_them(app):
    """`identity = "postgres"` is a mistake, and said to be one."""
    app.write(environment='identity = "postgres"')
    refused = app.run("deploy", "staging", "--yes")
    assert refused.returncode == 2
    assert "DOD010" in refused.stderr
    assert "the provider `postgres` has no identity" in refused.stderr
