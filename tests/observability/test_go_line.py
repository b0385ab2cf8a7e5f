"""The Go interceptor of `spec/line/go` compiles, proves users by the same vectors, and writes sound lines."""

from __future__ import annotations

import os
import runpy
import subprocess
from pathlib import Path

import pytest

SPEC = Path(__file__).resolve().parents[2] / "spec"
STATE = SPEC.parent / ".dodai"
"""Where what Go compiled is kept when its own cache cannot be written: compiling gRPC takes a minute, once."""
CHECK = runpy.run_path(str(SPEC / "check_line.py"))


def caches() -> dict[str, str]:
    """Go's own are shared by every checkout; where there is no home for them they are in this one."""
    asked = subprocess.run(["go", "env", "GOCACHE", "GOPATH"], capture_output=True, text=True, check=False)
    if asked.returncode == 0 and all(_can_be_written(Path(folder)) for folder in asked.stdout.split("\n")[:2]):
        return {}
    return {"GOPATH": str(STATE / "go"), "GOCACHE": str(STATE / "go-build")}


def _can_be_written(folder: Path) -> bool:
    return folder.is_absolute() and os.access(next(one for one in (folder, *folder.parents) if one.exists()), os.W_OK)


@pytest.mark.optional_part("go")
def test_go_interceptor_writes_sound_lines(tmp_path: Path):
    """Real gRPC over loopback in Go: proved, claimed, refused and cancelled RPCs; every line passes the checker."""
    lines = tmp_path / "lines.jsonl"
    env = {**caches(), **os.environ, "LINES": str(lines)}
    argv = ["go", "test", "-count=1", "-vet=off", "./..."]
    done = subprocess.run(argv, cwd=SPEC / "line" / "go", env=env, capture_output=True, text=True, check=False)
    if "dial tcp" in done.stderr + done.stdout and os.environ.get("DODAI_TEST_REQUIRE_ALL") != "1":
        pytest.skip("the Go module proxy cannot be reached")
    assert done.returncode == 0, done.stdout + done.stderr
    assert CHECK["main"]([str(lines)]) == 0
