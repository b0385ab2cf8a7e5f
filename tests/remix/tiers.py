"""The node web tiers of the quiz, built and served beside the quiz's own backend and identity provider."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests import node_parts
from tests.quiz.stack import QUIZ, Stack
from tests.support.wait import until

from dodai.operations.journey import walk
from dodai.operations.setting import peer_settings
from dodai.providers.local.browser import HttpBrowser
from dodai.runtime.config import read_sections
from dodai.wiring.find_project import find_project

REMIX2 = QUIZ / "client-remix2"
ROUTER = QUIZ / "client"
VERIFY = "  await csrf.verify(request);\n"
SUITE = ("node_modules/vitest/vitest.mjs", "run", "--reporter=verbose")


def ready(folder: Path) -> Path:
    """A client with its packages and the package of this repository."""
    node_parts.built_package()
    return node_parts.installed(folder)


def built(folder: Path) -> Path:
    """The same with `build/` of its sources as they are now."""
    ready(folder)
    with (node_parts.ROOT / ".dodai" / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp, digest = folder / "build" / ".sha256", _digest(folder)
        if not stamp.exists() or stamp.read_text() != digest:
            node_parts.npm(folder, "run", "build")
            stamp.write_text(digest)
    return folder


def copy_of(folder: Path, target: Path) -> Path:
    """A copy to change, beside the files it shares with the Python web tier; its packages are linked."""
    target.mkdir(parents=True)
    for shared in ("contract", "web"):
        (target / shared).symlink_to(QUIZ / shared)
    copy = target / folder.name
    shutil.copytree(
        folder, copy, ignore=shutil.ignore_patterns("node_modules", "build", ".cache", "public", ".react-router")
    )
    (copy / "node_modules").symlink_to(ready(folder) / "node_modules")
    return copy


def serve(stack: Stack, folder: Path) -> None:
    """The stock server with the command of the manifest, nothing of ours around it."""
    sections = read_sections(str(QUIZ / "dodai.toml"))
    client = next(row for row in sections["client"].values() if row["folder"] == folder.name)
    node = str(node_parts.node_folder() / "node")
    argv = [node if word == "{node}" else word for word in client["command"]]
    stack.start("web", argv=argv, cwd=folder, extra=told())


def without_verification(folder: Path, names: Iterable[str]) -> None:
    """Take the check out of the actions in these files of a copy."""
    for name in names:
        path = folder / "app" / "routes" / name
        text = path.read_text("utf-8")
        assert VERIFY in text, name
        path.write_text(text.replace(VERIFY, ""), "utf-8")


def red_cases(folder: Path) -> set[tuple[str, str]]:
    """(file, case) of what Vitest finds wrong; none when it is green."""
    node = str(node_parts.node_folder() / "node")
    env = node_parts.environment()
    done = subprocess.run([node, *SUITE], cwd=folder, env=env, capture_output=True, text=True, check=False)
    red = set(re.findall(r"× .*? > (\S+\.tsx?): (.+?)(?: \d+ms)?$", done.stdout, re.MULTILINE))
    assert done.returncode == (1 if red else 0), done.stdout
    return red


def walked(stack: Stack) -> list[str]:
    """What goes wrong when every journey of the manifest is walked; nothing when all go as they should."""

    async def walk_all() -> list[str]:
        problems = []
        for journey in find_project(QUIZ / "dodai.toml").policy.journeys:
            async with HttpBrowser(stack.url) as visitor:
                outcome = await walk(journey, visitor)
            problems += [] if outcome.ok else [f"{journey.name}: {outcome.problem}"]
        return problems

    return asyncio.run(walk_all())


def lines(stack: Stack) -> str:
    return "".join(path.read_text("utf-8") for path in (stack.folder / "lines").glob("*.jsonl"))


def hops_of(served: Stack, request_id: str) -> list[str]:
    """The lines of tiers that served the request; a slow call has a line of its own below its caller's, without a user."""
    found = [line for line in lines(served).splitlines() if request_id in line]
    return [line for line in found if re.search(r'"type":"(http|rpc)"', line)]


def line_of(stack: Stack, request_id: str) -> str:
    """The one line that the web tier wrote about a request; it is written when the answer has left."""

    def own() -> list[str]:
        named = f'"requestId":"{request_id}"'
        return [line for line in lines(stack).splitlines() if named in line and '"type":"http"' in line]

    until(own, lambda: f"a line about {request_id}")
    (line,) = own()
    return line


def told() -> dict[str, str]:
    """What the Host tells a web tier that is not Python."""
    return {
        "HOST": "127.0.0.1",
        "NODE_ENV": "production",
        "DODAI_SETTINGS": peer_settings(read_sections(str(QUIZ / "dodai.toml")), "web"),
    }


def _digest(folder: Path) -> str:
    def files() -> Iterable[Path]:
        for name in (
            "app",
            "server.ts",
            "serve.build.mjs",
            "package-lock.json",
            "package.json",
            "react-router.config.ts",
            "vite.config.ts",
            "remix.config.js",
        ):
            path = folder / name
            yield from sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from sorted((node_parts.REMIX / "src").iterdir())

    digest = hashlib.sha256()
    for path in files():
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
