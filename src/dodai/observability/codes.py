"""The codes of observability: 400-449 found by check, 450-479 alerts, 480-499 an operation failed."""

from __future__ import annotations

from dodai.core.errors import Code
from dodai.core.page import Text

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

CODES: tuple[Code, ...] = (RUNTIME_SETTINGS, TRACE_NOT_FOUND)
