"""The codes of the local provider: 36x refused at run time by the edge, 39x an operation on this machine failed."""

from __future__ import annotations

from dodai.core.errors import Code
from dodai.core.text import Text

EDGE_REFUSED = Code(
    "DOD360",
    "edge-refused-request",
    Text("The edge refused a malformed request", "エッジが不正な形式のリクエストを拒否した"),
    Text(
        "Requests that two servers could read differently are how one visitor's request is smuggled into another's",
        "サーバーごとに解釈が分かれるリクエストは、他人のリクエストへの混入（スマグリング）に使われる",
    ),
    Text(
        "Send one Content-Length or chunked encoding, no folded headers, and an origin-form path",
        "Content-Length か chunked のどちらか一方だけを使い、ヘッダーを折り返さず、パスは / から始める",
    ),
    bad="Content-Length: 5\nTransfer-Encoding: chunked",
    good="Content-Length: 5",
    source="RFC 9112 section 6.3, RFC 9110 section 5.5",
)
EDGE_TOO_LARGE = Code(
    "DOD361",
    "edge-request-too-large",
    Text("The request is larger than the edge accepts", "リクエストがエッジの上限を超えている"),
    Text("An unbounded request takes memory and time from everybody else", "上限がないと他の利用者の資源を奪う"),
    Text("Send less, or raise the limit in `[edge]`", "送信量を減らすか `[edge]` の上限を上げる"),
)
EDGE_TIMEOUT = Code(
    "DOD362",
    "edge-request-timeout",
    Text("The request did not arrive in time", "リクエストが時間内に届かなかった"),
    Text("A client that sends slowly for ever holds a connection for ever", "遅い送信を待ち続けると接続が埋まる"),
    Text("Send the request again", "もう一度送信する"),
)
EDGE_BLOCKED = Code(
    "DOD363",
    "edge-path-blocked",
    Text("The path is not reachable from outside", "このパスは外部から利用できない"),
    Text("Paths below `/-/dodai/` are for the operator's tools", "`/-/dodai/` 以下は運用ツール専用"),
    Text("Ask the service on its own address from inside", "内部からサービス自身のアドレスに問い合わせる"),
)
EDGE_NO_ANSWER = Code(
    "DOD364",
    "edge-no-upstream",
    Text("The edge could not reach the service", "エッジがサービスに接続できなかった"),
    Text("The service is down, restarting, or closed the connection", "サービスが停止・再起動中、または接続を切った"),
    Text("Try again; then look at `dodai status`", "再試行し、続くようなら `dodai status` を見る"),
)
EDGE_SLOW = Code(
    "DOD365",
    "edge-upstream-timeout",
    Text("The service did not answer in time", "サービスが時間内に応答しなかった"),
    Text("Somebody waiting for ever is worse than an error", "無期限に待たせるよりエラーを返すほうがよい"),
    Text("Follow the request id with `dodai trace`", "リクエスト ID を `dodai trace` で追う"),
)
EXITED_AT_BOOT = Code(
    "DOD390",
    "process-exited-at-boot",
    Text("A process ended before it was ready", "プロセスが準備完了前に終了した"),
    Text("Its own output says why", "理由はプロセス自身の出力にある"),
    Text("Read the last lines of its output below", "下に示す出力の末尾を読む"),
)
NEVER_LISTENED = Code(
    "DOD391",
    "process-never-listened",
    Text("A process runs but does not listen where it should", "プロセスは動いているが待ち受けていない"),
    Text("Waiting longer than declared hides a broken start", "宣言した時間を超えて待つと起動の失敗が隠れる"),
    Text("Check the address it binds, or raise its time to get ready", "待ち受けアドレスか、準備時間の設定を確認する"),
)
DEADLINE_PASSED = Code(
    "DOD392",
    "host-deadline-passed",
    Text("The host did not finish in time", "ホストの処理が時間内に終わらなかった"),
    Text("The outcome is unclear until it is observed", "観測するまで結果は不明である"),
    Text(
        "Look at `dodai status`, then repeat: every call is safe to repeat",
        "`dodai status` を見て、同じ操作を繰り返す（繰り返しても安全）",
    ),
)
NO_INSTANCE = Code(
    "DOD393",
    "no-such-instance",
    Text("That release of the service does not run", "そのリリースのサービスは動いていない"),
    Text("Traffic must never be sent to nothing", "存在しない先へトラフィックを送ってはならない"),
    Text("Start it first", "先に起動する"),
)
OTHER_SETTINGS = Code(
    "DOD394",
    "runs-with-other-settings",
    Text("It runs already, with other settings", "すでに別の設定で動いている"),
    Text("Calling it the same release would hide the difference", "同じリリースとして扱うと違いが隠れる"),
    Text(
        "Stop it first, or give the new settings a release of their own",
        "先に停止するか、新しい設定を別のリリースにする",
    ),
)
PORT_IN_USE = Code(
    "DOD395",
    "port-in-use",
    Text("A port is taken by somebody else", "ポートが別のプロセスに使われている"),
    Text("Two servers on one port serve visitors at random", "一つのポートを取り合うと応答が不定になる"),
    Text(
        "Stop the holder, or choose another port in the manifest",
        "使用中のプロセスを止めるか、マニフェストで別のポートを選ぶ",
    ),
)
NO_TREE = Code(
    "DOD396",
    "no-such-release-tree",
    Text("The files of a release are not there", "リリースのファイルが存在しない"),
    Text("A release that cannot be started cannot be rolled back to", "起動できないリリースには戻せない"),
    Text("Deploy from the commit again", "そのコミットからもう一度デプロイする"),
)
HOST_HELD = Code(
    "DOD397",
    "host-already-runs",
    Text("The environment is already run by another process", "この環境は別のプロセスがすでに動かしている"),
    Text(
        "Two hosts of one environment would fight over its ports and its database",
        "二つのホストはポートとデータベースを奪い合う",
    ),
    Text("Stop the holder with `dodai down`, or use it", "`dodai down` で止めるか、そちらを使う"),
)
HOST_GONE = Code(
    "DOD398",
    "host-not-running",
    Text("No host answers for this environment", "この環境のホストが応答しない"),
    Text("Its processes end with it", "ホストが終わるとプロセスも終わる"),
    Text("Start it again with `dodai up` or `dodai deploy`", "`dodai up` か `dodai deploy` で起動し直す"),
)
STALE_TOKEN = Code(
    "DOD399",
    "stale-fencing-token",
    Text("The caller lost the lock to somebody newer", "呼び出し元のロックはすでに他者に移っている"),
    Text(
        "A paused operator who wakes up must not undo what came after", "止まっていた操作が後の変更を壊してはならない"
    ),
    Text("Look at `dodai status` and start again", "`dodai status` を見てからやり直す"),
)

UNSAFE_TREE = Code(
    "DOD366",
    "unsafe-release-tree",
    Text("The source tree cannot become a release", "ソースツリーをリリースにできない"),
    Text(
        "A release must hold everything it needs, nothing from outside, and no ignored secret",
        "リリースは必要なものをすべて含み、外部のものや無視対象の秘密を含んではならない",
    ),
    Text("Mend what the message names", "メッセージが示す箇所を直す"),
)

CODES: tuple[Code, ...] = (
    EDGE_REFUSED,
    EDGE_TOO_LARGE,
    EDGE_TIMEOUT,
    EDGE_BLOCKED,
    EDGE_NO_ANSWER,
    EDGE_SLOW,
    UNSAFE_TREE,
    EXITED_AT_BOOT,
    NEVER_LISTENED,
    DEADLINE_PASSED,
    NO_INSTANCE,
    OTHER_SETTINGS,
    PORT_IN_USE,
    NO_TREE,
    HOST_HELD,
    HOST_GONE,
    STALE_TOKEN,
)
