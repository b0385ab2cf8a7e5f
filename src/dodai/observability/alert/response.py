"""First responses: for each alert the few commands that find out, and the one that ends it, in the order to type them.

`ENV` is the environment, `ID` a request id of the alert. At most five commands, so that they fit a telephone's screen.
"""

from __future__ import annotations

from collections.abc import Mapping

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.text import Text


@dataclass(frozen=True, slots=True)
class FirstResponse:
    """Commands in their order, and when the last one is right: going back and starting anew are not for every fault."""

    commands: tuple[str, ...]
    decide: Text
    responds: str = ""
    """The command that may be carried out without asking anybody; empty where a person has to look first."""


_ENV = "ENV"
_LOOK, _TRACE = proposal.WATCH_ONCE(env=_ENV), proposal.TRACE(request="ID")
_STATUS, _ROUTES = proposal.STATUS(env=_ENV), proposal.ROUTES()
_RELEASES, _ROLLBACK = proposal.RELEASES(env=_ENV), proposal.ROLLBACK(env=_ENV)
_RESTART = proposal.RESTART(env=_ENV)
_AFTER_DEPLOY = Text(
    "Began with the last release: roll back. Began by itself: the trace names the tier, go to its section",
    "直前のリリースから始まったなら切り戻す。そうでなければ、トレースが示す層の項へ進む",
)
_ERRORS = FirstResponse((_LOOK, _TRACE, _RELEASES, _ROLLBACK), _AFTER_DEPLOY)
_SLOW = FirstResponse(
    (_LOOK, _TRACE, _STATUS, _RELEASES, _ROLLBACK),
    Text(
        "The widest row of the trace is where the time goes. Slow since the last release: roll back. "
        "Slow in SQL: look for locks and long transactions before anything is restarted",
        "トレースで最も長い区間が原因。直前のリリースから遅いなら切り戻す。SQL が遅いなら、再起動の前に"
        "ロックと長いトランザクションを調べる",
    ),
)
_WORKING_HOURS = FirstResponse(
    (_LOOK, _TRACE),
    Text(
        "Nobody has to get up: repair the route with most errors by a release in working hours",
        "夜間対応は不要。エラーの最も多いルートを、業務時間内のリリースで修正する",
    ),
)
_HUNG = FirstResponse(
    (_STATUS, _RESTART, _LOOK, proposal.CHECK(area="observability")),
    Text(
        "Start it anew at once, nothing is lost that was not lost already; then find the call that blocks",
        "すぐに再起動する。失われるものは既に失われている。その後、ブロックする呼び出しを探す",
    ),
    _RESTART,
)

RESPONSES: Mapping[str, FirstResponse] = {
    "http-error-surge": _ERRORS,
    "rpc-error-surge": _ERRORS,
    "dependency-down": FirstResponse(
        (_LOOK, _STATUS, _TRACE, _RESTART),
        Text(
            "Ours and not running: start it anew. A vendor's: breakers keep the rest up, wait and tell users",
            "自分たちのもので停止中なら再起動する。外部のものなら、他はサーキットブレーカーが守るので、"
            "利用者に知らせて復旧を待つ",
        ),
        _RESTART,
    ),
    "http-latency": _SLOW,
    "rpc-latency": _SLOW,
    "slo-fast-burn": _ERRORS,
    "slo-slow-burn": _WORKING_HOURS,
    "sustained-errors": _ERRORS,
    "route-errors": _WORKING_HOURS,
    "csrf-refusals": FirstResponse(
        (_LOOK, _TRACE, _ROUTES, _RELEASES, _ROLLBACK),
        Text(
            "One foreign origin: an attack that is refused, do nothing. `missing` on one route since the last release: "
            "its form lost the token, roll back",
            "外部の単一 Origin なら攻撃が拒否されているだけなので何もしない。直前のリリースから特定ルートで `missing`"
            " なら、フォームからトークンが抜けたので切り戻す",
        ),
    ),
    "pool-wait": _SLOW,
    "process-hung": _HUNG,
    "process-silent": _HUNG,
    "crash-loop": FirstResponse(
        (_STATUS, _RELEASES, _ROLLBACK, _LOOK),
        Text(
            "It never ran: roll back. It ran and ends now: the log that the status names says why",
            "一度も起動できていないなら切り戻す。動いていたものが落ちるなら、status が示すログで原因を調べる",
        ),
        _ROLLBACK,
    ),
    "no-traffic": FirstResponse(
        (_STATUS, _LOOK),
        Text(
            "Ask for the site from a telephone outside. It answers: nobody is there, silence the alert. "
            "It does not: DNS, the certificate, then the edge",
            "社外の回線からサイトを開く。応答するなら訪問者がいないだけなので通知を止める。応答しないなら、DNS、"
            "証明書、エッジの順に調べる",
        ),
    ),
    "lines-lost": FirstResponse(
        (_LOOK, _STATUS),
        Text(
            "Full disk: free space. Otherwise nobody reads standard output: see what collects it",
            "ディスクが満杯なら空きを作る。そうでなければ標準出力が読み取られていないので、収集側を調べる",
        ),
    ),
    "disk-filling": FirstResponse(
        (_LOOK, _STATUS),
        Text(
            "Lower `[observability] retention_size`, remove what is not needed; the database stops when it is full",
            "`[observability] retention_size` を下げ、不要なものを削除する。満杯になるとデータベースが停止する",
        ),
    ),
    "deploy-unhealthy": FirstResponse(
        (_STATUS, "dodai history ENV --limit 5", "dodai resume ENV"),
        Text(
            "The last line of the status is what to type. A plan that was interrupted goes on with `resume`, or is "
            "taken back with `resume --undo`; a service that is not ready says why in its log",
            "status の最後の行が次に打つコマンド。中断された計画は `resume` で続けるか `resume --undo` で取り消す。"
            "受付可能でないサービスの理由は、そのログにある",
        ),
    ),
    "certificate-expiring": FirstResponse(
        (_STATUS,),
        Text(
            "Renewal has failed silently: look at who issues the certificate (the edge or its vendor) and renew it "
            "now, while nobody sees a warning yet",
            "自動更新が失敗している。証明書の発行元(エッジまたはその提供者)を確認し、警告が出る前に更新する",
        ),
    ),
    "certificate-expired": FirstResponse(
        (_STATUS,),
        Text(
            "Visitors see a warning instead of the site: renew the certificate at the edge or its vendor now, then "
            "open the site from a telephone",
            "訪問者にはサイトの代わりに警告が表示されている。エッジまたはその提供者ですぐに更新し、別の回線から開いて確認する",
        ),
    ),
    "secret-rotation-due": FirstResponse(
        ("dodai secrets list ENV", _STATUS),
        Text(
            "The list names the command that changes it; one that only its issuer can make is fetched there first",
            "一覧が変更のコマンドを示す。発行元しか作れない値は、先にそこで取得する",
        ),
    ),
    "restore-test-due": FirstResponse(
        ("dodai history ENV --limit 5", "dodai rehearse --record ENV --all"),
        Text(
            "Nobody has to get up: carry it out in working hours, from the commit that serves. A drill that fails is "
            "an incident: backups that cannot be restored are none",
            "夜間対応は不要。業務時間内に、稼働中のコミットから実行する。訓練が失敗したら障害として扱う。"
            "復元できないバックアップは、ないのと同じ",
        ),
    ),
    "unwatched": FirstResponse(
        (_LOOK, "dodai alerts test --env ENV --last 6h", "dodai alerts list --env ENV"),
        Text(
            "Alerts were not evaluated for that long: the replay says what would have fired meanwhile. Let a "
            "supervisor start `dodai watch`, and give it a notifier of kind `deadman`",
            "その間アラートは評価されていない。再生で、何が発火したはずかを確認する。`dodai watch` は監視プロセスから"
            "起動し、`deadman` の通知先を設定する",
        ),
    ),
}
