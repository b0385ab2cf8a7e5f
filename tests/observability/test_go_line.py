"""The Go interceptor of `spec/line/go` compiles, proves users by the same vectors, and writes sound lines."""

from __future__ import annotations

import os
import runpy
import subprocess
from pathlib import Path

import pytest

SPEC = Path(__file__).resolve().parents[2] / "spec"
STATE = SPEC.parent / ".dodai"
"""Where .ci/run keeps what Go compiled too: compiling gRPC takes a minute, once."""
CHECK = runpy.run_path(str(SPEC / "check_line.py"))


@pytest.mark.optional_part("go")
def test_go_interceptor_writes_sound_lines(tmp_path: Path):
    """Real gRPC over loopback in Go: proved, claimed, refused and cancelled RPCs; every line passes the checker."""
    lines = tmp_path / "lines.jsonl"
    caches = {"GOPATH": str(STATE / "go"), "GOCACHE": str(STATE / "go-build")}
    env = {**caches, **os.environ, "LINES": str(lines)}
    argv = ["go", "test", "-count=1", "./..."]
    done = subprocess.run(argv, cwd=SPEC / "line" / "go", env=env, capture_output=True, text=True, check=False)
    if "dial tcp" in done.stderr + done.stdout and os.environ.get("DODAI_TEST_REQUIRE_ALL") != "1":
        pytest.skip("the Go module proxy cannot be reached")
    assert done.returncode == 0, done.stdout + done.stderr
    assert CHECK["main"]([str(lines)]) == 0
