"""Cross-site request forgery: every state-changing request proves where it comes from, or is refused."""

from __future__ import annotations
