"""What lets more requests pass holds in an application whose code says which service it is, whatever a process is told."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from tests.csrf.driver import KEYS, call
from werkzeug.test import Client

import dodai.asgi
import dodai.wsgi
from dodai.core.errors import DodaiError
from dodai.runtime import Runtime, RuntimeConfig

FORGED = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Cookie": "session=victim"}
DEPLOYED = {
    "DODAI_ENV": "production",
    "DODAI_RELEASE": "r1",
    "DODAI_CSRF_KEYS": KEYS,
    "DODAI_PUBLIC_ORIGINS": "https://shop.example",
}
EXEMPT = '[[csrf.exemption]]\nroute = "POST /pay"\nreason = "r"\nowner = "o"\ncontrol = "c"\n'
HOW = {
    "off": ('csrf = "off"\ncsrf_reason = "mTLS"\n', ""),
    "exempt": ("", f'{EXEMPT}service = "api"\n'),
    "bearer": ("", f'{EXEMPT}service = "api"\nwhen = "bearer"\n'),
    "report": ("", '[csrf]\nmode = "report"\n'),
    "trusted": ("", '[csrf]\nmode = "header"\ntrusted_origins = ["https://evil.example"]\n'),
}
ONE_OF_THEM = ("off", "exempt", "bearer")
"""What is written for a service; the others are for all applications that say which one they are."""
WEB = '[project]\nname = "shop"\n[service.web]\ncommand = ["x"]\npublic = true\n'


def manifest(how: str, api: str = "") -> str:
    opened, section = HOW[how]
    return f'{WEB}[service.api]\ncommand = ["x"]\n{api}{opened}{section}'


async def pay(_: Any) -> PlainTextResponse:
    return PlainTextResponse("paid")


def starlette() -> Starlette:
    return Starlette(routes=[Route("/pay", pay, methods=["POST"])])


def outcome(wrap: Any, how: str, folder: Path, said: str, **environ: str) -> str:
    """What becomes of a forged request: `paid`, the code of its refusal, or the code that there was no start with."""
    (folder / "dodai.toml").write_text(manifest(how), "utf-8")
    told = {**DEPLOYED, "DODAI_MANIFEST": str(folder / "dodai.toml"), **environ}
    sent = FORGED | {"Host": "shop.example"}
    if how == "bearer":
        sent = {name: value for name, value in sent.items() if name != "Cookie"} | {"Authorization": "Bearer abc"}
    flask = Flask("shop")
    flask.add_url_rule("/pay", "pay", lambda: "paid", methods=["POST"])
    app = starlette() if wrap is dodai.asgi.wrap else flask
    try:
        layer = wrap(app, service=said and f"shop/{said}", config=RuntimeConfig.from_environment(told))
    except DodaiError as error:
        return error.code.id
    if app is flask:
        answer = Client(layer).post("/pay", headers=sent)
        status, body = answer.status_code, answer.text
    else:
        answered = asyncio.run(call(layer, "POST", "/pay", [(name.lower(), value) for name, value in sent.items()]))
        status, body = answered.status, answered.text
    return body if status == 200 else str(json.loads(body)["error"]["code"])


@pytest.mark.parametrize("process", ["api", "web", "", "nobody"])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("wrap", [dodai.asgi.wrap, dodai.wsgi.wrap], ids=["ASGI", "WSGI"])
def test_what_lets_more_pass_is_for_the_application_that_says_it_is_the_service(wrap, how, process, tmp_path):
    """`DODAI_SERVICE` is one variable, and easily that of another service: it opens nothing and closes nothing."""
    assert outcome(wrap, how, tmp_path, "api", DODAI_SERVICE=process) == "paid"
    expected = "DOD150" if how in ONE_OF_THEM else "paid"
    assert outcome(wrap, how, tmp_path, "web", DODAI_SERVICE=process) == expected
    assert outcome(wrap, how, tmp_path, "wbe", DODAI_SERVICE=process) == "DOD165"
    unnamed = "DOD188" if (how, process) == ("off", "api") else "DOD150"
    assert outcome(wrap, how, tmp_path, "", DODAI_SERVICE=process) == unnamed


@pytest.mark.parametrize(
    ("how", "keys"),
    [
        ("exempt", "the `[[csrf.exemption]]` of `POST /pay`"),
        ("report", '`[csrf] mode = "report"`'),
        ("trusted", "`[csrf] trusted_origins`"),
    ],
)
def test_application_that_does_not_say_which_service_it_is_is_told_what_that_takes(how, keys, tmp_path, capsys):
    """Also while developing, so that nothing changes when it is deployed; one that has nothing to lose hears nothing."""
    local = dict.fromkeys(DEPLOYED, "")
    for process, name in (("api", "shop/api"), ("", "shop/SERVICE")):
        outcome(dodai.wsgi.wrap, how, tmp_path, "", DODAI_SERVICE=process, **local)
        said = f"{keys} of the manifest does not hold here. fix: if `{tmp_path / 'dodai.toml'}` is its manifest, "
        said += "say which service it is where it is wrapped, "
        assert f'{said}`wrap(app, service="{name}")`' in capsys.readouterr().err
    outcome(dodai.wsgi.wrap, how, tmp_path, "api", **local)
    assert "does not hold" not in capsys.readouterr().err
    if how == "exempt":
        outcome(dodai.wsgi.wrap, how, tmp_path, "", DODAI_SERVICE="web", **local)
        assert "does not hold" not in capsys.readouterr().err


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("wrap", [dodai.asgi.wrap, dodai.wsgi.wrap], ids=["ASGI", "WSGI"])
@pytest.mark.parametrize(
    ("said", "code"), [("bank/api", "DOD187"), ("api", "DOD165"), ("/api", "DOD165"), ("shop/", "DOD165")]
)
def test_manifest_of_another_project_opens_nothing(said, code, how, wrap, tmp_path):
    """However it was found and whoever calls: services of many projects have the same name, projects have not."""
    (tmp_path / "dodai.toml").write_text(manifest(how), "utf-8")
    config = RuntimeConfig.from_environment({**DEPLOYED, "DODAI_MANIFEST": str(tmp_path / "dodai.toml")})
    with pytest.raises(DodaiError) as caught:
        wrap(starlette(), service=said, config=config)
    assert caught.value.code.id == code
    assert "`shop" in caught.value.message or code == "DOD187"
    with pytest.raises(DodaiError, match="`PROJECT/web`"):
        wrap(starlette(), service="web", config=RuntimeConfig())


@pytest.mark.parametrize("wrap", [dodai.asgi.wrap, dodai.wsgi.wrap], ids=["ASGI", "WSGI"])
def test_config_that_code_gives_one_application_opens_no_other_one(wrap, tmp_path):
    """The first config becomes that of the process; `shop/web` is given none, and is checked."""
    row = {"route": "POST /pay", "reason": "r", "owner": "o", "control": "c"}
    given = RuntimeConfig(service="api", state=tmp_path, csrf_keys=KEYS, origins=("https://shop.example",))
    for config in (replace(given, csrf_off="internal"), replace(given, sections={"csrf": {"exemption": [row]}})):
        Runtime._current = None
        statuses = []
        for more in ({"config": config}, {}, {"service": "shop/web"}):
            app = Flask("shop")
            app.add_url_rule("/pay", "pay", lambda: "paid", methods=["POST"])
            layer = wrap(starlette() if wrap is dodai.asgi.wrap else app, **more)
            sent = FORGED | {"Host": "shop.example"}
            pairs = [(name.lower(), value) for name, value in sent.items()]
            found = asyncio.run(call(layer, "POST", "/pay", pairs)).status if wrap is dodai.asgi.wrap else None
            statuses.append(found or Client(layer).post("/pay", headers=sent).status_code)
        assert statuses == [200, 403, 403]


def test_manifest_without_services_opens_nothing(tmp_path, capsys):
    """An exemption would be that of every application that has a name; mode `report` of whatever finds the file."""
    (tmp_path / "dodai.toml").write_text(f'[project]\nname = "shop"\n{EXEMPT}', "utf-8")
    config = RuntimeConfig.from_environment({**DEPLOYED, "DODAI_MANIFEST": str(tmp_path / "dodai.toml")})
    for said in ("shop/web", "shop/admin", ""):
        app = Flask("shop")
        app.add_url_rule("/pay", "pay", lambda: "paid", methods=["POST"])
        layer = dodai.wsgi.wrap(app, service=said, config=config)
        assert Client(layer).post("/pay", headers=FORGED | {"Host": "shop.example"}).status_code == 403
        why = (
            f"the manifest has no service `{said}`: the" if said else "the application does not say which service it is"
        )
        assert f"dodai: {why}" in capsys.readouterr().err


def test_process_says_what_is_not_checked_and_what_is_only_reported(tmp_path, capsys):
    """Once each, when it starts."""
    outcome(dodai.asgi.wrap, "off", tmp_path, "api")
    off = '`[service.api] csrf = "off"`: requests to its application are not checked for forgery, because: mTLS'
    assert capsys.readouterr().err.count(off) == 1
    outcome(dodai.asgi.wrap, "report", tmp_path, "api")
    assert capsys.readouterr().err.count('`[csrf] mode = "report"`: forged requests to this application reach it') == 1


def test_service_that_is_off_says_why_or_does_not_start(tmp_path):
    """A key is no reason."""
    text = manifest("off").replace('csrf_reason = "mTLS"\n', "")
    (tmp_path / "dodai.toml").write_text(text, "utf-8")
    config = RuntimeConfig.from_environment({**DEPLOYED, "DODAI_MANIFEST": str(tmp_path / "dodai.toml")})
    with pytest.raises(DodaiError, match="csrf_reason"):
        dodai.asgi.wrap(starlette(), service="shop/api", config=config)
    dodai.asgi.wrap(starlette(), service="shop/web", config=config)


async def test_each_application_of_a_process_has_the_rules_of_the_service_that_it_says_it_is(tmp_path):
    """One inside the other, beside the other, around the same application: both have to let a request pass."""
    (tmp_path / "dodai.toml").write_text(manifest("off"), "utf-8")
    config = RuntimeConfig.from_environment({**DEPLOYED, "DODAI_MANIFEST": str(tmp_path / "dodai.toml")})
    inner = starlette()
    api, web, nameless = (dodai.asgi.wrap(inner, service=said, config=config) for said in ("shop/api", "shop/web", ""))
    beside = Starlette(routes=[Mount("/api", api), Mount("/web", web), Mount("/none", nameless)])
    around = dodai.asgi.wrap(Starlette(routes=[Mount("/", api)]), service="shop/web", config=config)
    sent = [(name.lower(), value) for name, value in (FORGED | {"Host": "shop.example"}).items()]
    asked = [(beside, "/api/pay"), (beside, "/web/pay"), (beside, "/none/pay"), (around, "/pay")]
    assert [(await call(app, "POST", path, sent)).status for app, path in asked] == [200, 403, 403, 403]


def test_exemption_that_names_no_service_is_that_of_the_only_one(tmp_path):
    """Of one that is checked, or of one that there is."""
    for services in (
        '[service.web]\ncommand = ["x"]\n',
        '[service.web]\ncommand = ["x"]\n[service.rpc]\ncommand = ["x"]\nprotocol = "grpc"\n',
        '[service.web]\ncommand = ["x"]\nkind = "worker"\n',
    ):
        (tmp_path / "dodai.toml").write_text(f'[project]\nname = "shop"\n{services}{EXEMPT}', "utf-8")
        config = RuntimeConfig.from_environment({**DEPLOYED, "DODAI_MANIFEST": str(tmp_path / "dodai.toml")})
        statuses = []
        for said in ("shop/web", ""):
            app = Flask("shop")
            app.add_url_rule("/pay", "pay", lambda: "paid", methods=["POST"])
            layer = dodai.wsgi.wrap(app, service=said, config=config)
            statuses.append(Client(layer).post("/pay", headers=FORGED | {"Host": "shop.example"}).status_code)
        assert statuses == [200, 403], services


def test_process_says_so_where_an_exemption_cannot_hold(tmp_path, capsys):
    """A function of their own stands in front of the handlers: `dodai routes` is not the only one to know."""
    (tmp_path / "dodai.toml").write_text(manifest("exempt"), "utf-8")
    config = RuntimeConfig.from_environment({**DEPLOYED, "DODAI_MANIFEST": str(tmp_path / "dodai.toml")})

    async def between(scope: Any, receive: Any, send: Any) -> None:
        await HIDDEN[0](scope, receive, send)

    HIDDEN[:] = [starlette()]
    dodai.asgi.wrap(between, service="shop/api", config=config)
    said = "`POST /pay` does not hold here: nobody can see which handler a request gets to"
    assert capsys.readouterr().err.count(said) == 1


HIDDEN: list[Any] = []


def test_process_without_a_manifest_says_that_nothing_of_it_holds(tmp_path, monkeypatch, capsys):
    """Where it is deployed: the folder is wrong, or the file is not in the image. While developing there may be none yet."""
    monkeypatch.chdir(tmp_path)
    for told, count in ((DEPLOYED, 1), ({}, 0)):
        dodai.wsgi.wrap(Flask("shop"), service="shop/web", config=RuntimeConfig.from_environment(told))
        assert capsys.readouterr().err.count(f"no `dodai.toml` was found from `{tmp_path}`") == count


def test_application_that_does_not_start_says_what_to_do(tmp_path):
    """Below the traceback, which is all that a server shows."""
    program = "import dodai.wsgi, flask; dodai.wsgi.wrap(flask.Flask('shop'), service='shop/web')"
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "DODAI_ENV": "production"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    *_, fact, fix = done.stderr.splitlines()
    assert "DOD180" in fact
    assert fix.startswith("fix: set `DODAI_CSRF_KEYS`")
