"""The line, schema v1: which fields one JSON line per request and tier may carry, and what they are for."""

from __future__ import annotations

from typing import Literal

from dodai.core.dataclass import dataclass
from dodai.core.page import Text

LINE_VERSION = 1
MAX_LINE_BYTES = 4096
"""POSIX guarantees that 4,096 bytes reach a pipe in one piece; longer lines of four writers were torn (measured)."""
UNMATCHED = "<unmatched>"
OTHER_METHOD = "_OTHER"

LineType = Literal["http", "ws", "rpc", "rpc_client", "http_client", "sql", "task", "event"]
Outcome = Literal["ok", "client_error", "server_error", "aborted", "client_gone", "timeout"]
LINE_TYPES: tuple[LineType, ...] = ("http", "ws", "rpc", "rpc_client", "http_client", "sql", "task", "event")
OUTCOMES: tuple[Outcome, ...] = ("ok", "client_error", "server_error", "aborted", "client_gone", "timeout")
REQUEST_TYPES: tuple[LineType, ...] = ("http", "ws", "rpc")
"""A request has one of these per tier; the other types are details below it."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"})

RPC_SERVER_ERRORS = frozenset({"UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNIMPLEMENTED"})
RPC_STATUSES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the line. `personal` says that it can point to a person; `semconv` is its OpenTelemetry name."""

    name: str
    kind: Literal["string", "integer", "number", "integer or string"]
    purpose: Text
    required: tuple[LineType, ...] = ()
    max_chars: int = 128
    personal: bool = False
    semconv: str = ""


_ALL = LINE_TYPES
_SERVED: tuple[LineType, ...] = ("http", "ws", "rpc")
_CALLS: tuple[LineType, ...] = ("rpc_client", "http_client", "sql")
_TIMED: tuple[LineType, ...] = (*_SERVED, *_CALLS, "task")

FIELDS: tuple[Field, ...] = (
    Field(
        "ts",
        "number",
        Text(
            "End of the request, seconds since the epoch; always the first key",
            "リクエストの終了時刻(エポック秒)。必ず先頭のキー",
        ),
        _ALL,
    ),
    Field("v", "integer", Text("Version of this schema, 1", "このスキーマの版。1"), _ALL),
    Field("type", "string", Text("What the line is about", "行の種類"), _ALL),
    Field("service", "string", Text("Service that wrote the line", "行を書いたサービス"), _ALL, semconv="service.name"),
    Field(
        "version",
        "string",
        Text("Release that served the request", "リクエストを処理したリリース"),
        semconv="service.version",
    ),
    Field("env", "string", Text("Environment", "環境"), semconv="deployment.environment.name"),
    Field(
        "instance",
        "string",
        Text("Process that served the request", "リクエストを処理したプロセス"),
        semconv="service.instance.id",
    ),
    Field(
        "requestId", "string", Text("The one id through every tier", "全ての層を貫く一つの ID"), _TIMED, max_chars=64
    ),
    Field("traceId", "string", Text("W3C trace id", "W3C のトレース ID"), max_chars=32),
    Field("spanId", "string", Text("This hop or call", "この区間または呼び出し"), max_chars=16),
    Field("parentSpanId", "string", Text("The hop or call that caused this one", "呼び出し元の区間"), max_chars=16),
    Field(
        "clientRequestId",
        "string",
        Text(
            "Id sent by an untrusted client, kept for its support questions",
            "信頼できないクライアントが送った ID(問い合わせ用に保存)",
        ),
        max_chars=64,
    ),
    Field("attempt", "integer", Text("Try of the caller, when above 1", "呼び出し元の試行回数(2 以上のとき)")),
    Field(
        "userId",
        "string",
        Text("Signed-in user, proved", "証明済みのサインインユーザー"),
        personal=True,
        semconv="user.id",
    ),
    Field(
        "userClaimed",
        "string",
        Text(
            "User that a caller claimed without proof; never used for a decision",
            "証明なしに名乗られたユーザー。判断には使わない",
        ),
        personal=True,
    ),
    Field(
        "method",
        "string",
        Text("HTTP method, unknown ones as _OTHER", "HTTP メソッド。未知のものは _OTHER"),
        ("http",),
        max_chars=16,
        semconv="http.request.method",
    ),
    Field(
        "route",
        "string",
        Text("Route template, never the raw path", "ルートのテンプレート(生のパスではない)"),
        ("http", "ws"),
        semconv="http.route",
    ),
    Field("path", "string", Text("Path, only when no route matched", "一致するルートがない場合のみのパス")),
    Field(
        "rpc",
        "string",
        Text("RPC as package.Service/Method", "RPC 名(package.Service/Method)"),
        ("rpc", "rpc_client"),
        semconv="rpc.method",
    ),
    Field(
        "status",
        "integer or string",
        Text("HTTP status, or gRPC status by name", "HTTP ステータス、または gRPC ステータス名"),
        (*_SERVED, "rpc_client", "http_client"),
        max_chars=32,
        semconv="http.response.status_code",
    ),
    Field(
        "outcome",
        "string",
        Text("ok, client_error, server_error, aborted, client_gone or timeout", "結果の分類"),
        _TIMED,
        max_chars=16,
    ),
    Field(
        "latencyMs",
        "number",
        Text(
            "Duration on the monotonic clock, without background tasks",
            "単調時計による所要時間(バックグラウンド処理は除く)",
        ),
        _TIMED,
    ),
    Field(
        "ttfbMs", "number", Text("Until the response started, when streamed", "応答開始までの時間(ストリーミング時)")
    ),
    Field("bytesOut", "integer", Text("Body bytes sent", "送信した本文のバイト数"), semconv="http.response.body.size"),
    Field("dbCount", "integer", Text("SQL statements", "SQL 文の数")),
    Field("dbMs", "number", Text("Time in SQL", "SQL の合計時間")),
    Field("rpcCount", "integer", Text("RPC calls made", "呼び出した RPC の数")),
    Field("rpcMs", "number", Text("Time in RPC calls", "RPC 呼び出しの合計時間")),
    Field("httpCount", "integer", Text("HTTP calls made", "発行した HTTP 呼び出しの数")),
    Field("httpMs", "number", Text("Time in HTTP calls", "HTTP 呼び出しの合計時間")),
    Field(
        "calls",
        "string",
        Text(
            "For each dependency its calls, failed ones and milliseconds: `backend 3 0 12.5;database 2 1 8.0`",
            "依存先ごとの呼び出し数・失敗数・合計ミリ秒: `backend 3 0 12.5;database 2 1 8.0`",
        ),
        max_chars=512,
    ),
    Field("poolWaitMs", "number", Text("Time spent waiting for a connection of a pool", "プールの接続待ち時間")),
    Field(
        "dependency",
        "string",
        Text("The dependency called, or the first one that failed", "呼び出した依存先、または最初に失敗した依存先"),
    ),
    Field(
        "code", "string", Text("Our code when dodai refused the request", "dodai が拒否した場合のコード"), max_chars=8
    ),
    Field("reason", "string", Text("Why it was refused, in one word", "拒否の理由(一語)"), max_chars=64),
    Field("csrf", "string", Text("What the CSRF layer decided", "CSRF 層の判定"), max_chars=32),
    Field(
        "origin",
        "string",
        Text("Origin of a request refused by the CSRF layer", "CSRF 層が拒否したリクエストの Origin"),
    ),
    Field(
        "fetchSite",
        "string",
        Text("Sec-Fetch-Site of a request refused by the CSRF layer", "CSRF 層が拒否したリクエストの Sec-Fetch-Site"),
        max_chars=16,
    ),
    Field("error", "string", Text("Type of the exception", "例外の型"), semconv="error.type"),
    Field(
        "stack",
        "string",
        Text("Hash and innermost frames, messages redacted", "ハッシュと内側のフレーム。メッセージは墨消し済み"),
        max_chars=2048,
    ),
    Field("closeCode", "integer", Text("WebSocket close code", "WebSocket の終了コード")),
    Field("messagesIn", "integer", Text("Messages received", "受信メッセージ数")),
    Field("messagesOut", "integer", Text("Messages sent", "送信メッセージ数")),
    Field(
        "operation",
        "string",
        Text("SQL verb of a statement line, never the statement", "SQL の種別(文そのものは含まない)"),
        max_chars=32,
        semconv="db.operation.name",
    ),
    Field(
        "statement",
        "string",
        Text(
            "Hash of the text of an SQL statement, the same for every execution",
            "SQL 文のハッシュ。同じ文なら常に同じ値",
        ),
        max_chars=16,
    ),
    Field(
        "inFlight",
        "integer",
        Text("Requests being served, in a heartbeat", "処理中のリクエスト数(ハートビート)"),
    ),
    Field(
        "loopLagMs",
        "number",
        Text("How late the event loop answers, in a heartbeat", "イベントループの遅れ(ハートビート)"),
    ),
    Field(
        "dropped",
        "integer",
        Text("Lines lost since the process started, in a heartbeat", "プロセス開始以降に失われた行数(ハートビート)"),
    ),
    Field(
        "breakersOpen",
        "string",
        Text(
            "Dependencies whose calls are refused now, with commas, in a heartbeat",
            "呼び出しを遮断中の依存先(コンマ区切り、ハートビート)",
        ),
        max_chars=512,
    ),
    Field(
        "pools",
        "string",
        Text(
            "For each pool dependency, connections in use, the most there may be and requests that wait, with"
            " semicolons, in a heartbeat",
            "プールごとの依存先、使用中の接続数、最大接続数、待機中のリクエスト数(セミコロン区切り、ハートビート)",
        ),
        max_chars=512,
    ),
    Field("name", "string", Text("Name of a task or an event", "タスクまたはイベントの名前"), ("task", "event")),
    Field("count", "integer", Text("Lines dropped before this event", "このイベントまでに失われた行数")),
    Field(
        "cfRay",
        "string",
        Text("Cloudflare ray id, to find the request at the edge", "エッジで探すための Cloudflare Ray ID"),
        max_chars=64,
    ),
    Field(
        "clientNetwork",
        "string",
        Text("Client network, truncated to /24 or /48", "クライアントのネットワーク(/24 または /48 に丸め)"),
        max_chars=64,
        personal=True,
        semconv="client.address",
    ),
)

FIELD_NAMES = frozenset(field.name for field in FIELDS)


def http_outcome(status: int) -> Outcome:
    """The outcome of a complete HTTP response with `status`; 504 is a timeout, 499 a client that left."""
    if status < 400:
        return "ok"
    if status == 504:
        return "timeout"
    if status == 499:
        return "client_gone"
    return "client_error" if status < 500 else "server_error"


def rpc_outcome(status: str) -> Outcome:
    """The outcome of an RPC with gRPC status `status`: only the server's own failures are server errors.

    `NOT_FOUND`, `INVALID_ARGUMENT` and their like are answers; counting them as errors raises false alerts.
    """
    if status == "OK":
        return "ok"
    if status == "CANCELLED":
        return "client_gone"
    if status == "DEADLINE_EXCEEDED":
        return "timeout"
    return "server_error" if status in RPC_SERVER_ERRORS else "client_error"


def trace_parent_of(span_id: str) -> str:
    """The span of the request that made the call `span_id` (see `RequestContext.next_span_id`)."""
    return span_id[:12] + "0000"
