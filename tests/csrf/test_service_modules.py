"""A module that is called as the one of a service is that service's only where Python finds it: real servers say so."""

from __future__ import annotations

import pytest
from tests.csrf.test_whose_application import EXEMPT, ONE, PROGRAM, UVICORN, X, outcome, write

HOW = {
    "off": ('csrf = "off"\ncsrf_reason = "mTLS"\n', "", "DOD188"),
    "exempt": ("", EXEMPT.replace('"api"', '"web"'), "DOD150"),
    "report": ("", '[csrf]\nmode = "report"\n', "DOD150"),
    "trusted": ("", '[csrf]\nmode = "header"\ntrusted_origins = ["https://evil.example"]\n', "DOD150"),
}
SRC = '["uvicorn", "--app-dir", "src", "web:app"]'
PLAIN = '["uvicorn", "web:app"]'
FROM_SRC = (*UVICORN, "--app-dir", "src")
FROM_APPS = (*UVICORN, "--app-dir", "apps/a")


def manifest(how: str, command: str = SRC, cwd: str = "apps/b", *, more: str = "", env: str = "") -> str:
    opened, section, _ = HOW[how]
    web = f'[service.web]\ncommand = {command}\napp = "web:app"\ncwd = "{cwd}"\npublic = true\n{env}{opened}'
    return f'[project]\nname = "shop"\n{web}{more}{section}'


SHOP = f'[service.shop]\ncommand = {SRC}\napp = "web:app"\ncwd = "apps/a"\n'


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    ("where", "command", "more"),
    [("apps/a/src", FROM_SRC, SHOP), ("apps/a/src", FROM_SRC, ""), ("apps/a", UVICORN, SHOP), ("apps/a", UVICORN, "")],
    ids=["src, a service too", "src", "flat, a service too", "flat"],
)
def test_application_of_the_same_name_in_another_folder_is_not_that_of_a_src_folder(
    how, where, command, more, tmp_path
):
    """`web:app` twice in a repository; one is in the folder `src` of its service, as many projects have it."""
    write(tmp_path, {".git/HEAD": "", "dodai.toml": manifest(how, more=more)})
    write(tmp_path, {"apps/b/src/web.py": ONE, f"{where}/web.py": ONE})
    assert outcome(tmp_path / "apps/a", command, "web:app", DODAI_SERVICE="web") == HOW[how][2]
    told = (tmp_path / "apps/a/told").read_text("utf-8")
    assert (
        f"`{tmp_path / where / 'web.py'}` is not what `[service.web]` serves, `web:app`: it has the name, and" in told
    )
    assert outcome(tmp_path / "apps/b", FROM_SRC, "web:app", DODAI_SERVICE="web") == "paid"


@pytest.mark.parametrize("how", HOW)
def test_manifest_of_another_project_that_is_named_opens_nothing(how, tmp_path):
    """`DODAI_MANIFEST` leads to a project with a module of the same name; beside no code it is taken at its word."""
    write(tmp_path, {"man/dodai.toml": manifest(how, cwd="."), "man/src/web.py": ONE, "app/web.py": ONE})
    given = {"DODAI_SERVICE": "web", "DODAI_MANIFEST": str(tmp_path / "man/dodai.toml")}
    assert outcome(tmp_path / "app", UVICORN, "web:app", **given) == HOW[how][2]
    (tmp_path / "man/src/web.py").unlink()
    assert outcome(tmp_path / "app", UVICORN, "web:app", **given) == "paid"


@pytest.mark.parametrize("inner", ["", ".git/HEAD", "dodai.toml"], ids=["plain", "repository", "manifest"])
@pytest.mark.parametrize("how", HOW)
def test_application_further_inside_is_not_that_of_the_project_around_it(how, inner, tmp_path):
    """Started in the folder of the manifest, whose own module lies in `src`; or is not there at all."""
    write(tmp_path, {".git/HEAD": "", "dodai.toml": manifest(how, cwd="."), "src/web.py": ONE, "apps/a/web.py": ONE})
    if inner:
        write(tmp_path / "apps/a", {inner: '[project]\nname = "inner"\n'})
    expected = "DOD187" if inner else HOW[how][2]
    assert outcome(tmp_path, FROM_APPS, "web:app", DODAI_SERVICE="web") == expected
    assert outcome(tmp_path, FROM_SRC, "web:app", DODAI_SERVICE="web") == "paid"
    (tmp_path / "src/web.py").unlink()
    assert outcome(tmp_path, FROM_APPS, "web:app", DODAI_SERVICE="web") == expected, "the command says `src`"


@pytest.mark.parametrize(
    ("named", "file", "run"),
    [
        (manifest("off", PLAIN, "."), "src/web.py", (".", "src")),
        (manifest("off", PLAIN, "."), "lib/shop/web.py", (".", "lib/shop")),
        (manifest("off", PLAIN), "apps/b/web.py", ("apps/b", ".")),
        (manifest("off", PLAIN), "apps/b/a/b/c/web/__init__.py", ("apps/b", "a/b/c")),
        (manifest("off", SRC.replace("src", "../../lib")), "lib/web.py", ("apps/b", "../../lib")),
        (manifest("off", '["gunicorn", "--pythonpath=../x,../lib", "web:app"]'), "apps/lib/web.py", ("apps", "lib")),
        (manifest("off", PLAIN, env='env = { PYTHONPATH = "../x:../lib" }\n'), "apps/lib/web.py", ("apps", "lib")),
        (manifest("off", PLAIN, "services/web"), "web.py", (".", ".")),
        (manifest("off", PLAIN, more=SHOP), "apps/b/web.py", ("apps/b", ".")),
    ],
    ids=[
        "src",
        "lib",
        "cwd",
        "package",
        "option",
        "joined option",
        "PYTHONPATH",
        "an image with no cwd",
        "two services",
    ],
)
def test_application_is_found_where_its_service_imports_it(named, file, run, tmp_path):
    """Whatever the layout: by the command, by `env`, or because nothing else has the name."""
    write(tmp_path, {".git/HEAD": "", **({"apps/b/other.py": ""} if "apps/b" in named else {})})
    write(tmp_path, {"dodai.toml": named, file: ONE, "apps/other.py": ""})
    command = (*UVICORN, "--app-dir", run[1])
    assert outcome(tmp_path / run[0], command, "web:app", DODAI_SERVICE="web") == "paid"


@pytest.mark.parametrize(
    ("named", "files"),
    [
        (manifest("off", PLAIN, "."), ["lib/web.py", "apps/a/web.py"]),
        (manifest("off", PLAIN), ["apps/a/web.py"]),
        (manifest("off", PLAIN, "services/web", more=SHOP), ["apps/a/web.py"]),
        (manifest("off", PLAIN, ".", more=SHOP), ["apps/a/lib/web.py"]),
        (manifest("off", PLAIN, "."), ["web.py", "src/web.py"]),
        (manifest("off", SRC, "."), ["src/web.py", "web.py"]),
    ],
    ids=[
        "two of the name",
        "outside of cwd",
        "of another service",
        "in another's cwd",
        "behind cwd",
        "behind an option",
    ],
)
def test_application_of_which_it_cannot_be_told_stays_closed(named, files, tmp_path):
    """The last of the files is served; it may be another's, or Python would not import it."""
    write(tmp_path, {"dodai.toml": named, "apps/b/x.py": "", **dict.fromkeys(files, ONE)})
    folder = (tmp_path / files[-1]).parent
    given = {"DODAI_SERVICE": "web", "DODAI_MANIFEST": str(tmp_path / "dodai.toml")}
    assert outcome(folder, UVICORN, "web:app", **given) == "DOD188"


def two(internal: str, web: str, opened: str = HOW["off"][0]) -> str:
    """A manifest of `internal`, which is open, and `web`, which is checked."""
    return f'[project]\nname = "p"\n[service.internal]\n{internal}\n{opened}[service.web]\npublic = true\n{web}\n'


INTERNAL = f'command = {X}\napp = "main:app"\ncwd = "internal"'


@pytest.mark.parametrize(
    ("internal", "web", "files", "folder", "app"),
    [
        (INTERNAL, 'command = ["{python}", "-m", "main"]\ncwd = "web"', {"web/main.py": ONE}, "web", "main:app"),
        (
            INTERNAL,
            f'command = {X}\napp = "wsgi:app"\ncwd = "web"',
            {"web/main.py": ONE, "web/wsgi.py": "from main import app\n"},
            "web",
            "wsgi:app",
        ),
        (INTERNAL, f'command = {X}\napp = "main:app"', {"main.py": ONE}, ".", "main:app"),
        (INTERNAL, f"command = {X}", {"main.py": ONE}, ".", "main:app"),
        (INTERNAL, f'command = {X}\ncwd = "web"', {"lib/deep/main.py": ONE}, "lib/deep", "main:app"),
        (
            'command = ["uvicorn", "--app-dir", "internal", "main:app"]',
            f"command = {X}",
            {"main.py": ONE},
            ".",
            "main:app",
        ),
    ],
    ids=["by its own command", "by another name", "the same name", "no name", "elsewhere", "the folder of an option"],
)
def test_folder_that_is_not_there_is_no_leave_to_be_anywhere(internal, web, files, folder, app, tmp_path):
    """A container with a part of the tree, and the wrong `DODAI_SERVICE`."""
    write(tmp_path, {".git/HEAD": "", "dodai.toml": two(internal, web), **files})
    assert outcome(tmp_path / folder, UVICORN, app, DODAI_SERVICE="internal") == "DOD188"


@pytest.mark.parametrize("how", HOW)
def test_project_further_inside_has_its_own_rules_whatever_folder_is_missing(how, tmp_path):
    """Started from the outer folder, which knows a module of that name in a folder that this machine has not got."""
    write(
        tmp_path, {"dodai.toml": manifest(how, PLAIN, "hooks"), ".git/HEAD": "", "in/web.py": ONE, "in/.git/HEAD": ""}
    )
    write(tmp_path, {"in/dodai.toml": '[project]\nname = "inner"\n'})
    assert outcome(tmp_path, (*UVICORN, "--app-dir", "in"), "web:app", DODAI_SERVICE="web") == "DOD187"


def test_image_without_the_folders_of_its_services_serves_what_lies_beside_the_manifest(tmp_path):
    """Both folders are missing; no other service has the name."""
    web = f'command = {X}\napp = "shop:app"\ncwd = "web"'
    write(tmp_path, {"dodai.toml": two(INTERNAL, web), "main.py": ONE, "shop.py": ONE})
    assert outcome(tmp_path, UVICORN, "main:app", DODAI_SERVICE="internal") == "paid"
    assert outcome(tmp_path, UVICORN, "shop:app", DODAI_SERVICE="internal") == "DOD188"


@pytest.mark.parametrize(
    ("web", "expected"), [("app.main:app", "DOD188"), ("shop.main:app", "paid")], ids=["its name too", "its name alone"]
)
@pytest.mark.parametrize("linked", [False, True], ids=["installed", "linked"])
def test_installed_module_counts_by_a_name_that_no_other_service_has(web, expected, linked, tmp_path):
    """Two projects of a repository, each with its package `app`, and one of them was installed."""
    internal = f'command = {X}\napp = "app.main:app"\ncwd = "internal"'
    write(tmp_path, {"dodai.toml": two(internal, f'command = {X}\napp = "{web}"\ncwd = "web"'), ".git/HEAD": ""})
    write(tmp_path, {"web/app/main.py": ONE, "internal/app/main.py": ONE, "run/x": ""})
    site = tmp_path / "venv/lib/site-packages"
    write(site, {"app/main.py": ONE} if not linked else {"x": ""})
    if linked:
        (site / "app").symlink_to(tmp_path / "web/app")
    given = {"DODAI_SERVICE": "internal", "PYTHONPATH": str(site)}
    assert outcome(tmp_path / "run", UVICORN, "app.main:app", **given) == expected
    given["DODAI_SERVICE"] = "web"
    assert outcome(tmp_path / "run", UVICORN, "app.main:app", **given) == "DOD150", "checked, and it starts"


def test_two_applications_of_one_installed_module_are_told_apart(tmp_path):
    """The same module of the same folder: the object that is named counts."""
    internal, web = f'command = {X}\napp = "m:api"', f'command = {X}\napp = "m:app"'
    write(
        tmp_path, {"dodai.toml": two(internal, web), "lib/site-packages/m.py": ONE + "api = dodai.asgi.wrap(made())\n"}
    )
    given = {"DODAI_SERVICE": "internal", "PYTHONPATH": str(tmp_path / "lib/site-packages")}
    assert outcome(tmp_path, UVICORN, "m:api", **given) == "paid"
    assert outcome(tmp_path, UVICORN, "m:app", **given) == "DOD188"


@pytest.mark.parametrize("run", [("-m", "run", "{port}"), ("run.py", "{port}")], ids=["python -m", "python"])
@pytest.mark.parametrize("web", [f'command = {X}\ncwd = "web"', f'command = {X}\napp = "wsgi:app"\ncwd = "web"'])
def test_program_of_the_same_name_in_another_folder_is_not_that_of_the_command(run, web, tmp_path):
    """`python -m run` in each folder, and the wrong `DODAI_SERVICE`."""
    internal = 'command = ["{python}", "-m", "run"]\ncwd = "internal"'
    program = ONE + PROGRAM.format(app="app").replace("sys.argv[1]", "sys.argv[-1]")
    write(tmp_path, {"dodai.toml": two(internal, web), ".git/HEAD": ""})
    write(tmp_path, {"web/run.py": program, "internal/run.py": program})
    assert outcome(tmp_path / "web", run, "", DODAI_SERVICE="internal") == "DOD188"
    assert outcome(tmp_path / "internal", run, "", DODAI_SERVICE="internal") == "paid"


def test_program_with_other_arguments_is_not_that_of_the_command(tmp_path):
    """`run.py internal` is open; `run.py web` runs the same file."""
    internal = 'command = ["{python}", "run.py", "internal", "{port}"]'
    write(tmp_path, {"dodai.toml": two(internal, f"command = {X}")})
    write(tmp_path, {"run.py": ONE + PROGRAM.format(app="app").replace("sys.argv[1]", "sys.argv[-1]")})
    assert outcome(tmp_path, ("run.py", "web", "{port}"), "", DODAI_SERVICE="internal") == "DOD188"
    assert outcome(tmp_path, ("run.py", "internal", "{port}"), "", DODAI_SERVICE="internal") == "paid"


def test_first_of_several_folders_that_have_the_module_is_meant(tmp_path):
    """As Python goes through `PYTHONPATH`."""
    env = 'env = { PYTHONPATH = "one:two" }\n'
    write(tmp_path, {"dodai.toml": manifest("off", PLAIN, ".", env=env), "one/web.py": ONE, "two/web.py": ONE})
    for folder, expected in (("two", "DOD188"), ("one", "paid")):
        assert outcome(tmp_path, (*UVICORN, "--app-dir", folder), "web:app", DODAI_SERVICE="web") == expected


@pytest.mark.parametrize("how", HOW)
def test_manifest_that_is_named_opens_nothing_in_another_project(how, tmp_path):
    """`DODAI_MANIFEST` was left behind by another project, whose module has the same name and is not on this machine."""
    write(tmp_path, {"etc/dodai.toml": manifest(how, cwd="."), "app/lib/web.py": ONE})
    given = {"DODAI_SERVICE": "web", "DODAI_MANIFEST": str(tmp_path / "etc/dodai.toml")}
    own = '[project]\nname = "{}"\n'
    for text, expected in (
        (None, "paid"),
        (own.format("shop"), "paid"),
        (own.format("mine"), HOW[how][2]),
        ("[project", HOW[how][2]),
    ):
        write(tmp_path, {"app/dodai.toml": text} if text else {})
        assert outcome(tmp_path / "app/lib", UVICORN, "web:app", **given) == expected


@pytest.mark.parametrize(
    "start", [["npm", "start"], ["npx", "concurrently", "x"], ["{npm}", "run", "web"], ["pnpm", "x"]]
)
def test_service_that_a_script_of_npm_starts_may_be_one_of_python(start, tmp_path):
    """Nothing says what it is, so that the application may be its own."""
    internal = f"command = {X}"
    write(tmp_path, {"dodai.toml": two(internal, f"command = {start}".replace("'", '"')), "m.py": ONE})
    assert outcome(tmp_path, UVICORN, "m:app", DODAI_SERVICE="internal") == "DOD188"
