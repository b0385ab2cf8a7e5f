"""`python -m identity`: an OpenID provider for development, on the path where Authentik has its own.

Everybody may sign in as anybody, so it runs in local environments only (`local_only` in dodai.toml). Whoever comes
with a `login_hint` is signed in as that at once: journeys need no browser.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable
from functools import cached_property
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import flask
import oidc_provider_mock
from oidc_provider_mock import User
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import WSGIRequestHandler, make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

MOUNTED_AT = "/application/o/quiz"
PEOPLE = (
    User(sub="hanako", claims={"name": "Hanako"}),
    User(sub="taro", claims={"name": "Taro"}),
)


class MountedRequest(flask.Request):
    """The provider takes the host alone for its issuer; here the issuer has a path."""

    @cached_property
    def host_url(self) -> str:
        return self.root_url


class QuietHandler(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: whoever signs in leaves a code in the query string."""


def provider() -> flask.Flask:
    app = oidc_provider_mock.app(user_claims=PEOPLE)
    app.request_class = MountedRequest
    app.debug = False
    app.before_request(take_the_hint)
    # The provider wraps itself in a debugger that runs whatever it is sent; the application inside is enough.
    app.wsgi_app = app.wsgi_app.app
    return app


def take_the_hint() -> flask.Response | None:
    """What the form of the provider would do, done for the name in `login_hint`; None: the form is shown."""
    hint = flask.request.args.get("login_hint")
    if flask.request.method != "GET" or not hint or not flask.request.path.endswith("/authorize"):
        return None
    answer = flask.current_app.test_client().post(
        flask.request.full_path, base_url=flask.request.root_url, data={"sub": hint}
    )
    return flask.Response(f"{answer.location}\n", answer.status_code, {"Location": answer.location or ""}, "text/plain")


def outside(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """What is beside the provider: /readyz for the Host, and nothing else."""
    ready = environ["PATH_INFO"] in ("/readyz", "/healthz")
    body = {"ready": ready, "version": os.environ.get("DODAI_RELEASE", ""), "dependencies": {}}
    start_response("200 OK" if ready else "404 Not Found", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]


def main() -> None:
    app = DispatcherMiddleware(outside, {MOUNTED_AT: provider()})
    server = make_server("127.0.0.1", int(os.environ["PORT"]), app, threaded=True, request_handler=QuietHandler)

    def leave(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - the signature of a handler
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    server.serve_forever()


if __name__ == "__main__":
    main()
