"""The provider `cloudflare`: the zone of the public origin."""

from __future__ import annotations

from urllib.parse import urlsplit

from dodai.operations.ports import Edge
from dodai.operations.provider import Opening, Provider
from dodai.operations.run.plans import edge_spec_of
from dodai.operations.run.relief import standing_reliefs
from dodai.providers.cloudflare.cloudflare_api import ADDRESS, BASE_URL, TOKEN, cloudflare
from dodai.providers.cloudflare.zone_edge import ZoneEdge
from dodai.vendor_api import api_of, token_from


def _edge(opening: Opening) -> Edge:
    policy, url = opening.config.cloudflare, opening.config.public_origins[0]
    address = opening.variables.get(ADDRESS, "") or BASE_URL
    return ZoneEdge(
        connect=lambda: api_of(cloudflare, address, token_from(opening.variables, TOKEN, "Cloudflare")),
        zone=policy.zone,
        url=url,
        host=urlsplit(url).hostname or "",
        origin=policy.origin,
        folder=opening.folder,
        spec=edge_spec_of(opening.project.policy, opening.config, standing_reliefs(opening.folder)),
    )


PROVIDER = Provider(
    edge=_edge,
    keys=("cloudflare",),
    required=("cloudflare.zone", "cloudflare.origin", "public_origins"),
)
