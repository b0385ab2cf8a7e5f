"""Answers that say the question was wrong: no waiting makes them right, a key of the manifest or a route does."""

from __future__ import annotations

from urllib.parse import urlsplit

from dodai.operations.ports import Readiness, ServiceProbe

_NO_SUCH = frozenset({404, 405, 410, 501})
_ONLY_LISTENS = '`kind = "tcp"` there asks no more than that it listens'


def misasked_http(service: str, ready: Readiness, status: int, host: str, location: str) -> ServiceProbe | None:
    """What is wrong with asking for `ready.path`; None where the answer is about readiness."""
    keys, path = f"`[service.{service}.health]`", ready.path
    if status in _NO_SUCH:
        detail = f"it answers, but has no `{path}` ({status})"
        fix = (
            f'let it answer 200 at `{path}` once it can serve, or name a path that it has: `path = "/"` in {keys}; '
            + _ONLY_LISTENS
        )
    elif status in (401, 403):
        detail = f"`{path}` answered {status}: it wants to know who asks"
        fix = f"let `{path}` through without a sign-in, or name another `path` in {keys}; {_ONLY_LISTENS}"
    elif status == 400:
        detail = f"`{path}` answered 400 to a request for the host `{host}`"
        fix = f"`host` in {keys} is what it is asked as: name one that it accepts (Django: one of `ALLOWED_HOSTS`)"
    elif 300 <= status < 400:
        detail = f"`{path}` answered {status}, which leads to `{location}`"
        fix = _redirected(keys, path, location)
    else:
        return None
    return ServiceProbe(state="not_served", detail=detail, fix=fix)


def misasked_grpc(service: str, ready: Readiness, code: str) -> ServiceProbe | None:
    """The same for `grpc.health.v1`, by the status of the call."""
    keys = f"`[service.{service}.health]`"
    if code == "UNIMPLEMENTED":
        detail = "it answers, but does not serve `grpc.health.v1`"
        fix = f'register the health service of your gRPC library, or `kind = "tcp"` in {keys}'
    elif code == "NOT_FOUND":
        detail = f"`grpc.health.v1` does not know the service `{ready.path}`"
        fix = f"correct `path` in {keys}; empty asks about the whole server"
    else:
        return None
    return ServiceProbe(state="not_served", detail=detail, fix=fix)


def _redirected(keys: str, path: str, location: str) -> str:
    target = urlsplit(location)
    if target.path == f"{path}/":
        return f'`path = "{path}/"` in {keys}'
    if target.scheme == "https" and target.path in (path, ""):
        return f'`scheme = "https"` in {keys}: it is then told that the visitor came by https'
    return f"let `{path}` through without a sign-in, or name another `path` in {keys}; {_ONLY_LISTENS}"
