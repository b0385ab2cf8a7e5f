"""The operational foundation of a web application: enforced, checked, run and documented from one manifest."""

from __future__ import annotations

__version__ = "0.1.0"
