"""Manifest to chosen providers: the only place that knows both."""

from __future__ import annotations

from dodai.wiring.find_project import find_project

__all__ = ["find_project"]
