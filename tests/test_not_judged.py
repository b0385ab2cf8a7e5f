"""`dodai check` where it cannot look: every area says how much of it was judged, and not judged is never a pass."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROJECT = '[project]\nname = "shop"\n'
APP = """
from starlette.applications import Starlette
from starlette.routing import Route

async def save(request):
    raise AssertionError("a handler ran")

app = Starlette(routes=[Route("/save", save, methods=["POST"])])
"""
NEXT = '{"dependencies": {"next": "15.5.0"}}'
WEB = '[service.web]\ncommand = ["{python}", "-m", "shop"]\napp = "shop:app"\npublic = true\n'


def check(folder, *words):
    """(exit code, stdout, stderr) of `dodai check` in `folder`."""
    command = [sys.executable, "-m", "dodai", "check", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout, done.stderr


def write(folder, **files):
    """A git repository with `files`; `__` in a name is `/`, the last `_` a dot."""
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    for name, text in files.items():
        path = folder / ".".join(name.replace("__", "/").rsplit("_", 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("manifest", "seen"),
    [
        (None, "`client/package.json` uses Next.js, whose actions are not listed"),
        (PROJECT, "`client/package.json` uses Next.js, whose actions are not listed"),
        (
            PROJECT + '[service.web]\ncommand = ["npm", "start"]\ncwd = "client"\npublic = true\n',
            "service `web` is Next.js (`client/package.json`), whose actions are not listed",
        ),
        (
            PROJECT + '[service.web]\ncommand = ["node", "server.js"]\n',
            "service `web` runs `node server.js`, whose routes are not listed",
        ),
    ],
)
def test_typescript_web_tier_is_named_and_ends_with_1(tmp_path, manifest, seen):
    """With a manifest or without, declared as a service or not."""
    files = {"dodai_toml": manifest} if manifest else {}
    code, out, _ = check(write(tmp_path, client__package_json=NEXT, **files), "csrf")
    assert f"csrf: not judged (TypeScript web tier: {seen}" in out
    assert "csrf: ok" not in out
    assert code == 1


def test_python_app_that_the_manifest_does_not_name_ends_with_2(tmp_path):
    """The cause is the manifest, and the fix is the line it lacks."""
    code, out, _ = check(write(tmp_path, shop_py=APP, dodai_toml=PROJECT), "csrf")
    assert "csrf: not judged (`shop.py` imports starlette, and no `[service.NAME]` has an `app`)" in out
    assert 'fix: name the object that the server runs: `[service.web] app = "web.app:app"`' in out
    assert code == 2


def test_public_service_without_app_is_not_hidden_by_another_that_has_one(tmp_path):
    """The findings of the one are shown, and its rules are not judged as long as the other is not looked at."""
    other = '[service.admin]\ncommand = ["./admin"]\npublic = true\n'
    folder = write(tmp_path, shop_py=APP, dodai_toml=PROJECT + WEB + other)
    code, out, _ = check(folder, "csrf")
    assert "DOD101 unprotected-route: `POST /save`" in out
    assert "csrf: 1 error, not judged (service `admin` has no `app`, so its routes are not listed" in out
    assert code == 1


def test_services_that_no_browser_reaches_need_no_app(tmp_path):
    """What speaks gRPC, is not public or stands in for something else locally has no forms of ours."""
    others = '[service.rpc]\ncommand = ["./rpc"]\nprotocol = "grpc"\n[service.worker]\ncommand = ["./worker"]\n'
    others += '[service.identity]\ncommand = ["./identity"]\nlocal_only = true\n'
    app = APP + "import dodai.asgi\napp = dodai.asgi.wrap(app)\n"
    code, out, _ = check(write(tmp_path, shop_py=app, dodai_toml=PROJECT + WEB + others), "csrf")
    assert "csrf: ok, judged 14 of 23 (4 not applicable: no file matches the patterns" in out
    assert code == 0


def test_import_that_fails_is_not_judged(tmp_path):
    """The reason is that of the import."""
    code, out, _ = check(write(tmp_path, shop_py="import nothing_here\n", dodai_toml=PROJECT + WEB), "csrf")
    assert "csrf: not judged (importing `shop:app` failed with ModuleNotFoundError" in out
    assert code == 1


def test_without_a_manifest_the_rules_that_need_it_are_not_judged(tmp_path):
    """Nothing is called ok, and the exit code is that of a missing manifest; what git tracks is asked all the same."""
    code, out, _ = check(write(tmp_path, a_txt="nothing"))
    assert "operations: not judged (there is no dodai.toml), judged 1 of" in out
    assert "ok" not in out
    assert code == 2


def test_manifest_that_is_not_sound_leaves_every_area_unjudged(tmp_path):
    """Its problems are the findings; no rule was asked."""
    code, out, _ = check(write(tmp_path, dodai_toml='[project]\nnaem = "x"\n'))
    assert "DOD002" in out
    for area in ("csrf", "migrations", "operations", "observability"):
        assert f"{area}: not judged (the manifest is not sound), judged 0 of" in out
    assert code == 2


def test_area_that_was_asked_for_and_is_not_there_is_no_pass(tmp_path):
    """`check migrations` in a repository without migrations judged nothing; `check` says that they do not apply."""
    folder = write(tmp_path, dodai_toml=PROJECT)
    code, out, _ = check(folder, "migrations")
    assert "migrations: not judged (there is no folder `db/migrations`), judged 0 of" in out
    assert code == 1
    code, out, _ = check(folder)
    assert "migrations: not applicable (there is no folder `db/migrations`), judged 0 of" in out
    assert code == 0


def test_folder_of_migrations_that_the_manifest_names_has_to_be_there(tmp_path):
    """A wrong name is not an empty history."""
    code, out, _ = check(write(tmp_path, dodai_toml=PROJECT + '[migrations]\nfolder = "db/migrate"\n'))
    assert "migrations: not judged (there is no folder `db/migrate`, which `[migrations]` names)" in out
    assert code == 2


def test_fast_says_which_rules_it_left_out(tmp_path):
    """The rules that would run something stand beside what was judged."""
    code, out, _ = check(write(tmp_path, dodai_toml=PROJECT), "--fast")
    assert "csrf: ok, judged 3 of 23 (20 left out by `--fast`: DOD101, DOD102, DOD103," in out
    assert code == 0


def test_allowance_lets_what_was_not_judged_pass_and_prints_why(tmp_path):
    """By code, by name or by area; the reason stands in every format."""
    folder = write(tmp_path, client__package_json=NEXT, dodai_toml=PROJECT)
    code, out, _ = check(folder, "csrf", "--allow-unjudged", "csrf=audited by hand in March")
    assert code == 0
    assert "allowed unjudged: audited by hand in March" in out
    code, out, _ = check(folder, "csrf", "--allow-unjudged", "csrf=by hand", "--json")
    document = json.loads(out)
    assert {row["allowedBecause"] for row in document["allowed"]} == {"by hand"}
    code, out, _ = check(folder, "csrf", "--allow-unjudged", "DOD101=by hand")
    assert code == 1
    assert "not judged" in out


@pytest.mark.parametrize("words", ["DOD101", "DOD101= ", "DOD999=x", "all=x"])
def test_allowance_needs_a_rule_and_a_reason(tmp_path, words):
    """A typing error allows nothing."""
    code, _, err = check(write(tmp_path, dodai_toml=PROJECT), "csrf", "--allow-unjudged", words)
    assert code == 2
    assert "DOD054 usage" in err


@pytest.mark.parametrize("form", ["json", "sarif", "github", "text"])
def test_every_format_says_what_was_not_judged_and_ends_alike(tmp_path, form):
    """A pipeline that reads another format than people do is told the same."""
    folder = write(tmp_path, client__package_json=NEXT, dodai_toml=PROJECT)
    code, out, _ = check(folder, "csrf", "--output-format", form)
    assert code == 1
    assert "TypeScript web tier" in out
    if form == "sarif":
        run = json.loads(out)["runs"][0]["invocations"][0]
        assert run["executionSuccessful"] is False
    if form == "github":
        assert out.startswith("::error title=not judged::DOD101, ")
