"""A manifest decides nothing about the application of another project, however that is started: processes say so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.csrf.driver import KEYS

DEPLOYED = {"DODAI_ENV": "production", "DODAI_CSRF_KEYS": KEYS, "DODAI_PUBLIC_ORIGINS": "https://shop.example"}
WRAP = """
import dodai.asgi
from starlette.applications import Starlette
inner = Starlette()
"""
END = "print('STARTED')\nraise SystemExit\n"
WEB = WRAP + 'app = dodai.asgi.wrap(inner, service="web")\n' + END
HELPER = "import dodai.asgi\ndef protect(app):\n    return dodai.asgi.wrap(app, service='web')\n"
BY_HELPER = WRAP + "from serving import protect\napp = protect(inner)\n" + END
BASE = (
    "import dodai.asgi\nclass Base:\n    def __init__(self, app): self.app = dodai.asgi.wrap(app, service=self.name)\n"
)
DERIVED = WRAP + "from base import Base\nclass Shop(Base): name = 'web'\napp = Shop(inner)\n" + END
POOL = (
    WRAP + "from concurrent.futures import ThreadPoolExecutor\n"
    "app = ThreadPoolExecutor().submit(dodai.asgi.wrap, inner, service='web').result()\n" + END
)
RUN = "import sys\nfrom web import app\n"
UVICORN = ("-m", "uvicorn", "--port", "0", "web:app")
FACTORY = (*UVICORN, "--factory")
PARTIAL = WRAP + "import functools\napp = functools.partial(dodai.asgi.wrap, inner, service='web')\n"


def manifest(name: str, more: str = "") -> str:
    reason = 'csrf = "off"\ncsrf_reason = "only other services call it"\n'
    return f'[project]\nname = "{name}"\n[service.web]\ncommand = ["x"]\n{more}{reason}'


PLATFORM, SHOP = manifest("platform"), manifest("shop")


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")


def start(folder: Path, *command: str, path: tuple[str, ...] = (), cwd: str = ".", **environ: str) -> str:
    """`STARTED`, or the code that there was no start with; else all that was said."""
    searched = os.pathsep.join([*(str(folder / each) for each in path), *sys.path])
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder / cwd,
        env={"PATH": os.environ["PATH"], **DEPLOYED, **environ, "PYTHONPATH": searched},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = done.stdout + done.stderr
    return next((word for word in ("DOD187", "DOD480", "STARTED") if word in said), said)


SUBMODULE = {"dodai.toml": PLATFORM, ".git/HEAD": "", "shop/.git": "gitdir: x\n"}
BESIDE = {"platform/dodai.toml": PLATFORM, "platform/.git/HEAD": "", "shop/.git/HEAD": ""}
OWN = {**BESIDE, "shop/dodai.toml": SHOP}
INSIDE = {"dodai.toml": PLATFORM, ".git/HEAD": "", "shop/dodai.toml": SHOP}


@pytest.mark.parametrize(
    ("files", "command", "cwd"),
    [
        ({**OWN, "shop/web.py": WEB}, UVICORN, "platform"),
        ({**OWN, "shop/web.py": WEB, "platform/run.py": RUN}, ("run.py",), "platform"),
        ({**BESIDE, "shop/web.py": WEB, "platform/run.py": RUN}, ("run.py",), "platform"),
        ({**OWN, "shop/web.py": BY_HELPER, "platform/serving.py": HELPER}, UVICORN, "platform"),
        ({**OWN, "shop/web.py": DERIVED, "platform/base.py": BASE}, UVICORN, "platform"),
        ({**INSIDE, "shop/web.py": WEB, "run.py": RUN}, ("run.py",), "."),
        ({**INSIDE, "shop/web.py": BY_HELPER, "serving.py": HELPER}, UVICORN, "."),
        ({**SUBMODULE, "shop/web.py": BY_HELPER, "serving.py": HELPER}, UVICORN, "."),
        ({**OWN, "shop/web.py": POOL}, UVICORN, "platform"),
        ({**OWN, "shop/web.py": PARTIAL}, FACTORY, "platform"),
    ],
    ids=[
        "by itself",
        "a program of the other project",
        "and no manifest of its own",
        "a helper of it",
        "a base class of it",
        "a program of the monorepo",
        "a helper of the monorepo",
        "a submodule without a manifest",
        "called by a thread pool",
        "called by a server",
    ],
)
def test_manifest_that_was_found_opens_no_application_of_another_project(files, command, cwd, tmp_path):
    """By its own manifest it starts in its own folder, where all of its code is."""
    write(tmp_path, files)
    path = ("shop", "platform", ".")
    assert start(tmp_path, *command, path=path, cwd=cwd) == "DOD187"
    theirs = [name for name in files if name.startswith("platform/") and name.endswith(".py")]
    if "shop/dodai.toml" in files and not theirs and WEB in files.values():
        assert start(tmp_path, *UVICORN, path=path, cwd="shop") == "STARTED"


@pytest.mark.parametrize(
    ("files", "command", "cwd"),
    [
        ({"dodai.toml": SHOP, "web.py": WEB}, UVICORN, "."),
        ({"dodai.toml": SHOP, "shop/web.py": WEB}, UVICORN, "."),
        ({"dodai.toml": SHOP, ".git/HEAD": "", "shop/web.py": WEB}, UVICORN, "shop"),
        ({"dodai.toml": SHOP, "web.py": WEB, "platform/run.py": RUN}, ("platform/run.py",), "."),
        ({"shop/dodai.toml": SHOP, "shop/web.py": WEB, "tools/run.py": RUN}, ("../tools/run.py",), "shop"),
        (
            {".git/HEAD": "", "shop/dodai.toml": SHOP, "shop/web.py": BY_HELPER, "platform/serving.py": HELPER},
            UVICORN,
            "shop",
        ),
        ({**INSIDE, "shop/web.py": BY_HELPER, "platform/serving.py": HELPER}, UVICORN, "shop"),
        ({**SUBMODULE, "dodai.toml": manifest("platform", 'cwd = "shop"\n'), "shop/web.py": WEB}, UVICORN, "."),
        ({**INSIDE, "dodai.toml": manifest("platform", 'cwd = "shop"\n'), "shop/web.py": WEB}, UVICORN, "."),
        ({"dodai.toml": SHOP, "lib/web.py": WEB, "lib/web-1.0.dist-info/METADATA": ""}, UVICORN, "."),
    ],
)
def test_manifest_of_the_application_itself_rules_without_being_named(files, command, cwd, tmp_path):
    """Beside it, above it in the repository, with a program or a helper that is nobody's, or where a service starts."""
    write(tmp_path, files)
    if "lib/web.py" in files:
        assert start(tmp_path, *command, path=("lib",)) == "DOD187", "installed, and no service names it"
        write(tmp_path, {"dodai.toml": manifest("shop", 'app = "web:app"\n')})
    assert start(tmp_path, *command, path=("shop", "platform", "lib", "."), cwd=cwd) == "STARTED"


def test_manifest_that_is_a_link_lies_where_the_link_is(tmp_path):
    """As files of settings are mounted beside the code."""
    write(tmp_path, {"app/web.py": WEB, "data/v1/dodai.toml": SHOP})
    (tmp_path / "app/dodai.toml").symlink_to("../data/v1/dodai.toml")
    assert start(tmp_path, *UVICORN, path=("app",), cwd="app") == "STARTED"


@pytest.mark.parametrize("how", ["link", "folder", "pipe"])
@pytest.mark.parametrize("named", [False, True])
def test_manifest_that_is_there_and_cannot_be_read_is_not_passed_over(how, named, tmp_path):
    """The one above is that of another project; `docker run -v` makes a folder of a file that is missing."""
    write(tmp_path, {"dodai.toml": PLATFORM, ".git/HEAD": "", "shop/web.py": WEB})
    own = tmp_path / "shop/dodai.toml"
    {"link": lambda: own.symlink_to("nothing.toml"), "folder": own.mkdir, "pipe": lambda: os.mkfifo(own)}[how]()
    given = {"DODAI_MANIFEST": str(tmp_path / "dodai.toml")} if named else {}
    assert start(tmp_path, *UVICORN, path=("shop",), cwd="shop", **given) == ("DOD187" if named else "DOD480")
    command = [sys.executable, "-m", "dodai", "check", "csrf"]
    done = subprocess.run(command, cwd=tmp_path / "shop", capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "DOD050" in done.stderr, f"`{own}` is not a file" in done.stderr) == (2, True, True)


@pytest.mark.parametrize(
    ("files", "command", "cwd", "expected"),
    [
        ({"shop/web.py": WEB}, UVICORN, "shop", "DOD187"),
        ({"shop/web.py": BY_HELPER, "lib/serving.py": HELPER}, UVICORN, "shop", "DOD187"),
        ({"shop/web.py": BY_HELPER, "platform/serving.py": HELPER}, UVICORN, "shop", "DOD187"),
        ({"shop/web.py": POOL}, UVICORN, "shop", "DOD187"),
        ({"shop/web.py": PARTIAL}, FACTORY, "shop", "DOD187"),
        ({"shop/dodai.toml": manifest("platform"), "shop/web.py": WEB}, UVICORN, "shop", "STARTED"),
        ({"lib/web.py": WEB}, UVICORN, "lib", "STARTED"),
        ({"lib/web.py": POOL}, UVICORN, "lib", "STARTED"),
    ],
    ids=["itself", "helper", "helper of it", "pool", "server", "same name", "no manifest", "no manifest, pool"],
)
def test_manifest_that_is_named_is_not_that_of_code_of_another_project(files, command, cwd, expected, tmp_path):
    """`DODAI_MANIFEST` is taken at its word, but for code and a folder of a project of another name."""
    write(tmp_path, {"shop/dodai.toml": SHOP, "platform/dodai.toml": PLATFORM, **files})
    given = {"DODAI_MANIFEST": str(tmp_path / "platform/dodai.toml")}
    assert start(tmp_path, *command, path=("shop", "lib", "platform"), cwd=cwd, **given) == expected


def test_manifest_of_a_monorepo_is_not_in_the_way_of_a_part_with_its_own(tmp_path):
    """A helper at the top lies below the manifest of the whole, which is above that of the part, too."""
    write(tmp_path, {**INSIDE, "shop/web.py": BY_HELPER, "serving.py": HELPER})
    given = {"DODAI_MANIFEST": str(tmp_path / "shop/dodai.toml")}
    assert start(tmp_path, *UVICORN, path=("shop", "."), **given) == "STARTED"


@pytest.mark.parametrize("text", ["not toml", "[project]\n", "project = 1\n"])
def test_manifest_of_the_code_that_names_no_project_is_another_one(text, tmp_path):
    """Nobody can tell."""
    write(tmp_path, {"shop/web.py": WEB, "shop/dodai.toml": text, "platform/dodai.toml": PLATFORM})
    given = {"DODAI_MANIFEST": str(tmp_path / "platform/dodai.toml")}
    assert start(tmp_path, *UVICORN, path=("shop",), **given) == "DOD187"
