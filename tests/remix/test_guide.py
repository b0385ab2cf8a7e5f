"""The guide for React Router, its code executed: 7.18.4 on node 20 where the system has it, and 8.4, on the stock server."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from tests import node_parts
from tests.quiz.stack import free_ports
from tests.remix import tiers
from tests.support.wait import until

from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.route_table import RouteTable
from dodai.providers.remix import RemixTier

GUIDE = (node_parts.ROOT / "docs" / "guides" / "react-router.md").read_text("utf-8")
ROUTER7 = Path(__file__).with_name("router7")
KEYS = "k001:6KmH-XtgmFGnfhDW1IE47w5Rj0a58doRRboYOtAvk1M"
VITE = 'import { reactRouter } from "@react-router/dev/vite";\n\nexport default { plugins: [reactRouter()] };\n'


@dataclass(frozen=True, slots=True)
class Guided:
    folder: Path
    node: str
    url: str
    version: str


def node_20() -> str:
    """The system's node where it is node 20, which React Router 7 still runs on; else the one that every test uses."""
    found = shutil.which("node")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout if found else ""
    return found if found and version.startswith("v20.") else str(node_parts.node_folder() / "node")


def packed(target: Path) -> Path:
    """`packages/remix` as `npm pack` makes it, unpacked."""
    target.mkdir(parents=True)
    node_parts.npm(node_parts.built_package(), "pack", "--ignore-scripts", "--pack-destination", str(target))
    (archive,) = target.glob("*.tgz")
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")
    return target / "package"


def write_application(folder: Path, packages: Path, *, is_8: bool) -> None:
    """What the guide shows, beside a package.json and a vite configuration as every template has them."""
    for path, text in re.findall(r'(?ms)^```\w+ title="([^"]+)"\n(.*?)^```', GUIDE):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in text.splitlines(keepends=True) if not (is_8 and "leave the line out in 8" in line)]
        file.write_text("".join(kept), "utf-8")
    (folder / "vite.config.ts").write_text(VITE, "utf-8")
    for name in ("package.json", "package-lock.json"):  # with `isbot`, which the build would install by itself
        shutil.copy(packages / name, folder)
    modules = folder / "node_modules"
    modules.mkdir()
    for entry in (packages / "node_modules").iterdir():
        if entry.name not in ("@dodai", ".bin"):
            (modules / entry.name).symlink_to(entry)
    (modules / "@dodai").mkdir()
    shutil.move(packed(folder / "packed"), modules / "@dodai" / "remix")


@pytest.fixture(scope="module", params=["7.18.4", "8.4.0"])
def guided(request, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guided]:
    """The application of the guide, built and served by the stock server."""
    is_8 = request.param.startswith("8")
    packages = tiers.ready(tiers.ROUTER) if is_8 else node_parts.installed(ROUTER7)
    node = str(node_parts.node_folder() / "node") if is_8 else node_20()
    folder = tmp_path_factory.mktemp("guide")
    write_application(folder, packages, is_8=is_8)
    tool = f"node_modules/@react-router/dev/{'bin.cjs' if is_8 else 'bin.js'}"
    built = subprocess.run([node, tool, "build"], cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    environ = {"PORT": url.rpartition(":")[2], "HOST": "127.0.0.1", "NODE_ENV": "production"}
    told = node_parts.environment({**environ, "DODAI_CSRF_KEYS": KEYS, "DODAI_PUBLIC_ORIGINS": url})
    (command,) = re.findall(r'(?m)^command = \["\{node\}", "(.*?)", "(.*?)"\]', GUIDE)
    command = command if is_8 else (command[0].replace("bin.cjs", "bin.js"), command[1])  # as its comment says
    with (folder / "said").open("w") as said:
        server = subprocess.Popen([node, *command], cwd=folder, env=told, stdout=said, stderr=said)
    try:
        until(lambda: answers(url), lambda: (folder / "said").read_text("utf-8"))
        yield Guided(folder, node, url, request.param)
    finally:
        server.terminate()
        server.wait()


def answers(url: str) -> bool:
    try:
        return httpx2.get(url).status_code == 200
    except httpx2.TransportError:
        return False


def test_its_form_is_sent_and_what_comes_without_a_token_or_from_elsewhere_is_refused(guided: Guided):
    """Document and data requests alike, each refusal with the request id in header and body."""
    with httpx2.Client(base_url=guided.url) as client:
        page = client.get("/")
        name, value = re.search(r'type="hidden" name="([^"]+)" value="([^"]+)"', page.text).groups()
        own = {"origin": guided.url, "sec-fetch-site": "same-origin", "accept": "application/json"}
        sent = client.post("/?index", data={name: value, "what": "green tea"}, headers=own)
        assert (sent.status_code, "ordered green tea" in sent.text) == (200, True)
        assert page.headers["x-request-id"] != sent.headers["x-request-id"]
        foreign = {**own, "origin": "https://evil.example", "sec-fetch-site": "cross-site"}
        for address in ("/?index", "/_root.data?index" if guided.version < "8" else "/_.data?index"):
            for headers, data, code in ((own, {"what": "x"}, "DOD151"), (foreign, {name: value}, "DOD150")):
                refused = client.post(address, data=data, headers=headers)
                assert (refused.status_code, refused.json()["error"]["code"]) == (403, code), (address, refused.text)
                assert refused.json()["requestId"] == refused.headers["x-request-id"]


def test_what_the_server_answers_itself_carries_an_id_as_well(guided: Guided):
    """A file, an address that is not there, and the framework's own 400."""
    page = httpx2.get(guided.url).text
    (file,) = set(re.findall(r'/assets/entry[^"]+\.js', page))
    for path, status in ((file, 200), ("/nowhere", 404)):
        answer = httpx2.get(guided.url + path)
        assert (answer.status_code, len(answer.headers["x-request-id"])) == (status, 32)


def test_its_audit_asks_the_framework_and_the_build(guided: Guided):
    """On the node that the application runs on."""
    read = RemixTier(guided.node).routes
    environ = {"DODAI_CSRF_KEYS": KEYS, "DODAI_PUBLIC_ORIGINS": "https://audit.invalid"}
    policy = CsrfPolicy()
    found = read(guided.folder, root=guided.folder, service="web", policy=policy, today="2026-11-29", environ=environ)
    assert isinstance(found, RouteTable), found
    (audit,) = found.tiers
    assert audit.seen == (
        "web: 2 routes read, 2 listed by the framework; "
        "1 actions read, 1 asked in the build, 1 refused every hostile post, 0 by themselves"
    )
