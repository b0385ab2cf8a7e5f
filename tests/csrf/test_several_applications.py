"""Of several applications in one process, what lets requests pass holds in the one that is named: real servers say so."""

from __future__ import annotations

import pytest
from tests.csrf.test_whose_application import (
    APP,
    EXEMPT,
    FLASK,
    ONE,
    ONLY,
    PROGRAM,
    SCRIPT,
    SERVER,
    SRV,
    W,
    X,
    off,
    only,
    outcome,
    write,
)

BETWEEN = {
    "object": """
class Between:
    def __init__(self, mine, theirs): self.mine, self.theirs = mine, theirs
    async def __call__(self, s, r, t):
        own = s.get("path", "").startswith("/own")
        await (self.mine if own else self.theirs)({**s, "path": s.get("path", "").removeprefix("/own")}, r, t)
app = Between(own, web.app)
""",
    "closure": """
def between(mine, theirs):
    async def chosen(s, r, t):
        own = s.get("path", "").startswith("/own")
        await (mine if own else theirs)({**s, "path": s.get("path", "").removeprefix("/own")}, r, t)
    return chosen
app = between(own, web.app)
""",
    "mounts": """
from starlette.routing import Mount
app = Starlette(routes=[Mount("/own", own), Mount("/", web.app)])
""",
}


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
@pytest.mark.parametrize("web", ["web:app", "elsewhere:app"])
def test_name_of_what_stands_before_two_applications_is_the_name_of_neither(between, web, tmp_path):
    """Whatever else is in the manifest: what may be open is named itself."""
    write(tmp_path, {"web.py": ONE, "m.py": ONE.replace("app =", "own =") + "import web\n" + between})
    for path in ("/pay", "/own/pay"):
        write(tmp_path, {"dodai.toml": off(web, "m:app")})
        assert outcome(tmp_path, SCRIPT, "m:app", path, DODAI_SERVICE="api") == "DOD188"
        write(tmp_path, {"dodai.toml": off(web, "m:own")})
        expected = "paid" if path == "/own/pay" else "DOD188"
        assert outcome(tmp_path, SCRIPT, "m:app", path, DODAI_SERVICE="api") == expected


MOUNTS = "from starlette.routing import Mount\n"
CREATE = (
    MOUNTS
    + APP
    + """
def create():
    {first}
    {second}
    return Starlette(routes=[Mount("/other", other), Mount("/", dodai.asgi.wrap(made()))])
"""
)
FACTORY = (*SCRIPT, "--factory")


@pytest.mark.parametrize(
    ("web", "files", "made"),
    [
        ("web:app", {"web.py": ONE}, ("import web", "other = web.app")),
        (
            "web:create",
            {"web.py": APP + "def create(): return dodai.asgi.wrap(made())"},
            ("import web", "other = web.create()"),
        ),
        ("elsewhere:app", {}, ("other = dodai.asgi.wrap(made())", "")),
    ],
    ids=["imported", "made by another's factory", "nobody's"],
)
@pytest.mark.parametrize("off_here", [True, False], ids=["off", "exempt"])
def test_factory_names_the_only_application_of_a_process(web, files, made, off_here, tmp_path):
    """Of several, none: not what it imports while it runs, nor one of two that it makes."""
    text = off(web, "m:create")
    if not off_here:
        text = text.replace('csrf = "off"\ncsrf_reason = "only other services call it"\n', "") + EXEMPT
    write(tmp_path, {"dodai.toml": text, "m.py": CREATE.format(first=made[0], second=made[1]), **files})
    refused = "DOD188" if off_here else "DOD150"
    assert outcome(tmp_path, FACTORY, "m:create", "/other/pay", DODAI_SERVICE="api") == refused
    assert outcome(tmp_path, FACTORY, "m:create", DODAI_SERVICE="api") == refused
    write(tmp_path, {"m.py": CREATE.format(first="other = made()", second="")})
    assert outcome(tmp_path, FACTORY, "m:create", DODAI_SERVICE="api") == "paid", "the only one"


def test_factory_that_two_services_are_told_apart_by_its_arguments_names_neither(tmp_path):
    """Nothing shows what it was called with; two services that name the very same thing have the same application."""
    core = APP + "def create(kind): return dodai.asgi.wrap(made())\n"
    serve = "import core\nmine, theirs = core.create('api'), core.create('web')\n"
    write(tmp_path, {"core.py": core, "m.py": serve, "n.py": "import core\napp = core.create('web')\n"})
    write(tmp_path, {"dodai.toml": off("core:create('web')", "core:create('api')")})
    assert outcome(tmp_path, SCRIPT, "n:app", DODAI_SERVICE="api") == "DOD188"
    write(tmp_path, {"dodai.toml": off("core:create('web')", "m:mine")})
    assert outcome(tmp_path, SCRIPT, "m:mine", DODAI_SERVICE="api") == "paid"
    assert outcome(tmp_path, SCRIPT, "m:theirs", DODAI_SERVICE="api") == "DOD188"


LAZY = (
    APP
    + """
class Lazy:
    def __init__(self): self.made = {}
    async def __call__(self, s, r, t):
        host = s.get("path", "/")
        if host not in self.made: self.made[host] = dodai.asgi.wrap(made())
        await self.made[host](s, r, t)
app = Lazy()
"""
)


@pytest.mark.parametrize("off_here", [True, False], ids=["off", "exempt"])
def test_dispatcher_that_makes_its_applications_when_they_are_asked_for_names_none(off_here, tmp_path):
    """Whichever is asked first, and before there is a second one."""
    text = off("web:app", "m:app")
    if not off_here:
        text = text.replace('csrf = "off"\ncsrf_reason = "only other services call it"\n', "") + EXEMPT
    write(tmp_path, {"dodai.toml": text, "m.py": LAZY})
    assert outcome(tmp_path, SCRIPT, "m:app", DODAI_SERVICE="api") == ("DOD188" if off_here else "DOD150")


def test_program_that_serves_several_applications_opens_none_of_them(tmp_path):
    """It has no `app`, so that nothing says which one is meant."""
    program = (
        MOUNTS + ONE + "from core import create\nboth = Starlette(routes=[Mount('/web', create()), Mount('/', app)])\n"
    )
    write(tmp_path, {"core.py": APP + "def create(): return dodai.asgi.wrap(made())\n"})
    write(tmp_path, {"dodai.toml": off("core:create", "", X, '["{python}", "run"]')})
    write(tmp_path, {"run": program + PROGRAM.format(app="both")})
    for path in ("/pay", "/web/pay"):
        assert outcome(tmp_path, ("run", "{port}"), "", path, DODAI_SERVICE="api") == "DOD188"
    write(tmp_path, {"run": ONE + PROGRAM.format(app="app")})
    assert outcome(tmp_path, ("run", "{port}"), "", DODAI_SERVICE="api") == "paid"


ALIKE = """
import dodai.wsgi
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware
def plain(view):
    def inner(*a, **k): return view(*a, **k)
    return inner
def made(name, said):
    app = Flask(name)
    app.add_url_rule("/pay", name, plain(lambda: said), methods=["POST"])
    app.wsgi_app = dodai.wsgi.wrap(app)
    return app
shop, bank = made("shop", "paid"), made("bank", "moved")
app = DispatcherMiddleware(shop, {"/bank": bank})
"""


@pytest.mark.parametrize(("named", "expected"), [("m:app", "DOD150"), ("m:shop", "paid"), ("", "DOD150")])
def test_exemption_is_not_that_of_a_handler_which_is_written_in_the_same_place(named, expected, tmp_path):
    """Nor is a dispatcher the name of the one that it calls where no path says otherwise."""
    write(tmp_path, {"dodai.toml": only(named), "m.py": ALIKE, "srv/__main__.py": SERVER})
    assert outcome(tmp_path, SRV, "m:app", DODAI_SERVICE="web") == expected
    assert outcome(tmp_path, SRV, "m:app", "/bank/pay", DODAI_SERVICE="web") == "DOD150"


@pytest.mark.parametrize(("named", "expected"), [("m:app", "DOD188"), ("m:shop", "paid")])
def test_only_service_that_is_off_opens_what_it_names_and_nothing_beside_it(named, expected, tmp_path):
    """Also where no other service is in the manifest."""
    text = f'{ONLY}app = "{named}"\ncsrf = "off"\ncsrf_reason = "mTLS"\n'
    write(tmp_path, {"dodai.toml": text, "m.py": ALIKE, "srv/__main__.py": SERVER})
    assert outcome(tmp_path, SRV, "m:app", DODAI_SERVICE="web") == expected
    assert outcome(tmp_path, SRV, "m:app", "/bank/pay", DODAI_SERVICE="web") == "DOD188"


AROUND = """
import web
class Around:
    def __init__(self, app): self.app, self.mine = app, None
    async def __call__(self, s, r, t):
        if s.get("path", "").startswith("/own"): self.mine = self.mine or dodai.asgi.wrap(made())
        await (self.mine or self.app)(s, r, t)
app = Around(web.app)
"""


@pytest.mark.parametrize(("web", "expected"), [("web:app", "DOD188"), ("elsewhere:app", "paid")])
def test_middleware_names_what_it_keeps_unless_another_service_does(web, expected, tmp_path):
    """And it is the only one: then nothing else can be meant."""
    write(tmp_path, {"dodai.toml": off(web, "m:app"), "web.py": ONE, "m.py": APP + AROUND})
    assert outcome(tmp_path, SCRIPT, "m:app", DODAI_SERVICE="api") == expected


@pytest.mark.parametrize("more", ['"-n", "web:app", ', '"uvicorn", "web:app", "--", '])
def test_command_with_several_names_gives_none(more, tmp_path):
    """The value of an option, or of another program, is no application of the service."""
    both = MOUNTS + "import web, api\napp = Starlette(routes=[Mount('/web', web.app), Mount('/', api.app)])\n"
    command = f'["gunicorn", {more}"api:app"]'
    write(tmp_path, {"dodai.toml": off("web:app", "", X, command), "web.py": ONE, "api.py": ONE, "m.py": APP + both})
    assert outcome(tmp_path, SCRIPT, "m:app", "/web/pay", DODAI_SERVICE="api") == "DOD188"


MORE = {
    "report": ('mode = "report"', '`mode = "report"`'),
    "trusted": ('mode = "header"\ntrusted_origins = ["https://evil.example"]', "`trusted_origins`"),
}
TWO_SERVICES = (
    '[project]\nname = "p"\n[service.web]\ncommand = ["x"]\napp = "{0}"\n[service.z]\ncommand = ["x"]\napp = "z:app"\n'
)


@pytest.mark.parametrize(("csrf", "keys"), MORE.values(), ids=MORE)
@pytest.mark.parametrize("source", [ONE, FLASK], ids=["ASGI", "WSGI"])
@pytest.mark.parametrize("text", [ONLY + 'app = "{0}"\n', TWO_SERVICES], ids=["one service", "two"])
@pytest.mark.parametrize("service", ["web", ""])
def test_what_lets_more_pass_is_not_for_what_only_imports_the_application(csrf, keys, source, text, service, tmp_path):
    """`shop` is what the manifest is about; `other` uses something of it and is served itself. Both are loaded."""
    write(tmp_path, {"dodai.toml": text.format("shop:app") + f"[csrf]\n{csrf}\n"})
    write(tmp_path, {"shop.py": source, "other.py": "import shop\n" + source, "srv/__main__.py": SERVER})
    command = SRV if source == FLASK else SCRIPT
    assert outcome(tmp_path, command, "other:app", DODAI_SERVICE=service) == "DOD150"
    said = (tmp_path / "told").read_text("utf-8")
    assert said.count(f"{keys} of its `[csrf]` does not hold here") == 1
    assert outcome(tmp_path, command, "shop:app", DODAI_SERVICE=service) == ("paid")
    assert "does not hold" not in (tmp_path / "told").read_text("utf-8")


@pytest.mark.parametrize(("csrf", "keys"), MORE.values(), ids=MORE)
def test_what_lets_more_pass_is_for_the_application_itself_and_not_for_what_calls_it(csrf, keys, tmp_path):
    """As an exemption: what stands around it may call another one as well."""
    write(tmp_path, {"m.py": APP + W + "async def app(s, r, t): await w(s, r, t)\n"})
    for named, expected in (("m:app", "DOD150"), ("m:w", "paid")):
        write(tmp_path, {"dodai.toml": f'{ONLY}app = "{named}"\n[csrf]\n{csrf}\n'})
        assert outcome(tmp_path, SCRIPT, "m:app") == expected
        said = (tmp_path / "told").read_text("utf-8")
        assert said.count(f"{keys} of its `[csrf]` does not hold here") == (expected == "DOD150")


def test_without_services_what_lets_more_pass_is_for_all_of_a_process(tmp_path):
    """The manifest has only `[csrf]`: nothing tells one application from the other."""
    write(tmp_path, {"dodai.toml": '[project]\nname = "p"\n[csrf]\nmode = "report"\n', "shop.py": ONE})
    write(tmp_path, {"other.py": "import shop\n" + ONE})
    assert outcome(tmp_path, SCRIPT, "other:app") == "paid"


LATE = """
async def app(s, r, t):
    import core, shop
    own = s.get("path", "").startswith("/shop")
    await (shop if own else core).app({**s, "path": s.get("path", "").removeprefix("/shop")}, r, t)
"""
LATE_WSGI = """
def app(environ, start_response):
    import core, shop
    own = environ["PATH_INFO"].startswith("/shop")
    environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix("/shop")
    return (shop if own else core).app(environ, start_response)
"""


@pytest.mark.parametrize("how", ["off", "exempt", "report"])
@pytest.mark.parametrize(("source", "main"), [(ONE, LATE), (FLASK, LATE_WSGI)], ids=["ASGI", "WSGI"])
@pytest.mark.parametrize("imports", ["import core, shop", "import core as shop, core"], ids=["two", "one"])
def test_function_that_is_the_application_is_no_factory_of_what_it_loads(how, source, main, imports, tmp_path):
    """It imports what it calls when the first request comes: that is then the only one that the process has wrapped."""
    opened = 'csrf = "off"\ncsrf_reason = "r"\n' if how == "off" else ""
    section = {"exempt": EXEMPT.replace('"api"', '"web"'), "report": '[csrf]\nmode = "report"\n'}.get(how, "")
    write(tmp_path, {"dodai.toml": f'{ONLY}app = "main:app"\n{opened}{section}', "core.py": source, "shop.py": source})
    write(tmp_path, {"main.py": main.replace("import core, shop", imports), "srv/__main__.py": SERVER})
    command = SRV if source == FLASK else SCRIPT
    assert outcome(tmp_path, command, "main:app", DODAI_SERVICE="web") == ("DOD188" if how == "off" else "DOD150")


@pytest.mark.parametrize("off_here", [True, False], ids=["off", "exempt"])
def test_factory_does_not_make_what_it_only_imports(off_here, tmp_path):
    """Which line an import stands on decides nothing: `web:app` is the application of a service that is checked."""
    text = off("", "m:create", '["./start.sh"]')
    if not off_here:
        text = text.replace('csrf = "off"\ncsrf_reason = "only other services call it"\n', "") + EXEMPT
    inside = "def create():\n    import web\n    return Starlette(routes=[Mount('/', web.app)])\n"
    write(tmp_path, {"dodai.toml": text, "web.py": ONE, "m.py": MOUNTS + APP + inside})
    refused = "DOD188" if off_here else "DOD150"
    assert outcome(tmp_path, FACTORY, "m:create", DODAI_SERVICE="api") == refused
    own = "def create():\n    return dodai.asgi.wrap(made())\n"
    write(tmp_path, {"m.py": MOUNTS + APP + own})
    assert outcome(tmp_path, FACTORY, "m:create", DODAI_SERVICE="api") == "paid"


TWICE = {
    "plain": "api, web = dodai.asgi.wrap(inner), dodai.asgi.wrap(inner)\n",
    "middleware inside": "api, web = dodai.asgi.wrap(inner), dodai.asgi.wrap(GZipMiddleware(inner))\n",
    "middleware outside": "api, web = dodai.asgi.wrap(inner), GZipMiddleware(dodai.asgi.wrap(inner))\n",
    "both in middleware": "api, web = (GZipMiddleware(dodai.asgi.wrap(inner)) for _ in range(2))\n",
}
TWICE_WSGI = {
    "plain": "api, web = dodai.wsgi.wrap(app), dodai.wsgi.wrap(app)\n",
    "bound": "api, web = dodai.wsgi.wrap(app), dodai.wsgi.wrap(app.wsgi_app)\n",
    "middleware inside": "api, web = dodai.wsgi.wrap(app), dodai.wsgi.wrap(ProxyFix(app.wsgi_app))\n",
}
GZIP = "from starlette.middleware.gzip import GZipMiddleware\n"
PLAIN_FLASK = "import dodai.wsgi\nfrom flask import Flask\nfrom werkzeug.middleware.proxy_fix import ProxyFix\n"
PLAIN_FLASK += "app = Flask(__name__)\napp.post('/pay')(lambda: 'paid')\n"
CASES = [(APP + GZIP + "inner = made()\n" + each, SCRIPT) for each in TWICE.values()]
CASES += [(PLAIN_FLASK + each, SRV) for each in TWICE_WSGI.values()]


@pytest.mark.parametrize("off_here", [True, False], ids=["off", "exempt"])
@pytest.mark.parametrize(("source", "command"), CASES, ids=[*TWICE, *(f"WSGI, {each}" for each in TWICE_WSGI)])
@pytest.mark.parametrize("web", ["m:web", "other:app"], ids=["named by another", "named by nobody"])
def test_application_that_is_wrapped_twice_is_open_in_the_layer_that_is_named(off_here, source, command, web, tmp_path):
    """Once for the inside and once for the public: what the reason of one says is not for the other."""
    text = off(web, "m:api")
    if not off_here:
        text = text.replace('csrf = "off"\ncsrf_reason = "only other services call it"\n', "") + EXEMPT
    write(tmp_path, {"dodai.toml": text, "m.py": source, "srv/__main__.py": SERVER})
    assert outcome(tmp_path, command, "m:web", DODAI_SERVICE="api") == ("DOD188" if off_here else "DOD150")
    assert outcome(tmp_path, command, "m:api", DODAI_SERVICE="api") == "paid"


NESTED = {
    "ASGI": (APP + "app = dodai.asgi.wrap(dodai.asgi.wrap(made()))\n", SCRIPT),
    "WSGI": (PLAIN_FLASK.replace("app = Flask", "f = Flask").replace("app.post", "f.post"), SRV),
}
NESTED["WSGI"] = (NESTED["WSGI"][0] + "app = dodai.wsgi.wrap(ProxyFix(dodai.wsgi.wrap(f)))\n", SRV)


@pytest.mark.parametrize(("source", "command"), NESTED.values(), ids=NESTED)
def test_layer_inside_the_one_that_is_named_is_part_of_it(source, command, tmp_path):
    """Wrapped twice, one around the other: both have to allow a request."""
    write(tmp_path, {"dodai.toml": off("web:app", "m:app"), "m.py": source, "srv/__main__.py": SERVER})
    assert outcome(tmp_path, command, "m:app", DODAI_SERVICE="api") == "paid"
