"""Packages from npm for tests that need the real thing; kept in .dodai between runs, never part of the project."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

KEPT = Path(__file__).parents[2] / ".dodai" / "npm"


def installed(name: str, version: str) -> Path:
    """The folder of the package, installed now if need be. Mark the test with `optional_part("npm")`."""
    home = KEPT / f"{name}-{version}"
    if not (home / "complete").exists():
        home.mkdir(parents=True, exist_ok=True)
        npm = shutil.which("npm")
        assert npm
        command = [npm, "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(home)]
        subprocess.run([*command, f"{name}@{version}"], check=True, capture_output=True, timeout=180)
        (home / "complete").touch()
    return home / "node_modules" / name
