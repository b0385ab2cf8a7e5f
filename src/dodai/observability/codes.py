"""The codes of observability: 400-449 found by check, 450-479 alerts, 480-499 an operation failed."""

from __future__ import annotations

from dodai.core.errors import Code
from dodai.core.text import Text

CONTEXT_LOST = Code(
    "DOD401",
    "context-lost",
    Text(
        "Work is handed to a thread without its request", "処理がリクエストの文脈を失ったままスレッドに渡されています"
    ),
    Text(
        "Its calls and failures carry no request id, so nobody finds them from an error page",
        "呼び出しや失敗にリクエスト ID が付かず、エラーページの ID から追跡できません",
    ),
    Text(
        "use `asyncio.to_thread`, or `ContextExecutor` and `ContextThread` of `dodai.runtime`",
        "`asyncio.to_thread`、または `dodai.runtime` の `ContextExecutor` と `ContextThread` を使ってください",
    ),
    level="warning",
    bad="import threading\n\nthreading.Thread(target=send_mail).start()\n",
    good="from dodai.runtime import ContextThread\n\nContextThread(target=send_mail).start()\n",
)
BASE_HTTP_MIDDLEWARE = Code(
    "DOD402",
    "base-http-middleware",
    Text("A middleware is built on `BaseHTTPMiddleware`", "ミドルウェアが `BaseHTTPMiddleware` に基づいています"),
    Text(
        "It breaks context variables and background tasks behind it, and costs 107 µs a request (measured)",
        "後段のコンテキスト変数とバックグラウンドタスクを壊し、1 リクエストあたり 107 µs かかります(実測)",
    ),
    Text("write it as a pure ASGI middleware", "純粋な ASGI ミドルウェアとして書いてください"),
    level="warning",
    bad="class Timing(BaseHTTPMiddleware):\n    pass\n",
    good="class Timing:\n    async def __call__(self, scope, receive, send): ...\n",
    source="https://github.com/encode/starlette/issues/1678",
)
UNBOUNDED_LABEL = Code(
    "DOD403",
    "unbounded-label",
    Text(
        "A metric label or route takes values that clients choose",
        "メトリクスのラベルやルートに、クライアントが選べる値が入ります",
    ),
    Text(
        "Every new value is a new series: 2,000 bogus paths made 46,000 of them (measured)",
        "値ごとに系列が増えます。でたらめなパス 2,000 件で系列が 46,000 本になりました(実測)",
    ),
    Text("use the route template, and put ids into lines", "ルートのテンプレートを使い、ID は行に記録してください"),
    bad="REQUESTS.labels(path=request.url.path).inc()\n",
    good="REQUESTS.labels(route=route.path_format).inc()\n",
)
SECRET_IN_LOG = Code(
    "DOD404",
    "secret-in-log",
    Text("A log call is given a secret or personal data", "秘密情報や個人情報がログに渡されています"),
    Text(
        "Logs are copied, kept and read by more people than the database is",
        "ログはデータベースより多くの人に複製・保存・閲覧されます",
    ),
    Text("log the id of the thing instead", "代わりに対象の ID を記録してください"),
    bad='logger.info("signed in %s", request.headers)\n',
    good='logger.info("signed in %s", user_id)\n',
)
LINE_DRIFT = Code(
    "DOD405",
    "line-drift",
    Text("A service writes lines that the schema does not know", "スキーマにない行を書いているサービスがあります"),
    Text(
        "Metrics, alerts and the trace read the schema; what leaves it is invisible to them",
        "メトリクス・アラート・トレースはスキーマに従って読むため、外れた行は見えなくなります",
    ),
    Text(
        "correct the service; `python spec/check_line.py FILE` shows each line",
        "サービスを直してください。`python spec/check_line.py FILE` で各行を確認できます",
    ),
    bad='{"ts":1.5,"v":1,"type":"http","service":"web","path":"/a?q=secret"}\n',
    good='{"ts":1.5,"v":1,"type":"event","service":"web","name":"deploy"}\n',
)
UNKNOWN_FIELD = Code(
    "DOD406",
    "unknown-field",
    Text("A field that the line schema does not have is noted", "行スキーマにないフィールドが記録されています"),
    Text(
        "The schema is an allow-list: a field nobody agreed on is where personal data gets in",
        "スキーマは許可リストです。合意のないフィールドは個人情報の混入経路になります",
    ),
    Text("use a field of the schema, or leave it out", "スキーマにあるフィールドを使うか、記録しないでください"),
    bad='context.note("cartTotal", 12)\n',
    good='context.note("cfRay", ray)\n',
)
RUNTIME_SETTINGS = Code(
    "DOD480",
    "runtime-settings",
    Text("A DODAI_ environment variable of this process cannot be used", "このプロセスの DODAI_ 環境変数が使えません"),
    Text(
        "A service that starts with a broken key or manifest would refuse everybody, or nobody",
        "鍵やマニフェストが壊れたまま起動したサービスは、全員を拒否するか、誰も拒否しなくなります",
    ),
    Text("Correct the variable and start the service again", "変数を直してサービスを起動し直してください"),
)
TRACE_NOT_FOUND = Code(
    "DOD481",
    "trace-not-found",
    Text("No line has this request id", "このリクエスト ID の行がありません"),
    Text(
        "Lines are kept for the retention of [observability]; an id from a caller's own system may be kept as"
        " clientRequestId",
        "行の保存期間は [observability] の設定に従います。呼び出し元の ID は clientRequestId に残ることがあります",
    ),
    Text(
        "Check the id and the state folder (`--state`), or ask for the id shown on the error page",
        "ID と state フォルダー(`--state`)を確認するか、エラーページに表示された ID を使ってください",
    ),
)

CODES: tuple[Code, ...] = (
    CONTEXT_LOST,
    BASE_HTTP_MIDDLEWARE,
    UNBOUNDED_LABEL,
    SECRET_IN_LOG,
    LINE_DRIFT,
    UNKNOWN_FIELD,
    RUNTIME_SETTINGS,
    TRACE_NOT_FOUND,
)
