"""The web tier in Remix or React Router, read and never executed: its routes, its forms, its settings."""

from __future__ import annotations

from dodai.providers.remix.tier import RemixTier

__all__ = ["RemixTier"]
