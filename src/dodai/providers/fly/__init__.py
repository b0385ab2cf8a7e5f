"""Fly.io: services on Machines, images in a registry. Verified against the stand-in and the published specification of
the Machines API; live accounts: never.
"""

from __future__ import annotations
