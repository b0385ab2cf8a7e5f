"""What CSRF protection adds to a request, beside its peers: each peer minus its own unprotected twin.

Three requests: a GET, a POST of a small form and a POST of a 1 MiB upload, all with a valid token where one is needed.
Peers come from the `bench` extra; one that is not installed is left out, one that cannot do a request says so.
"""

from __future__ import annotations

import asyncio
import atexit
import io
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apart import Answers, Apart
from results import record, spread

from dodai.core.request import RequestContext, bind
from dodai.csrf.enforce import csrf_token, protect
from dodai.csrf.policy import CsrfPolicy
from dodai.observability.policy import ObservabilityPolicy

ROUNDS = 41
KEYS = "abcd:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"
ORIGIN = "https://app.example.com"
FORM = "application/x-www-form-urlencoded"
BROWSER = [
    ("host", "app.example.com"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "ja,en;q=0.7"),
    ("sec-fetch-site", "same-origin"),
    ("origin", ORIGIN),
    ("referer", ORIGIN + "/form"),
]
COUNTS = {"GET": 200, "GET with token": 200, "POST form": 150, "POST 1 MiB": 12}


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, as a list of body pieces so that every peer streams the same."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    pieces: list[bytes]


@dataclass(frozen=True, slots=True)
class Case:
    """A peer: its protected application, the unprotected twin; `token` gives (cookie, field, header name, token)."""

    id: str
    guarded: Callable[[], Any]
    twin: Callable[[], Any]
    token: Callable[[Any], tuple[str, str, str, str]]
    wsgi: bool = False
    upload_in_header: bool = False
    form_in_header: bool = False
    renders: bool = False
    """Whether its page at `/form` has a token."""


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """A raw ASGI application that reads its body and answers."""
    if scope["path"] == "/form" and "dodai.csrf" in scope:
        csrf_token()
    more = scope["method"] == "POST"
    while more:
        more = (await receive()).get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"ok"})


def plain() -> Any:
    return bare


def dodai() -> Any:
    context = RequestContext()
    context.request_id = "0" * 32
    bind(context)
    return protect(bare, policy=CsrfPolicy(), keys=KEYS, origins=[ORIGIN])


def dodai_token(app: Any) -> tuple[str, str, str, str]:
    status, headers, body = asyncio.run(asgi(app, Ask("GET", "/-/dodai/csrf", BROWSER, [b""])))
    assert status == 200
    return cookie_of(headers), "csrf_token", "x-csrf-token", json.loads(body)["token"]


def starlette_csrf() -> Any:
    from starlette_csrf import CSRFMiddleware

    return CSRFMiddleware(bare, secret="s" * 40)


def asgi_csrf() -> Any:
    from asgi_csrf import asgi_csrf as wrap

    return wrap(bare, signing_secret="s" * 40, always_set_cookie=True)


def litestar(**more: Any) -> Any:
    from litestar import Litestar, get, post

    @get("/")
    async def index() -> str:
        return "ok"

    @post("/", status_code=200)
    async def save() -> str:
        return "ok"

    return Litestar([index, save], openapi_config=None, **more)


def litestar_csrf() -> Any:
    from litestar.config.csrf import CSRFConfig

    return litestar(csrf_config=CSRFConfig(secret="s" * 40))


def django(*middleware: str) -> Any:
    import sys
    import types

    import django as package
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse
    from django.urls import path

    settings.configure(SECRET_KEY="s" * 50, ROOT_URLCONF="bench_urls", ALLOWED_HOSTS=["*"], MIDDLEWARE=list(middleware))
    package.setup()
    urls = types.ModuleType("bench_urls")
    urls.urlpatterns = [path("", lambda _: HttpResponse("ok"))]  # type: ignore[attr-defined]
    sys.modules["bench_urls"] = urls
    return WSGIHandler()


def django_csrf() -> Any:
    return django("django.middleware.csrf.CsrfViewMiddleware")


def django_token(_: Any) -> tuple[str, str, str, str]:
    secret = "abcdefghijklmnopqrstuvwxyz012345"
    return f"csrftoken={secret}", "csrfmiddlewaretoken", "x-csrftoken", secret


def flask_app(page: Callable[[], str] = lambda: "ok") -> Any:
    from flask import Flask

    made = Flask("bench")
    made.secret_key = "s" * 40
    made.add_url_rule("/", view_func=lambda: "ok", methods=["GET", "POST"])
    made.add_url_rule("/form", endpoint="form", view_func=page)
    return made


def flask_wtf() -> Any:
    from flask_wtf import CSRFProtect
    from flask_wtf.csrf import generate_csrf

    guarded = flask_app(lambda: generate_csrf() and "ok")
    CSRFProtect(guarded)
    return guarded


def flask_dodai() -> Any:
    """All layers, with the line of each request written to a segment."""
    from dodai.wsgi import RuntimeConfig, wrap

    state = Path(tempfile.mkdtemp(prefix="dodai-bench-"))
    atexit.register(shutil.rmtree, state, ignore_errors=True)
    policy = ObservabilityPolicy(stdout=False)
    config = RuntimeConfig(state=state, csrf_keys=KEYS, origins=(ORIGIN,), release="bench", policy=policy)
    return wrap(flask_app(lambda: csrf_token() and "ok"), config=config)


def flask_dodai_token(app: Any) -> tuple[str, str, str, str]:
    from werkzeug.test import Client

    answer = Client(app, use_cookies=False).get("/-/dodai/csrf", base_url=ORIGIN)
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    return cookie, "csrf_token", "x-csrf-token", answer.json["token"]


def flask_token(app: Any) -> tuple[str, str, str, str]:
    from flask_wtf.csrf import generate_csrf

    with app.test_request_context("/", base_url=ORIGIN) as context:
        token = generate_csrf()
        response = app.response_class()
        app.session_interface.save_session(app, context.session, response)
    return response.headers["Set-Cookie"].partition(";")[0], "csrf_token", "x-csrftoken", token


def cookie_token(app: Any) -> tuple[str, str, str, str]:
    """For peers whose token is the cookie that any GET sets."""
    _, headers, _ = asyncio.run(asgi(app, Ask("GET", "/", BROWSER, [b""])))
    cookie = cookie_of(headers)
    return cookie, "csrftoken", "x-csrftoken", cookie.partition("=")[2].strip('"')


def litestar_token(app: Any) -> tuple[str, str, str, str]:
    cookie, _, header, token = cookie_token(app)
    return cookie, "_csrf_token", header, token


CASES = (
    Case("dodai", dodai, plain, dodai_token, renders=True),
    Case("starlette-csrf", starlette_csrf, plain, cookie_token, form_in_header=True, upload_in_header=True),
    Case("asgi-csrf", asgi_csrf, plain, cookie_token),
    Case("Litestar", litestar_csrf, litestar, litestar_token),
    Case("Django", django_csrf, django, django_token, wsgi=True),
    Case("Flask-WTF", flask_wtf, flask_app, flask_token, wsgi=True, renders=True),
    Case("dodai.wsgi, all layers", flask_dodai, flask_app, flask_dodai_token, wsgi=True, renders=True),
)


async def asgi(app: Any, ask: Ask) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """(status, headers, body) of one request."""
    pieces = iter(ask.pieces)
    left = len(ask.pieces)
    seen: list[Any] = [0, [], b""]

    async def receive() -> Any:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": next(pieces), "more_body": left > 0}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            seen[0], seen[1] = message["status"], message["headers"]
        else:
            seen[2] += message.get("body", b"")

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": ask.method,
        "scheme": "https",
        "path": ask.path,
        "raw_path": ask.path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in ask.headers],
        "client": ("192.0.2.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    await app(scope, receive, send)
    return seen[0], list(seen[1]), seen[2]


def wsgi(app: Any, ask: Ask) -> int:
    status: list[int] = []
    body = b"".join(ask.pieces)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": ask.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": ask.path,
        "QUERY_STRING": "",
        "SERVER_NAME": "app.example.com",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "CONTENT_LENGTH": str(len(body)),
    }
    for name, value in ask.headers:
        key = name.upper().replace("-", "_")
        environ["CONTENT_TYPE" if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
    result = app(environ, lambda line, headers, exc_info=None: status.append(int(line[:3])))  # noqa: ARG005
    for _ in result:
        pass
    if hasattr(result, "close"):
        result.close()
    return status[0]


def cookie_of(headers: list[tuple[bytes, bytes]]) -> str:
    found = [value.decode() for name, value in headers if name == b"set-cookie"]
    return found[-1].partition(";")[0] if found else ""


def asks(case: Case, guarded: Any) -> dict[str, Ask]:
    """The requests of a case; each must be answered 200 by both twins before anything is measured."""
    cookie, field, header, token = case.token(guarded)
    base = [*BROWSER, ("cookie", cookie)]
    small = f"a=1&b=hello+world&{field}={token}".encode()
    plain = b"a=1&b=hello+world&c=" + b"x" * 120
    boundary = "------------------------a94a8fe5ccb19ba6"
    parts = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{token}\r\n'
    parts += f'--{boundary}\r\nContent-Disposition: form-data; name="f"; filename="f.bin"\r\n\r\n'
    upload = parts.encode() + b"x" * (1 << 20) + f"\r\n--{boundary}--\r\n".encode()
    pieces = [upload[start : start + 65536] for start in range(0, len(upload), 65536)]
    in_header = [(header, token)]
    return {
        "GET": Ask("GET", "/", base, [b""]),
        **({"GET with token": Ask("GET", "/form", base, [b""])} if case.renders else {}),
        "POST form": Ask(
            "POST",
            "/",
            [*base, ("content-type", FORM), *(in_header if case.form_in_header else [])],
            [plain if case.form_in_header else small],
        ),
        "POST 1 MiB": Ask(
            "POST",
            "/",
            [
                *base,
                ("content-type", f"multipart/form-data; boundary={boundary}"),
                *(in_header if case.upload_in_header else []),
            ],
            pieces,
        ),
    }


def timed(app: Any, ask: Ask, count: int, is_wsgi: bool) -> float:
    """Microseconds of processor time of one request, over `count`."""
    if is_wsgi:
        started = time.process_time()
        for _ in range(count):
            wsgi(app, ask)
        return (time.process_time() - started) / count * 1e6

    async def many() -> float:
        began = time.process_time()
        for _ in range(count):
            await asgi(app, ask)
        return (time.process_time() - began) / count * 1e6

    return asyncio.run(many())


def problem(app: Any, ask: Ask, is_wsgi: bool) -> str:
    """Why `app` does not answer 200; empty when it does."""
    try:
        status = wsgi(app, ask) if is_wsgi else asyncio.run(asgi(app, ask))[0]
    except Exception as error:  # noqa: BLE001 - a peer that raises is a result
        return type(error).__name__
    return "" if status == 200 else str(status)


def answers(case_id: str, which: str) -> Answers:
    case = next(case for case in CASES if case.id == case_id)
    app = getattr(case, which)()
    return {
        "asks": lambda: asks(case, app),
        "problem": lambda ask: problem(app, ask, case.wsgi),
        "timed": lambda ask, count: timed(app, ask, count, case.wsgi),
    }


def measure() -> tuple[list[tuple[str, ...]], dict[str, dict[str, float]]]:
    """The rows of the table, and the medians by case and request; twins and peers alternate round by round."""
    ready: list[tuple[Case, str, Ask, Apart, Apart]] = []
    cells: dict[tuple[str, str], str] = {}
    built = []
    for case in CASES:
        guarded, twin = Apart(answers, case.id, "guarded"), Apart(answers, case.id, "twin")
        if guarded.missing:
            print(f"{case.id} is left out: {guarded.missing}")
            continue
        built.append(case)
        for name, ask in guarded.ask("asks").items():
            if why := guarded.ask("problem", ask):
                cells[case.id, name] = f"fails ({why})"
            elif why := twin.ask("problem", ask):
                raise RuntimeError(f"the twin of {case.id} does not answer {name}: {why}")
            else:
                ready.append((case, name, ask, guarded, twin))
    added: dict[tuple[str, str], list[float]] = {}
    for _ in range(ROUNDS):
        for case, name, ask, guarded, twin in ready:
            with_it, without = (side.ask("timed", ask, COUNTS[name]) for side in (guarded, twin))
            added.setdefault((case.id, name), []).append(with_it - without)
    medians: dict[str, dict[str, float]] = {}
    for (case_id, name), values in added.items():
        cells[case_id, name] = spread(values, "µs")
        medians.setdefault(case_id, {})[name] = statistics.median(values)
    rows = [(case.id, *(cells.get((case.id, name), "–") for name in COUNTS)) for case in built]
    return rows, medians


def ratios(medians: dict[str, dict[str, float]]) -> str:
    own = medians["dodai"]
    parts = []
    for name in COUNTS:
        others = {peer: found[name] for peer, found in medians.items() if peer != "dodai" and name in found}
        if others:
            said = ", ".join(f"{peer} {value / own[name]:.1f}x" for peer, value in others.items())
            parts.append(f"{name}: dodai 1.0x, {said}")
    return "Ratios of what is added. " + "; ".join(parts) + "."


def main() -> None:
    rows, medians = measure()
    notes = (
        ratios(medians)
        + " starlette-csrf reads no form field, so its token is in the header; Litestar, Django and Flask-WTF parse the"
        " form, which their handlers then need not do. Budget of dodai: GET with token ≤ 20 µs, form ≤ 36 µs, 1 MiB"
        " ≤ 60 µs. dodai runs inside a request context, as under `dodai.asgi.wrap`."
    )
    record("csrf", "CSRF: what protection adds to a request", ("peer", *COUNTS), rows, notes)


if __name__ == "__main__":
    main()
