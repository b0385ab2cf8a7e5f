"""The pages for contributors, followed word by word in a copy of the sources: what they add is there and works."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests.support.command import clean_environment, dodai

from dodai.core.code_page import parse

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("adding-a-rule", "adding-a-command", "adding-a-drill", "adding-a-provider")
FENCE = re.compile(r'(?ms)^(`{3,})\w+ title="([^"]+)"\n(.*?)^\1$')
BEFORE, AFTER = "before", "after"
PLACES = {
    "src/dodai/operations/codes/__init__.py": (BEFORE, "CODES = declared(globals())\n"),
    "src/dodai/operations/check/rules.py": (BEFORE, "RULES = declared(globals())\n"),
    "src/dodai/cli/main.py": (AFTER, "COMMANDS: dict[str, CommandEntry] = {\n"),
    "src/dodai/wiring/environments.py": (AFTER, "PROVIDERS: dict[str, str] = {\n"),
}
"""Where the lines go that a page adds to a file: as it says in its words."""


def files_of(page: str) -> dict[str, str]:
    """The files and lines that a page adds, by path."""
    return {path: text for _, path, text in FENCE.findall((ROOT / f"docs/contributing/{page}.md").read_text("utf-8"))}


def added(folder: Path, path: str, text: str) -> None:
    """The file, or its lines where the page says."""
    file = folder / path
    if path not in PLACES:
        assert not file.exists(), f"`{path}` is there already: the page adds it once more"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        return
    where, marker = PLACES[path]
    assert file.read_text("utf-8").count(marker) == 1, f"`{path}` has `{marker.strip()}` no more: correct page and test"
    file.write_text(
        file.read_text("utf-8").replace(marker, text + marker if where == BEFORE else marker + text), "utf-8"
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The sources, with everything that the pages add."""
    folder = tmp_path_factory.mktemp("contributed")
    shutil.copytree(ROOT / "src" / "dodai", folder / "src" / "dodai", ignore=shutil.ignore_patterns("__pycache__"))
    for page in PAGES:
        found = files_of(page)
        assert found, f"{page} adds no file"
        for path, text in found.items():
            added(folder, path, text)
    return folder


def module(file: Path) -> ModuleType:
    """A file as a module that nobody else can import."""
    spec = importlib.util.spec_from_file_location(f"contributed_{file.stem}", file)
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def run(copy: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of the copy."""
    return dodai(*words, cwd=cwd, PYTHONPATH=str(copy / "src"))


def test_rule_of_the_page_is_reported_by_check(copy, tmp_path):
    """With the number, the message and the advice that the page shows; its good example is clean."""
    page = parse((copy / "src/dodai/operations/codes/DOD349.md").read_text("utf-8"))
    said = []
    for example in (*page.bad, *page.good):
        (tmp_path / example.path).write_text(example.text)
        done = run(copy, tmp_path, "check", "operations", "--fast", "--select", page.id, "--output-format", "json")
        said.append([(one["code"], one["message"], one["fix"]) for one in json.loads(done.stdout)["findings"]])
    assert said == [[("DOD349", "`service.web.drain` is `600` s", page.fix.en)], []]


def test_command_of_the_page_passes_the_test_of_the_page(copy, tmp_path, monkeypatch):
    """Its test is run with the program of the copy."""
    its_test = module(copy / "tests/operations/test_services.py")
    monkeypatch.setattr(its_test, "dodai", lambda *words, cwd: run(copy, cwd, *words))
    its_test.test_services_are_listed_one_on_a_line(tmp_path)


async def test_drill_of_the_page_is_known_and_passes_the_test_of_the_page(copy, tmp_path, monkeypatch):
    """Green where a missing page is 404, red where every path is one."""
    (tmp_path / "dodai.toml").write_text('[project]\nname = "shop"\n[service.web]\ncommand = ["x"]\npublic = true\n')
    misspelt = run(copy, tmp_path, "rehearse", "--only", "unknown-page-is-40")
    assert "did you mean `unknown-page-is-404`?" in misspelt.stderr
    monkeypatch.setitem(
        sys.modules, "dodai.rehearsal.drills.strangers", module(copy / "src/dodai/rehearsal/drills/strangers.py")
    )
    its_test = module(copy / "tests/rehearsal/test_stranger_drills.py")
    cases = its_test.test_drill_is_red_when_every_path_is_a_page.pytestmark[0].args[1]
    assert sorted(ok for _, ok in cases) == [False, True]
    for path, ok in cases:
        await its_test.test_drill_is_red_when_every_path_is_a_page(path, ok)


def test_provider_of_the_page_keeps_the_secrets_of_an_environment(copy, tmp_path):
    """One folder and one line: it is chosen in the manifest, and nothing else names it."""
    (tmp_path / "dodai.toml").write_text(
        '[project]\nname = "shop"\n[service.web]\ncommand = ["x"]\npublic = true\n'
        '[secret.API]\nused_by = ["web"]\n[env.staging]\nsecrets = "acme"\n'
    )
    listed = run(copy, tmp_path, "secrets", "list", "staging")
    assert "store of `staging`: acme" in listed.stdout + listed.stderr, listed.stderr


WALK = """
import asyncio, json, pathlib, re, sys
import dodai, httpx2
import dodai.asgi
from dodai.csrf.enforce import csrf_field
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route

ROOT, seen = str(pathlib.Path(dodai.__file__).parent) + "/", {}

async def page(request): return HTMLResponse(csrf_field())
async def plain(request): return PlainTextResponse((await request.body()).decode())

class Walk(set):
    def __init__(self, name): seen[name] = self
    def __enter__(self): sys.setprofile(self.note)
    def __exit__(self, *_): sys.setprofile(None)
    def note(self, frame, event, _):
        code = frame.f_code
        if event == "call" and code.co_name != "<module>" and code.co_filename.startswith(ROOT):
            self.add(code.co_filename[len(ROOT):])

async def requests():
    routes = [Route("/", page), Route("/plain", plain), Route("/save", plain, methods=["POST"])]
    app = dodai.asgi.wrap(Starlette(routes=routes))
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as visitor:
        answer = await visitor.get("/")  # once before: what is loaded or looked up once is on no walk
        await visitor.get("/plain")
        with Walk("A request"):
            await visitor.get("/plain")
        form = dict(re.findall('name="([^"]+)" value="([^"]+)"', answer.text))
        await visitor.post("/save", data=form, headers={"origin": "http://localhost"})
        with Walk("A form"):
            saved = await visitor.post("/save", data=form, headers={"origin": "http://localhost"})
        assert saved.status_code == 200, saved.text

asyncio.run(requests())
print("\\n" + json.dumps({name: sorted(files) for name, files in seen.items()}) + "\\n", end="")
"""
ON_A_TIMER = {"runtime/heartbeat.py", "migrations/apply/blocker_watch.py"}
"""Runs whenever its time has come."""
WEB = """import http.server, os
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
"""
SHOP = '[project]\nname = "shop"\n[service.web]\ncommand = ["{python}", "web.py"]\npublic = true\nhealth.path = "/"\n'


def drawn(walk: str) -> set[str]:
    """The files in the table of a walk on the page of the architecture."""
    rows = re.findall(r"(?m)^\|.*$", section(walk))
    return set(re.findall(r"`([\w/]+\.py)`", "\n".join(rows)))


def section(walk: str) -> str:
    """What the page of the architecture says of a walk."""
    page = (ROOT / "docs/contributing/architecture.md").read_text("utf-8")
    return page.partition(f"### {walk}\n")[2].partition("\n### ")[0]


def walked(folder: Path, case: str, **variables: str) -> tuple[set[str], set[str]]:
    """The files that ran, and those on the way, in a command of `tests/support/walk.py`."""
    argv = [sys.executable, str(ROOT / "tests" / "support" / "walk.py"), case]
    environment = clean_environment(variables)
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    return set(seen["ran"]) - ON_A_TIMER, set(seen["way"]) - ON_A_TIMER


def test_walks_of_a_request_and_a_form_pass_the_files_that_the_page_draws(tmp_path):
    """Exactly these, with these counts."""
    (tmp_path / "dodai.toml").write_text('[project]\nname = "shop"\n[service.web]\ncommand = ["x"]\n[csrf]\n')
    argv, environment = [sys.executable, "-c", WALK], clean_environment()
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = next(line for line in done.stdout.splitlines() if '"A request"' in line)  # beside the lines of the requests
    ran = {walk: set(files) - ON_A_TIMER for walk, files in json.loads(said).items()}
    assert drawn("A request") == ran["A request"]
    assert drawn("A request") | drawn("A form") == ran["A form"]
    counts = [re.findall(r"(\d+) files\.", section(walk)) for walk in ("A request", "A form")]
    assert counts == [[str(len(ran["A request"]))], [str(len(ran["A form"]))]]


@pytest.mark.parametrize("walk", ["A finding", "A migration", "A deploy"])
def test_walk_of_a_command_passes_no_more_files_than_the_page_says(walk, tmp_path, request):
    """Of a migration and a deploy it draws exactly the way, of a finding files that ran."""
    case = walk.removeprefix("A ")
    (tmp_path / "web.py").write_text(WEB)
    (tmp_path / "dodai.toml").write_text(SHOP if case != "finding" else SHOP.replace("public = true\n", ""))
    variables = {"DATABASE_URL": request.getfixturevalue("database")} if case == "migration" else {}
    if variables:
        (tmp_path / "dodai.toml").write_text(SHOP + '[database]\nused_by = ["web"]\n[migrations]\n')
    ran, way = walked(tmp_path, case, **variables)
    said = section(walk)
    assert len(ran) <= int(re.findall(r"about (\d+) files run", said)[0])
    if case == "finding":
        assert drawn(walk) <= ran
    else:
        assert drawn(walk) == way
        assert re.findall(r"(\d+) are on the\s+way", said) == [str(len(way))]


@pytest.mark.parametrize("walk", ["A request", "A form", "A migration", "A deploy", "A finding"])
def test_every_file_that_the_architecture_draws_exists(walk):
    """A file that was renamed takes its name on the page along."""
    assert drawn(walk)
    assert [path for path in drawn(walk) if not (ROOT / "src" / "dodai" / path).is_file()] == []


def test_python_of_the_pages_is_in_the_style_that_lint_wants(copy):
    """What is pasted is not red for its form."""
    shutil.copy(ROOT / "pyproject.toml", copy)
    ruff = Path(sys.executable).with_name("ruff")
    whole = [path for page in PAGES for path in files_of(page) if path not in PLACES and path.endswith(".py")]
    lines = [path for path in PLACES if (copy / path).exists()]
    for words in (("check", "--no-cache"), ("format", "--no-cache", "--check", "--diff")):
        done = subprocess.run([ruff, *words, *whole, *lines], cwd=copy, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
