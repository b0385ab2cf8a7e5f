"""When something is not as it should be: a page that says what to do and how to find this request again."""

from __future__ import annotations

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from web.backend import BackendError
from web.headers import headers_of
from web.pages import at_hand, request_id, wants_piece
from web.visitor import IdentityError

# The statuses that words.toml has sentences for; what is not listed is told in general words.
TOLD = (400, 401, 403, 404, 409, 422, 500, 503, 504)
RETRY_AFTER_S = 2


async def on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = show(request, error.status_code)
    answer.headers.update(error.headers or {})
    return answer


async def on_dependency(request: Request, error: Exception) -> Response:
    assert isinstance(error, BackendError | IdentityError)
    answer = show(request, error.http_status)
    if error.http_status in (503, 504):
        answer.headers["retry-after"] = str(RETRY_AFTER_S)
    return answer


async def on_any(request: Request, error: Exception) -> Response:  # noqa: ARG001 - dodai writes down what it was
    """Starlette answers this outside all middleware, so the headers are added here."""
    answer = show(request, 500)
    answer.headers.update(headers_of(at_hand(request).settings))
    return answer


def show(request: Request, status: int) -> Response:
    """The error as a page, a piece of a page or JSON, whichever was asked for."""
    if _wants_json(request):
        body = {"error": {"status": status, "name": HTTPStatus(status).phrase}, "requestId": request_id()}
        return JSONResponse(body, status, {"cache-control": "no-store"})
    told = status if status in TOLD else 500 if status >= 500 else 400
    template = "_notice.html" if wants_piece(request) else "error.html"
    return at_hand(request).pages.show(request, template, status=status, told=str(told), code=status)


def _wants_json(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/html" not in accept


handlers = {
    HTTPException: on_http,
    BackendError: on_dependency,
    IdentityError: on_dependency,
    Exception: on_any,
}
