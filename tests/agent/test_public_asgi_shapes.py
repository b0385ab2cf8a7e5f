"""An asynchronous application in the shape of two well-known public ones: guards, bearer, API keys, OAuth, mounts."""

from __future__ import annotations

from tests.agent.test_audit import WRAPPED, audit, verdicts

LITESTAR = """
from __future__ import annotations
from typing import Any
from uuid import UUID
from litestar import Controller, Litestar, Request, Router, asgi, delete, get, patch, post, websocket
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult, DefineMiddleware
from litestar.response import Redirect
from litestar.static_files import create_static_files_router


class TokenMiddleware(AbstractAuthenticationMiddleware):
    # a JWT in a cookie, or as bearer
    async def authenticate_request(self, connection: ASGIConnection) -> AuthenticationResult:
        token = connection.cookies.get("access") or connection.headers.get("authorization", "").removeprefix("Bearer ")
        if token != "good":
            raise NotAuthorizedException("no token")
        return AuthenticationResult(user="ann", auth=token)


def requires_superuser(connection: ASGIConnection, handler: BaseRouteHandler) -> None:
    if connection.user != "root":
        raise PermissionDeniedException("not a superuser")


class AccessController(Controller):
    path = "/api/access"

    @post("/login", opt={"public": True})
    async def login(self, data: dict[str, Any]) -> dict[str, str]: raise AssertionError("a handler ran")

    @post("/logout", opt={"public": True})
    async def logout(self) -> None: raise AssertionError("a handler ran")

    @post("/signup", opt={"public": True})
    async def signup(self, data: dict[str, Any]) -> None: raise AssertionError("a handler ran")


class TeamController(Controller):
    path = "/api/teams"

    @get()
    async def teams(self) -> list[str]: raise AssertionError("a handler ran")

    @post()
    async def create(self, data: dict[str, Any]) -> None: raise AssertionError("a handler ran")

    @patch("/{team_id:uuid}")
    async def change(self, team_id: UUID, data: dict[str, Any]) -> None: raise AssertionError("a handler ran")

    @delete("/{team_id:uuid}/members/{email:str}")
    async def remove(self, team_id: UUID, email: str) -> None: raise AssertionError("a handler ran")


class AdminController(Controller):
    path = "/api/admin/users"
    guards = [requires_superuser]

    @delete("/{user_id:uuid}")
    async def drop(self, user_id: UUID) -> None: raise AssertionError("a handler ran")


@get("/api/oauth/{provider:str}/callback", opt={"public": True})
async def oauth_callback(provider: str) -> Redirect: raise AssertionError("a handler ran")

@post("/api/oauth/{provider:str}/unlink")
async def unlink(provider: str) -> None: raise AssertionError("a handler ran")

@asgi("/saq", is_mount=True, copy_scope=True)
async def queue(scope: Any, receive: Any, send: Any) -> None: raise AssertionError("a handler ran")

def build(**options): return Litestar(
    route_handlers=[AccessController, TeamController, AdminController, oauth_callback, unlink, queue,
                    create_static_files_router(path="/static", directories=["."])],
    middleware=[DefineMiddleware(TokenMiddleware, exclude_from_auth_key="public", exclude=["/static"])],
    **options,
)
inner = build()
def signed_in(): return {"Cookie": "access=good"}
"""
FASTAPI = """
from __future__ import annotations
from typing import Annotated
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request, UploadFile, WebSocket
from fastapi.security import APIKeyHeader, HTTPBearer, OAuth2PasswordBearer
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse

bearer = HTTPBearer(auto_error=False)
api_key = APIKeyHeader(name="X-API-Key", auto_error=False)

async def current_user(request: Request, token=Depends(bearer), key=Depends(api_key)) -> str: raise AssertionError("a handler ran")

class AuthMiddleware(BaseHTTPMiddleware):
    PUBLIC = ("/auth/", "/healthz", "/docs", "/openapi.json", "/static")
    async def dispatch(self, request, call_next):
        if not request.url.path.startswith(self.PUBLIC):
            bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
            if bearer != "good" and request.headers.get("x-api-key") != "key" and request.cookies.get("session") != "ann":
                return JSONResponse({"detail": "sign in"}, 401)
        return await call_next(request)

auth = APIRouter(prefix="/auth", tags=["auth"])
@auth.get("/login/{provider}")
async def login(provider: str): raise AssertionError("a handler ran")
@auth.get("/callback/{provider}")
async def callback(provider: str): raise AssertionError("a handler ran")
@auth.post("/logout")
async def logout(): raise AssertionError("a handler ran")
@auth.post("/refresh")
async def refresh(): raise AssertionError("a handler ran")

articles = APIRouter(prefix="/api/articles", dependencies=[Depends(current_user)])
@articles.get("")
async def listed(): raise AssertionError("a handler ran")
@articles.post("")
async def create(): raise AssertionError("a handler ran")
@articles.put("/{slug:path}/tags/{tag}")
async def tag(slug: str, tag: str): raise AssertionError("a handler ran")
@articles.delete("/{article_id:int}")
async def drop(article_id: int): raise AssertionError("a handler ran")

ingest = APIRouter(prefix="/api/ingest")
@ingest.post("/upload")
async def upload(file: UploadFile): raise AssertionError("a handler ran")

keys = FastAPI()   # machines only
@keys.post("/v1/query", dependencies=[Depends(api_key)])
async def query(): raise AssertionError("a handler ran")

async def mcp(scope, receive, send): raise AssertionError("a handler ran")

inner = FastAPI()
inner.include_router(auth)
inner.include_router(articles)
inner.include_router(ingest)
inner.mount("/machine", keys)
inner.mount("/mcp", mcp)
inner.mount("/static", StaticFiles(directory="."))
@inner.websocket("/ws/jobs/{job_id}")
async def jobs(ws: WebSocket, job_id: str): raise AssertionError("a handler ran")
@inner.get("/healthz")
async def healthz(): return "ok"
inner.add_middleware(AuthMiddleware)
def signed_in(): return {"Cookie": "session=ann"}
"""
LITESTAR_CHECK = """
from litestar.config.csrf import CSRFConfig
app = build(csrf_config=CSRFConfig(secret="s" * 32, exclude=["/saq"]))
"""
LITESTAR_ROWS = {
    "POST /api/access/login",
    "POST /api/access/logout",
    "POST /api/access/signup",
    "POST /api/teams",
    "PATCH /api/teams/{team_id}",
    "DELETE /api/teams/{team_id}/members/{email}",
    "DELETE /api/admin/users/{user_id}",
    "POST /api/oauth/{provider}/unlink",
    "* /saq/{path}",
}
FASTAPI_ROWS = {
    "POST /auth/logout",
    "POST /auth/refresh",
    "POST /api/articles",
    "DELETE /api/articles/{article_id}",
    "PUT /api/articles/{slug}/tags/{tag}",
    "POST /api/ingest/upload",
    "POST /machine/v1/query",
    "* /mcp/{path}",
    "WEBSOCKET /ws/jobs/{job_id}",
}
SIGNED_IN = {"sign_in": "shop:signed_in"}
BEARER = {
    "route": "* /machine/*",
    "when": "bearer",
    "reason": "machines",
    "control": "bearer token only",
    "owner": "team",
}


def unknown(table) -> dict[str, str]:
    return {row.id: row.fix for row in table.state_changing if row.verdict == "unknown"}


def test_litestar_behind_the_layer_has_its_rows_and_none_is_unknown(tmp_path):
    """Controllers, guards, a JWT in a cookie, an ASGI mount and a file server; nobody has to sign in for the proof."""
    table = audit(tmp_path, LITESTAR + WRAPPED)
    assert verdicts(table) == dict.fromkeys(LITESTAR_ROWS, "protected")
    assert table.summary.coverage == 1.0


def test_litestar_without_a_check_is_red_and_the_login_wall_names_its_setting(tmp_path):
    """What the wall stops is unknown until `sign_in` opens it; then it is as red as the rest."""
    before = audit(tmp_path, LITESTAR + "app = inner\n")
    public = {"POST /api/access/login", "POST /api/access/logout", "POST /api/access/signup"}
    assert {route for route, verdict in verdicts(before).items() if verdict == "unprotected"} == public
    assert set(unknown(before)) == LITESTAR_ROWS - public
    assert all("`[csrf] sign_in = " in fix for fix in unknown(before).values())
    after = audit(tmp_path, LITESTAR + "app = inner\n", policy=SIGNED_IN)
    # Its guard wants another user than the one who is signed in.
    assert set(unknown(after)) == {"DELETE /api/admin/users/{user_id}"}
    assert unknown(after).popitem()[1].startswith("make `[csrf] sign_in` return headers")


def test_litestars_own_check_is_proven_and_what_it_leaves_out_is_red(tmp_path):
    """The ASGI mount stands in `exclude`: its routes cannot be listed, and nobody checks them."""
    table = audit(tmp_path, LITESTAR + LITESTAR_CHECK, policy=SIGNED_IN)
    found = verdicts(table)
    assert found.pop("* /saq/{path}") == "unprotected"
    assert found == dict.fromkeys(LITESTAR_ROWS - {"* /saq/{path}"}, "protected")
    assert {row.by for row in table.state_changing if row.verdict == "protected"} == {"litestar"}


def test_fastapi_behind_the_layer_has_its_rows_and_none_is_unknown(tmp_path):
    """Included routers, converters, two mounts, a WebSocket, API keys and bearer tokens in front of everything."""
    table = audit(tmp_path, FASTAPI + WRAPPED)
    assert verdicts(table) == dict.fromkeys(FASTAPI_ROWS, "protected")


def test_fastapi_without_a_check_is_red_once_its_wall_is_open(tmp_path):
    """The API that only machines use is as open to a page as the rest, because a cookie opens it as well."""
    before = audit(tmp_path, FASTAPI + "app = inner\n")
    assert verdicts(before)["WEBSOCKET /ws/jobs/{job_id}"] == "unprotected"
    assert all("`[csrf] sign_in = " in fix for fix in unknown(before).values())
    after = audit(tmp_path, FASTAPI + "app = inner\n", policy=SIGNED_IN)
    assert verdicts(after) == dict.fromkeys(FASTAPI_ROWS, "unprotected")


def test_exemption_for_bearer_tokens_is_told_beside_the_proof(tmp_path):
    """Everything that a page can send is refused; the row says what else gets through."""
    manifest = tmp_path / "dodai.toml"
    text = "\n".join(f'{key} = "{value}"' for key, value in BEARER.items())
    manifest.write_text(f'[project]\nname = "shop"\n[csrf]\n[[csrf.exemption]]\n{text}\n')
    table = audit(
        tmp_path, FASTAPI + WRAPPED, policy={"exemption": [BEARER]}, environ={"DODAI_MANIFEST": str(manifest)}
    )
    row = next(row for row in table.rows if row.id == "POST /machine/v1/query")
    assert row.verdict == "protected"
    assert row.evidence.endswith("; exempt for bearer tokens without cookies (machines)")
