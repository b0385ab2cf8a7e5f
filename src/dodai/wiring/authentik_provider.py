"""The provider `authentik`: the application that people sign in with."""

from __future__ import annotations

from dodai.operations.ports import IdentityService
from dodai.operations.provider import Opening, Provider
from dodai.providers.authentik.authentik_api import ADDRESS, TOKEN, authentik
from dodai.providers.authentik.sign_in import AuthentikSignIn
from dodai.vendor_api import api_of, token_from


def _identity(opening: Opening) -> IdentityService:
    policy = opening.config.authentik
    address = opening.variables.get(ADDRESS, "") or policy.url
    return AuthentikSignIn(
        connect=lambda: api_of(authentik, address, token_from(opening.variables, TOKEN, "Authentik")),
        url=policy.url,
        slug=policy.application,
        redirect_uris=policy.redirect_uris,
        client_id=policy.client_id,
        blueprint=policy.blueprint,
    )


PROVIDER = Provider(
    identity=_identity,
    keys=("authentik",),
    required=("authentik.url", "authentik.application", "authentik.redirect_uris"),
)
