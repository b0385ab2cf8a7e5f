"""A manifest and `csrf = "off"` count for their own application, however the process is started: real servers say so."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from tests.csrf.driver import KEYS
from tests.quiz.stack import free_ports, listens
from tests.support.wait import until

FORGED = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Cookie": "session=victim"}
DEPLOYED = {
    "DODAI_ENV": "production",
    "DODAI_RELEASE": "r1",
    "DODAI_CSRF_KEYS": KEYS,
    "DODAI_PUBLIC_ORIGINS": "https://shop.example",
}
APP = """
import dodai.asgi
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
async def pay(request): return PlainTextResponse("paid")
def made(): return Starlette(routes=[Route("/pay", pay, methods=["POST"])])
"""
ONE = APP + "app = dodai.asgi.wrap(made())\n"
FLASK = """
import dodai.wsgi
from flask import Flask
app = Flask(__name__)
app.post("/pay")(lambda: "paid")
app.wsgi_app = dodai.wsgi.wrap(app)
"""
SERVER = """
import importlib, os, sys, socketserver
from wsgiref.simple_server import make_server
def main(named):
    sys.path.insert(0, os.getcwd())
    module, _, name = named.partition(":")
    make_server("127.0.0.1", int(sys.argv[3]), getattr(importlib.import_module(module), name)).serve_forever()
if __name__ == "__main__":
    main(sys.argv[1])
"""
UVICORN = ("-m", "uvicorn", "{app}", "--port", "{port}")
SCRIPT = (str(Path(sysconfig.get_path("scripts"), "uvicorn")), *UVICORN[2:])
FLASK_RUN = ("-m", "flask", "--app", "{app}", "run", "--port", "{port}")


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")


@contextmanager
def served(
    folder: Path, command: tuple[str, ...], app: str, **environ: str
) -> Iterator[tuple[httpx2.Client | None, Path]]:
    """A client of what the command serves, None where it ended first; and what the process says."""
    (port,), told = free_ports(1), folder / "told"
    path = os.pathsep.join([environ.pop("PYTHONPATH", ""), *sys.path])
    words = [word.format(app=app, port=port) for word in command]
    with told.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=folder,
            env={"PATH": os.environ["PATH"], **DEPLOYED, **environ, "PYTHONPATH": path},
            stdout=output,
            stderr=output,
        )
    try:
        until(lambda: listens("127.0.0.1", port) or process.poll() is not None, "the server")
        if process.poll() is not None:
            yield None, told
        else:
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers={"Host": "shop.example"}) as client:
                yield client, told
    finally:
        process.kill()
        process.wait()


def outcome(folder: Path, command: tuple[str, ...], app: str, path: str = "/pay", **environ: str) -> str:
    """What becomes of a forged request: `paid`, the code of its refusal, or the code that the process ended with."""
    with served(folder, command, app, **environ) as (client, told):
        if client is not None:
            answer = client.post(path, headers=FORGED)
            return answer.text if answer.status_code == 200 else str(answer.json()["error"]["code"])
    text = told.read_text("utf-8")
    return next((code for code in ("DOD187", "DOD188") if code in text), text)


THEIRS = '[project]\nname = "theirs"\n[service.web]\npublic = true\ncommand = {command}\n[csrf]\nmode = "report"\n'


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (UVICORN, '["{python}", "-m", "uvicorn", "theirs.web:app", "--port", "{port}"]'),
        (SCRIPT, '["uvicorn", "theirs.web:app", "--port", "{port}"]'),
        (FLASK_RUN, '["{python}", "-m", "flask", "--app", "theirs.web", "run", "-p", "{port}"]'),
        (("-m", "srv", "{app}", "--port", "{port}"), '["{python}", "-m", "srv", "theirs.web:app"]'),
    ],
    ids=["python -m uvicorn", "uvicorn", "python -m flask", "python -m, of the folder"],
)
def test_server_that_a_service_is_started_with_does_not_make_an_application_its_own(command, text, tmp_path):
    """The word `uvicorn` of a command names no application; nor does a server that was installed into the folder."""
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    source = FLASK if "-m" in command and command[1] != "uvicorn" else ONE
    write(mine, {"shop.py": source})
    write(theirs, {"dodai.toml": THEIRS.replace("{command}", text)})
    write(
        theirs / "lib", {"srv/__init__.py": "", "srv/__main__.py": SERVER, "srv-1.0.dist-info/METADATA": "Name: srv\n"}
    )
    path = os.pathsep.join([str(mine), str(theirs / "lib")])
    assert outcome(theirs, command, "shop:app", PYTHONPATH=path) == "DOD187"
    write(mine, {"dodai.toml": THEIRS.replace("{command}", text.replace("theirs.web", "shop"))})
    assert outcome(mine, command, "shop:app", PYTHONPATH=path) == "paid", "by its own manifest, which only reports"


OFF = """[project]
name = "shop"
[service.web]
command = {web}
{web_app}
public = true
[service.api]
command = {api}
{api_app}
csrf = "off"
csrf_reason = "only other services call it"
"""
X = '["x"]'
RUN = '["{python}", "-m", "uvicorn", "%s", "--port", "{port}"]'


def off(web: str = "", api: str = "", web_command: str = X, api_command: str = X) -> str:
    named = {"{web_app}": f'app = "{web}"' if web else "", "{api_app}": f'app = "{api}"' if api else ""}
    text = OFF.replace("{web}", web_command).replace("{api}", api_command)
    for key, value in named.items():
        text = text.replace(key, value)
    return text


TWO = APP + "web = dodai.asgi.wrap(made())\napi = dodai.asgi.wrap(made())\n"
FACTORIES = APP + "def web(): return dodai.asgi.wrap(made())\ndef api(): return dodai.asgi.wrap(made())\n"
FLASK_TWO = FLASK + FLASK.replace("app", "api").replace("wsgi_api", "wsgi_app")
SRV = ("srv/__main__.py", "{app}", "--port", "{port}")


@pytest.mark.parametrize(
    ("manifest", "files", "command", "app", "expected"),
    [
        (off("web:app", "api:app", RUN % "web:app", RUN % "api:app"), {"web.py": ONE}, UVICORN, "web:app", "DOD188"),
        (off("web:app", "api:app", RUN % "web:app", RUN % "api:app"), {"api.py": ONE}, UVICORN, "api:app", "paid"),
        (off("", "", RUN % "web:app", RUN % "api:app"), {"web.py": ONE}, UVICORN, "web:app", "DOD188"),
        (off("", "", RUN % "web:app", RUN % "api:app"), {"api.py": ONE}, UVICORN, "api:app", "paid"),
        (off("m:web", "m:api"), {"m.py": TWO}, SCRIPT, "m:web", "DOD188"),
        (off("m:web", "m:api"), {"m.py": TWO}, SCRIPT, "m:api", "paid"),
        (off("m:web()", "m:api()"), {"m.py": FACTORIES}, (*UVICORN, "--factory"), "m:web", "DOD188"),
        (off("m:web()", "m:api()"), {"m.py": FACTORIES}, (*UVICORN, "--factory"), "m:api", "paid"),
        (off("m:web", "m2:app"), {"m.py": TWO, "m2.py": ONE}, SCRIPT, "m:web", "DOD188"),
        (off("", "m2:app"), {"m.py": ONE}, SCRIPT, "m:app", "DOD188"),
        (off("shop.web:app", ""), {"m.py": ONE}, SCRIPT, "m:app", "DOD188"),
        (off("./m.py:app", ""), {"m.py": ONE}, SCRIPT, "m:app", "DOD188"),
        (
            off("w.main:app", ""),
            {"w/__init__.py": ONE, "w/main.py": "from w import app"},
            SCRIPT,
            "w.main:app",
            "DOD188",
        ),
        (
            off("w:app", "a.main:app"),
            {"a/__init__.py": ONE, "a/main.py": "from a import app"},
            SCRIPT,
            "a.main:app",
            "paid",
        ),
        (off("web:app", "src.m:app"), {"src/m.py": ONE}, (*UVICORN, "--app-dir", "src"), "m:app", "paid"),
        (off("web:app", "m:app"), {"m.py": FLASK}, FLASK_RUN, "m:app", "paid"),
        (off("m:app", "m:api"), {"m.py": FLASK_TWO}, SRV, "m:app", "DOD188"),
        (off("m:app", "m:api"), {"m.py": FLASK_TWO}, SRV, "m:api", "paid"),
        (off("", "", '["node", "server.js"]'), {"m.py": ONE}, SCRIPT, "m:app", "paid"),
        (off("", "", X, '["{python}", "-m", "uvicorn"]'), {"m.py": ONE}, UVICORN, "m:app", "DOD188"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)
def test_service_that_is_off_opens_its_own_application_and_no_other(manifest, files, command, app, expected, tmp_path):
    """The process says that it is `api`, which nobody checks; what it serves may be what `web` serves."""
    write(tmp_path, {"dodai.toml": manifest, "srv/__main__.py": SERVER, **files})
    assert outcome(tmp_path, command, app, DODAI_SERVICE="api") == expected


W = "w = dodai.asgi.wrap(made())\n"
AROUND = {
    "function": W + "async def app(s, r, t): await w(s, r, t)\n",
    "function of a function": W + "async def on(*a): await w(*a)\nasync def app(s, r, t): await on(s, r, t)\n",
    "object": W + "class Outer:\n    async def __call__(self, s, r, t): await w(s, r, t)\napp = Outer()\n",
    "mount": "from starlette.routing import Mount\napp = Starlette(routes=[Mount('/', dodai.asgi.wrap(made()))])\n",
}
KEPT = W + "from starlette.middleware.gzip import GZipMiddleware\napp = GZipMiddleware(w)\n"


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_application_is_named_itself_and_not_by_what_calls_it(around, tmp_path):
    """What stands around it may call another one as well, now or from the next request on."""
    write(tmp_path, {"dodai.toml": off("shop:app", "m:app"), "m.py": APP + around, "shop.py": ONE})
    assert outcome(tmp_path, SCRIPT, "m:app", DODAI_SERVICE="api") == "DOD188"
    write(tmp_path, {"dodai.toml": off("shop:app", "m:w")})
    expected = "paid" if "w = " in around else "DOD188"
    assert outcome(tmp_path, SCRIPT, "m:app", DODAI_SERVICE="api") == expected


@pytest.mark.parametrize(
    ("named", "files", "app"),
    [
        ("m:bare", APP + "bare = made()\napp = dodai.asgi.wrap(made())\n", "m:app"),
        ("m:create", FACTORIES + "def create(*a): return web(*a)\n", "m:api"),
        ("m:create", FACTORIES + "import functools\ncreate = functools.partial(web)\n", "m:api"),
    ],
    ids=["bare", "factory", "partial"],
)
def test_one_wrapped_application_is_not_that_of_a_name_which_leads_nowhere(named, files, app, tmp_path):
    """That the process has wrapped no other is no sign by itself."""
    write(tmp_path, {"dodai.toml": off("shop:app", named), "m.py": files})
    command = SCRIPT if "bare" in named else (*SCRIPT, "--factory")
    assert outcome(tmp_path, command, app, DODAI_SERVICE="api") == "DOD188"


def test_only_service_may_be_off_without_a_name_of_its_application(tmp_path):
    """There is nothing else that could be opened; a name that it has must be right all the same."""
    only = '[project]\nname = "shop"\n[service.api]\ncommand = ["x"]\ncsrf = "off"\ncsrf_reason = "mTLS"\n'
    write(tmp_path, {"dodai.toml": only, "m.py": ONE})
    assert outcome(tmp_path, SCRIPT, "m:app", DODAI_SERVICE="api") == "paid"
    write(tmp_path, {"dodai.toml": only + 'app = "other:app"\n'})
    assert outcome(tmp_path, SCRIPT, "m:app", DODAI_SERVICE="api") == "DOD188"


def test_service_of_the_same_module_in_another_folder_is_another(tmp_path):
    """Both are `main:app`, and each starts in a folder of its own."""
    folders = off("main:app", "main:app").replace("[service.api]", '[service.api]\ncwd = "api"')
    write(tmp_path, {"dodai.toml": folders.replace("[service.web]", '[service.web]\ncwd = "web"')})
    write(tmp_path, {"web/main.py": ONE, "api/main.py": ONE})
    named = {"DODAI_SERVICE": "api", "DODAI_MANIFEST": str(tmp_path / "dodai.toml")}
    assert outcome(tmp_path / "web", UVICORN, "main:app", **named) == "DOD188"
    assert outcome(tmp_path / "api", UVICORN, "main:app", **named) == "paid"


def test_refusal_of_another_application_is_told_with_what_to_write(tmp_path):
    """Whatever is asked for, once on standard error; where it is known at the start, the process does not start."""
    write(tmp_path, {"dodai.toml": off("m:web", "m:api"), "m.py": TWO})
    with served(tmp_path, SCRIPT, "m:web", DODAI_SERVICE="api") as (client, told):
        assert client is not None
        assert [client.get("/pay").status_code, client.post("/pay").status_code] == [403, 403]
        text = told.read_text("utf-8")
    assert text.count("dodai: DOD188") == 1
    assert "`DODAI_SERVICE` is `api`" in text
    assert "write this application in `app`" in text


PROGRAM = (
    "import os, sys, uvicorn\nsys.path.insert(0, '.')\nuvicorn.run({app}, port=int(sys.argv[1]), log_level='error')\n"
)


@pytest.mark.parametrize(
    ("run", "program", "named", "expected"),
    [
        ("api.py", ONE + PROGRAM.format(app="app"), "web:app", "paid"),
        ("api.py", ONE + PROGRAM.format(app="app"), "", "paid"),
        ("api.py", PROGRAM.format(app="'web:app'"), "web:app", "DOD188"),
        ("api.py", "import web\n" + PROGRAM.format(app="web.app"), "web:app", "DOD188"),
        ("tools/api.py", PROGRAM.format(app="'web:app'"), "", "DOD188"),
        ("tools/api.py", ONE + PROGRAM.format(app="app"), "", "DOD188"),
    ],
    ids=["its own", "its own, and no name", "by name", "imported", "another program by name", "another program"],
)
def test_program_of_a_service_that_is_off_opens_no_application_of_another(run, program, named, expected, tmp_path):
    """`api` has no `app`: its program may serve what it made, and not what `web` names; one of its name is another."""
    write(tmp_path, {"dodai.toml": off(named, "", X, '["{python}", "api.py"]'), "web.py": ONE, run: program})
    assert outcome(tmp_path, (run, "{port}"), "", DODAI_SERVICE="api") == expected


def test_factory_that_two_services_use_makes_no_application_of_one_the_others(tmp_path):
    """`web:app` is made by the factory that `api` names, and is what `web` names."""
    core = APP + "def create(): return dodai.asgi.wrap(made())\n"
    text = off("web:app", "core:create")
    write(tmp_path, {"dodai.toml": text, "core.py": core, "web.py": "import core\napp = core.create()\n"})
    assert outcome(tmp_path, SCRIPT, "web:app", DODAI_SERVICE="api") == "DOD188"
    assert outcome(tmp_path, (*SCRIPT, "--factory"), "core:create", DODAI_SERVICE="api") == "paid"


@pytest.mark.parametrize(
    ("app", "command", "run"),
    [
        ("hook.__main__:app", X, ("-m", "hook", "{port}")),
        ("", '["{python}", "-m", "flask", "--app", "hook.shop", "run"]', FLASK_RUN),
    ],
    ids=["python -m", "flask --app"],
)
def test_application_is_named_as_its_server_is_told_it(app, command, run, tmp_path):
    """A package that is run, and Flask, which is given a module and finds the name itself."""
    program = ONE + PROGRAM.format(app="app")
    write(tmp_path, {"hook/__init__.py": "", "hook/__main__.py": program, "hook/shop.py": FLASK})
    write(tmp_path, {"dodai.toml": off("web:app", app, X, command)})
    assert outcome(tmp_path, run, "hook.shop", DODAI_SERVICE="api") == "paid"


EXEMPT = '[[csrf.exemption]]\nroute = "POST /pay"\nservice = "api"\nreason = "r"\nowner = "o"\ncontrol = "c"\n'


@pytest.mark.parametrize(
    ("files", "app", "expected"),
    [
        ({"m.py": TWO}, "m:api", "paid"),
        ({"m.py": TWO}, "m:web", "DOD150"),
        ({"m.py": "from other import *\n", "other.py": TWO}, "other:web", "DOD150"),
    ],
)
def test_exemption_of_a_service_holds_in_its_own_application_alone(files, app, expected, tmp_path):
    """`POST /pay` is exempt in `api`; a process that is called so and serves `web` refuses it."""
    checked = off("m:web", "m:api").replace('csrf = "off"\ncsrf_reason = "only other services call it"\n', "")
    write(tmp_path, {"dodai.toml": checked + EXEMPT, **files})
    assert outcome(tmp_path, SCRIPT, app, DODAI_SERVICE="api") == expected


def test_exemption_of_a_service_without_app_holds_in_its_program_alone(tmp_path):
    """The wrong `DODAI_SERVICE`, for an id that both may have; nothing says what a server is given to import."""
    checked = off("web:app", "", X, '["{python}", "api.py"]')
    checked = checked.replace('csrf = "off"\ncsrf_reason = "only other services call it"\n', "")
    write(tmp_path, {"dodai.toml": checked + EXEMPT, "web.py": ONE, "api.py": ONE + PROGRAM.format(app="app")})
    assert outcome(tmp_path, SCRIPT, "web:app", DODAI_SERVICE="api") == "DOD150"
    told = (tmp_path / "told").read_text("utf-8")
    assert "whether this is the application of `[service.web]` cannot be told: the `[[csrf.exemption]]`" in told
    assert outcome(tmp_path, ("api.py", "{port}"), "", DODAI_SERVICE="api") == "paid"


ONLY = '[project]\nname = "shop"\n[service.web]\ncommand = ["x"]\n'
BESIDE = {
    "none": "",
    "off": '[service.g]\ncommand = ["x"]\napp = "g:app"\ncsrf = "off"\ncsrf_reason = "r"\n',
    "grpc": '[service.g]\ncommand = ["x"]\nprotocol = "grpc"\n',
    "worker": '[service.g]\ncommand = ["x"]\nkind = "worker"\n[service.g.health]\nheartbeat = "10s"\n',
}


ON = "import m, dodai.asgi\napp = dodai.asgi.wrap(m.app)\n"


def only(app: str, beside: str = "") -> str:
    named = f'app = "{app}"\n' if app else ""
    return ONLY + named + beside + EXEMPT.replace('"api"', '"web"')


@pytest.mark.parametrize("service", ["web", "", "elsewhere"])
@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE)
def test_exemption_of_the_only_checked_service_holds_in_its_app_alone(beside, service, tmp_path):
    """`shop:app` is served and `other:app` was named; nothing else is checked which that could be."""
    write(tmp_path, {"dodai.toml": only("other:app", beside), "other.py": ONE, "shop.py": ONE})
    assert outcome(tmp_path, SCRIPT, "shop:app", DODAI_SERVICE=service) == "DOD150"
    text = (tmp_path / "told").read_text("utf-8")
    assert text.count("the `[[csrf.exemption]]` of `POST /pay` does not hold here") == 1
    assert f"`{tmp_path / 'shop.py'}` is not what `[service.web]` serves, `other:app`" in text
    assert outcome(tmp_path, SCRIPT, "other:app", DODAI_SERVICE=service) == "paid"


@pytest.mark.parametrize(
    ("named", "files", "command", "app", "expected"),
    [
        ("other:app", {"other.py": FLASK, "b/shop.py": FLASK}, SRV, "shop:app", "DOD150"),
        ("other:app", {"other.py": FLASK, "b/shop.py": FLASK}, SRV, "other:app", "paid"),
        ("m:web", {"m.py": FACTORIES}, (*SCRIPT, "--factory"), "m:api", "DOD150"),
        ("m:web", {"m.py": FACTORIES}, (*SCRIPT, "--factory"), "m:web", "paid"),
        ("m:web()", {"m.py": FACTORIES, "wsgi.py": "import m\napp = m.web()"}, SCRIPT, "wsgi:app", "paid"),
        ("m:app", {"m.py": APP + AROUND["function"]}, SCRIPT, "m:app", "DOD150"),
        ("m:app", {"m.py": APP + AROUND["mount"]}, SCRIPT, "m:app", "DOD150"),
        ("m:app", {"m.py": APP + KEPT}, SCRIPT, "m:app", "paid"),
        ("m:app", {"m.py": APP + "app = made()", "on.py": ON}, SCRIPT, "on:app", "paid"),
        ("src.m:app", {"src/m.py": ONE}, (*SCRIPT, "--app-dir", "src"), "m:app", "paid"),
        ("m:app", {"m/__init__.py": "from m.web import app", "m/web.py": ONE}, SCRIPT, "m:app", "paid"),
        ("", {"m.py": ONE}, SCRIPT, "m:app", "paid"),
        ("", {"m.py": FACTORIES}, (*SCRIPT, "--factory"), "m:api", "paid"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)
def test_exemption_of_the_only_service_is_for_what_its_app_leads_to(named, files, command, app, expected, tmp_path):
    """Without `app` it is whatever is served; a name that is imported, made or held elsewhere leads to the same."""
    write(tmp_path, {"dodai.toml": only(named), "srv/__main__.py": SERVER, **files})
    path = {"PYTHONPATH": str(tmp_path / "b")}
    assert outcome(tmp_path, command, app, DODAI_SERVICE="web", **path) == expected


@pytest.mark.parametrize(
    ("csrf", "keys"),
    [
        ('mode = "report"', '`mode = "report"`'),
        ('mode = "header"\ntrusted_origins = ["https://evil.example"]', "`trusted_origins`"),
    ],
    ids=["report", "trusted"],
)
def test_what_lets_more_pass_is_for_what_the_service_serves(csrf, keys, tmp_path):
    """A manifest in a folder above, of another application: this one is closed, and that is told."""
    manifest = f'[project]\nname = "shop"\n[service.web]\ncommand = ["x"]\napp = "other:app"\n[csrf]\n{csrf}\n'
    write(tmp_path, {"dodai.toml": manifest, "other.py": ONE, "a/shop.py": ONE})
    assert outcome(tmp_path, SCRIPT, "shop:app", PYTHONPATH=str(tmp_path / "a")) == "DOD150"
    assert (tmp_path / "told").read_text("utf-8").count(f"{keys} of its `[csrf]` does not hold here") == 1
    assert outcome(tmp_path, SCRIPT, "other:app") == "paid"
    assert "does not hold" not in (tmp_path / "told").read_text("utf-8")


@pytest.mark.parametrize("service", ["", "nope"])
@pytest.mark.parametrize("csrf", ['mode = "report"', 'mode = "header"\ntrusted_origins = ["https://evil.example"]'])
def test_what_lets_more_pass_holds_in_no_application_that_no_service_names(csrf, service, tmp_path):
    """Of several services as of one, whichever `DODAI_SERVICE` says; where it may be one of them, it is."""
    manifest = '[project]\nname = "p"\n[service.web]\ncommand = ["x"]\napp = "x.y:app"\n[service.z]\ncommand = ["x"]\n{z}\n[csrf]\n'
    write(tmp_path, {"dodai.toml": manifest.format(z='app = "z:app"') + csrf, "in/shop.py": ONE})
    path = {"PYTHONPATH": str(tmp_path / "in"), "DODAI_SERVICE": service}
    assert outcome(tmp_path, SCRIPT, "shop:app", **path) == "DOD150"
    text = (tmp_path / "told").read_text("utf-8")
    assert f"`{tmp_path / 'in/shop.py'}` is not what any of `[service.web]`, `[service.z]` serves" in text
    for z in ('app = "shop:app"\ncwd = "in"', ""):
        write(tmp_path, {"dodai.toml": manifest.format(z=z) + csrf})
        assert outcome(tmp_path, SCRIPT, "shop:app", **path) == "paid"


@pytest.mark.parametrize("own", ["dodai.toml", ".git/HEAD", ".git"])
def test_manifest_above_is_not_that_of_a_project_with_rules_of_its_own(own, tmp_path):
    """A manifest or a repository further inside: the one above counts where a service of it names the application."""
    manifest = '[project]\nname = "p"\n{service}\n[csrf]\nmode = "report"\n'
    write(tmp_path, {"in/shop.py": ONE, f"in/{own}": '[project]\nname = "shop"\n', ".git/HEAD": ""})
    path = {"PYTHONPATH": str(tmp_path / "in")}
    for service, expected in (
        ("", "DOD187"),
        ('[service.web]\ncommand = ["x"]', "DOD187"),
        ('[service.web]\ncommand = ["x"]\ncwd = "in"\napp = "shop:app"', "paid"),
    ):
        write(tmp_path, {"dodai.toml": manifest.format(service=service)})
        assert outcome(tmp_path, SCRIPT, "shop:app", **path) == expected


def test_process_says_so_where_an_exemption_cannot_hold(tmp_path):
    """A function of their own stands in front of the handlers: `dodai routes` is not the only one to know."""
    between = "inner = made()\nasync def between(s, r, t): await inner(s, r, t)\napp = dodai.asgi.wrap(between)\n"
    write(tmp_path, {"dodai.toml": only("m:app"), "m.py": APP + between})
    assert outcome(tmp_path, SCRIPT, "m:app") == "DOD150"
    text = (tmp_path / "told").read_text("utf-8")
    assert text.count("`POST /pay` does not hold here: nobody can see which handler a request gets to") == 1


def test_process_in_mode_report_says_so(tmp_path):
    """Once, when it starts."""
    manifest = '[project]\nname = "shop"\n[service.web]\ncommand = ["x"]\napp = "other:app"\n[csrf]\nmode = "report"\n'
    write(tmp_path, {"dodai.toml": manifest, "other.py": ONE})
    assert outcome(tmp_path, SCRIPT, "other:app") == "paid"
    text = (tmp_path / "told").read_text("utf-8")
    assert text.count('`[csrf] mode = "report"`: forged requests to this process reach the application') == 1


def test_exemption_that_turns_out_to_be_of_another_application_is_told(tmp_path):
    """Only a request shows which factory has made it: then it is said, once."""
    write(tmp_path, {"dodai.toml": only("m:web"), "m.py": FACTORIES})
    with served(tmp_path, (*SCRIPT, "--factory"), "m:api", DODAI_SERVICE="web") as (client, told):
        assert client is not None
        assert [client.post("/pay", headers=FORGED).status_code for _ in range(2)] == [403, 403]
        text = told.read_text("utf-8")
    assert text.count("the `[[csrf.exemption]]` of `POST /pay` does not hold here") == 1
    assert "not seen to be what `[service.web]` serves, `m:web`" in text


def test_development_keeps_the_exemptions_of_the_only_service(tmp_path):
    """A test or a developer serves the application by another name."""
    write(tmp_path, {"dodai.toml": only("other:app"), "shop.py": ONE})
    local = dict.fromkeys(DEPLOYED, "")
    with served(tmp_path, SCRIPT, "shop:app", **local) as (client, _):
        assert client is not None
        forged = FORGED | {"Host": str(client.base_url.netloc, "ascii")}
        assert client.post("/pay", headers=forged).text == "paid"


def test_module_of_the_same_name_in_a_folder_further_inside_is_another(tmp_path):
    """Two projects of one repository, both `m:app`, and the manifest of the first lies above both."""
    write(tmp_path, {".git/HEAD": "", "dodai.toml": only("m:app"), "m.py": ONE, "b/m.py": ONE})
    assert outcome(tmp_path / "b", SCRIPT, "m:app", DODAI_SERVICE="web") == "DOD150"
    assert outcome(tmp_path, SCRIPT, "m:app", DODAI_SERVICE="web") == "paid"
    assert outcome(tmp_path, UVICORN, "m:app", DODAI_SERVICE="web") == "paid"
    (tmp_path / "m.py").rename(tmp_path / "elsewhere.py")
    assert outcome(tmp_path / "b", SCRIPT, "m:app", DODAI_SERVICE="web") == "paid", "nothing else can be meant"


@pytest.mark.parametrize("off", [False, True], ids=["exempt", "off"])
def test_manifest_that_is_named_opens_no_module_of_the_same_name_either(off, tmp_path):
    """`app:app` in two folders of one repository, and `DODAI_MANIFEST` set for all of it."""
    how = 'csrf = "off"\ncsrf_reason = "mTLS"\n' if off else EXEMPT.replace('"api"', '"web"')
    named = ONLY + 'app = "app:app"\ncwd = "web"\n' + how
    write(tmp_path, {"dodai.toml": named, "web/app.py": ONE, "admin/app.py": ONE})
    given = {"DODAI_SERVICE": "web", "DODAI_MANIFEST": str(tmp_path / "dodai.toml")}
    assert outcome(tmp_path / "admin", SCRIPT, "app:app", **given) == ("DOD188" if off else "DOD150")
    assert outcome(tmp_path / "web", SCRIPT, "app:app", **given) == "paid"
