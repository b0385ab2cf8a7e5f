"""The codes of operations that are not a provider's own (DOD3xx)."""

from __future__ import annotations

from dodai.core.errors import Code
from dodai.core.page import Text

RELEASE_NOT_HEALTHY = Code(
    "DOD387",
    "release-not-healthy",
    what=Text("A release did not become healthy in time.", "リリースが時間内に正常な状態になりませんでした。"),
    why=Text(
        "Traffic was not sent to it; the release before it keeps serving.",
        "このリリースには通信を向けず、直前のリリースが引き続き応答します。",
    ),
    fix=Text(
        "read the end of its log in the message, mend the release and deploy again",
        "メッセージにあるログの末尾を読み、リリースを直してから再度デプロイしてください",
    ),
)
WRONG_VERSION = Code(
    "DOD388",
    "wrong-version-answers",
    what=Text(
        "A service is healthy but says it runs another release.",
        "サービスは正常ですが、別のリリースとして応答しています。",
    ),
    why=Text(
        "A healthy answer from the wrong release hides a deploy that did not happen.",
        "別リリースの正常応答は、デプロイが行われていない事実を隠します。",
    ),
    fix=Text(
        "report `DODAI_RELEASE` as `version` in the readiness answer, or find out who holds the port",
        "準備完了応答の `version` に `DODAI_RELEASE` を返すか、ポートを使っているプロセスを調べてください",
    ),
)
JOURNEY_FAILED = Code(
    "DOD389",
    "journey-failed",
    what=Text(
        "A journey through the edge did not go as the manifest says.", "ジャーニーが定義どおりに進みませんでした。"
    ),
    why=Text(
        "People would meet the same answer.",
        "利用者も同じ応答を受け取ることになります。",
    ),
    fix=Text(
        "trace the request id in the message: `dodai trace ID`",
        "メッセージの requestId を `dodai trace ID` で追跡してください",
    ),
)
NO_PUBLIC_SERVICE = Code(
    "DOD303",
    "no-public-service",
    what=Text("No service, or more than one, is public.", "公開サービスが 1 つに定まっていません。"),
    why=Text("The edge would not know where to send a request.", "エッジがリクエストの送り先を決められません。"),
    fix=Text(
        "set `public = true` on exactly one `[service.NAME]`",
        "`[service.NAME]` の 1 つだけに `public = true` を付けてください",
    ),
    bad="[project]\nname = 'quiz'\n[service.web]\ncommand = ['serve']\n",
    good="[project]\nname = 'quiz'\n[service.web]\ncommand = ['serve']\npublic = true\n",
)
SERVICE_CYCLE = Code(
    "DOD304",
    "service-cycle",
    what=Text("Services need each other in a circle.", "サービスの依存関係が循環しています。"),
    why=Text("None of them could ever be started first.", "最初に起動できるサービスが存在しません。"),
    fix=Text("remove one of the `needs`", "`needs` の 1 つを取り除いてください"),
    bad=(
        "[project]\nname = 'quiz'\n[service.a]\ncommand = ['a']\npublic = true\nneeds = ['b']\n"
        "[service.b]\ncommand = ['b']\nneeds = ['a']\n"
    ),
    good=(
        "[project]\nname = 'quiz'\n[service.a]\ncommand = ['a']\npublic = true\nneeds = ['b']\n"
        "[service.b]\ncommand = ['b']\n"
    ),
)

CODES = (NO_PUBLIC_SERVICE, SERVICE_CYCLE, RELEASE_NOT_HEALTHY, WRONG_VERSION, JOURNEY_FAILED)
