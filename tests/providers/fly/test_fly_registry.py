"""Images in registries: Fly's own with the token, others as everybody may read them."""

from __future__ import annotations

import pytest
from tests.support.fly_world import TOKEN

from dodai.core.errors import DodaiError
from dodai.providers.fly.registry_api import Registry, place_of
from dodai.standins import ApiFault
from dodai.standins.fly import MachineImage, RegistryStandIn
from dodai.standins.fly.image_registry import PublicRegistryStandIn
from dodai.vendor_api import ApiToken

DIGEST = "sha256:" + "a" * 64
CREDENTIAL = ApiToken("FLY_API_TOKEN", TOKEN, "FlyV1")


@pytest.fixture
def elsewhere():
    with PublicRegistryStandIn() as registry:
        registry.public.add(("acme/web", DIGEST))
        yield registry


def prove(host: str, image: str, own: str = "registry.fly.io") -> None:
    Registry(own, lambda: CREDENTIAL).prove(f"{host}/{image}")


def test_public_image_elsewhere_is_read_with_a_token_that_is_given_to_anybody(elsewhere):
    """As Docker's and GitHub's registries have it, also for what is public; nothing of ours goes there."""
    prove(elsewhere.host, f"acme/web@{DIGEST}")
    assert [(one.method, one.path, one.status) for one in elsewhere.exchanges] == [
        ("HEAD", f"/v2/acme/web/manifests/{DIGEST}", 401),
        ("GET", "/service/token", 200),
        ("HEAD", f"/v2/acme/web/manifests/{DIGEST}", 200),
    ]
    assert Registry("registry.fly.io", lambda: CREDENTIAL).child(f"{elsewhere.host}/acme/web@{DIGEST}") == DIGEST


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (f"acme/web@{DIGEST[:-1]}b", "has no image `acme/web@"),
        (f"acme/private@{DIGEST}", "that everybody may read (401)"),
    ],
)
def test_image_elsewhere_that_nobody_may_read_or_that_is_not_there_is_refused_as_such(elsewhere, image, said):
    """Nothing is said of Fly's token: it was not asked."""
    with pytest.raises(DodaiError) as caught:
        prove(elsewhere.host, image)
    assert caught.value.code.id == "DOD712"
    assert said in caught.value.message
    assert "FLY_API_TOKEN" not in str(caught.value.as_json())


@pytest.mark.parametrize("realm", ["http://example.com/token", "ftp://127.0.0.1/token"])
def test_token_is_asked_for_in_clear_text_on_this_machine_only(elsewhere, realm):
    """Somebody on the way could give out tokens, and see what is asked for."""
    challenge = {"www-authenticate": f'Bearer realm="{realm}",service="s"'}
    elsewhere.faults.add(ApiFault(kind="status", status=401, headers=challenge, where="HEAD"))
    with pytest.raises(DodaiError, match="DOD709"):
        prove(elsewhere.host, f"acme/web@{DIGEST}")


def test_service_that_gives_nobody_a_token_gives_the_image_to_nobody(elsewhere):
    """A registry of one's own, with a service that knows its users only."""
    elsewhere.faults.add(ApiFault(kind="status", status=401, where="GET"))
    with pytest.raises(DodaiError, match="that everybody may read"):
        prove(elsewhere.host, f"acme/web@{DIGEST}")


@pytest.mark.parametrize("challenge", [{}, {"www-authenticate": 'Basic realm="r"'}, {"www-authenticate": "Bearer"}])
def test_registry_that_names_no_service_for_tokens_gives_the_image_to_nobody(elsewhere, challenge):
    """Without credentials there is nothing more to try."""
    elsewhere.faults.add(ApiFault(kind="status", status=401, headers=challenge, where="HEAD"))
    with pytest.raises(DodaiError, match="that everybody may read"):
        prove(elsewhere.host, f"acme/web@{DIGEST}")
    assert len(elsewhere.exchanges) == 1


@pytest.mark.parametrize(("status", "code"), [(401, "DOD701"), (403, "DOD702")])
def test_registry_of_fly_that_does_not_let_the_token_read_says_what_that_may_be(status, code):
    """A token that serves for machines may not do for images: the message leaves both open."""
    with RegistryStandIn(TOKEN) as registry:
        image = registry.push("quiz-web", MachineImage("/"))
        challenge = {"www-authenticate": f'Bearer realm="{registry.url}/token"'}
        registry.faults.add(ApiFault(kind="status", status=status, headers=challenge, where="HEAD"))
        with pytest.raises(
            DodaiError, match=r"does not let `FLY_API_TOKEN` read `quiz-web`.*ended, or is not"
        ) as caught:
            Registry(registry.host, lambda: CREDENTIAL).prove(image)
        assert caught.value.code.id == code
        assert len(registry.exchanges) == 1, "its token goes nowhere else"


@pytest.mark.parametrize(
    ("name", "host", "repository"),
    [
        ("registry.fly.io/quiz-web", "registry.fly.io", "quiz-web"),
        ("ghcr.io/acme/web", "ghcr.io", "acme/web"),
        ("localhost:5000/web", "localhost:5000", "web"),
        ("docker.io/acme/web", "registry-1.docker.io", "acme/web"),
        ("index.docker.io/nginx", "registry-1.docker.io", "library/nginx"),
        ("acme/web", "registry-1.docker.io", "acme/web"),
        ("nginx", "registry-1.docker.io", "library/nginx"),
    ],
)
def test_image_is_asked_for_where_docker_would_pull_it(name, host, repository):
    """The name in a reference and the address of a registry are not the same for Docker's."""
    assert place_of(name) == (host, repository)
