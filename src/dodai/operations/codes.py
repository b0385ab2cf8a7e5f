"""The codes of operations that are not a provider's own (DOD3xx)."""

from __future__ import annotations

from dodai.core.errors import Code
from dodai.core.text import Text

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

UNPROVEN_LIMITATION = Code(
    "DOD305",
    "limitation-unproven",
    what=Text(
        "A limitation is called resolved by something that does not exist.",
        "解消済みとされた制約の根拠が存在しません。",
    ),
    why=Text(
        "Only what can turn red shows that a limitation stays resolved.",
        "失敗しうる検査だけが、解消された状態が続いていることを示せます。",
    ),
    fix=Text(
        "name a code that `dodai check` judges, a drill of `dodai rehearse --all`, or a test as `path::name`; "
        "leave `resolved_by` out while it stands",
        "`dodai check` が判定するコード、`dodai rehearse --all` の訓練、または `パス::名前` のテストを書いてください。"
        "残っている制約には `resolved_by` を書かないでください",
    ),
    bad="[project]\nname = 'quiz'\n[[limitation]]\nid = 'slow'\ntext = 'pages are slow'\nresolved_by = 'DOD999'\n",
    good="[project]\nname = 'quiz'\n[[limitation]]\nid = 'slow'\ntext = 'pages are slow'\nresolved_by = 'DOD101'\n",
)

STALE_PLAN = Code(
    "DOD377",
    "plan-is-stale",
    what=Text(
        "The plan was made when other releases served.",
        "計画を作成した時点と、現在動いているリリースが異なります。",
    ),
    why=Text(
        "Somebody deployed in between; what was agreed to is not what would happen.",
        "その間に別のデプロイがあり、合意した内容どおりにはなりません。",
    ),
    fix=Text(
        "look at `dodai status ENV`, then give the command again: it makes a new plan",
        "`dodai status ENV` を確認し、もう一度コマンドを実行して計画を作り直してください",
    ),
)
ROLLBACK_REFUSED = Code(
    "DOD367",
    "rollback-refused",
    what=Text(
        "The earlier release does not fit the schema there is now, or nobody knows whether it does.",
        "以前のリリースが現在のスキーマに適合しないか、適合するか判断できません。",
    ),
    why=Text(
        "It would be healthy and fail people: a health check does not meet the column that was dropped, a query does.",
        "正常に見えても利用者の操作が失敗します。欠けた列に気づくのは、ヘルスチェックではなく実際のクエリです。",
    ),
    fix=Text(
        "mend forward: write the fix and deploy it; or go back in time with the `--restore` command of the message. "
        "Name `[migrations].queries`, so that releases can be tried",
        "修正を書いて前へ進めるか、メッセージにある `--restore` のコマンドで時点を戻してください。"
        "`[migrations].queries` を書いておくと適合を試験できます",
    ),
)
NO_SUCH_RELEASE = Code(
    "DOD368",
    "no-such-release",
    what=Text("No release of that name is known here.", "その名前のリリースはありません。"),
    why=Text(
        "Only what was deployed, or lies in the state folder, can be put into service.",
        "デプロイ済みか、手元に保存されたリリースだけが対象です。",
    ),
    fix=Text("see `dodai releases ENV`", "`dodai releases ENV` を確認してください"),
)

FREEZE_UNREADABLE = Code(
    "DOD340",
    "freeze-window-unreadable",
    what=Text("A freeze window is written in a form that nobody can read.", "フリーズ期間の書式を解釈できません。"),
    why=Text(
        "A window that is guessed at is open when it should be closed.",
        "推測で解釈すると、止めるべき時間帯にデプロイできてしまいます。",
    ),
    fix=Text(
        'write `"Sat-Sun 00:00-24:00 Asia/Tokyo"` or `"2026-12-28T12:00/2027-01-04T09:00 Asia/Tokyo"`; where the zones '
        "themselves are missing, install `tzdata`",
        '`"Sat-Sun 00:00-24:00 Asia/Tokyo"` または `"2026-12-28T12:00/2027-01-04T09:00 Asia/Tokyo"` の形で'
        "書いてください。タイムゾーン自体がない環境では `tzdata` を導入してください",
    ),
    bad="[project]\nname = 'quiz'\n[env.staging]\nfreeze = ['weekend']\n",
    good="[project]\nname = 'quiz'\n[env.staging]\nfreeze = ['Sat-Sun 00:00-24:00 Asia/Tokyo']\n",
)
PROTECTION_INCOMPLETE = Code(
    "DOD341",
    "protection-incomplete",
    what=Text(
        "A protected environment lacks what its protection rests on.",
        "保護された環境に、保護の前提となる設定がありません。",
    ),
    why=Text(
        "Evidence and approvals are kept in the control database and signatures are judged by `allowed_signers`; "
        "without them the environment could never be deployed to, or anybody could write what it asks for.",
        "証跡と承認は制御データベースに残し、署名は `allowed_signers` で判定します。"
        "どちらかが欠けると、デプロイできないか、誰でも記録を書けてしまいます。",
    ),
    fix=Text(
        "set `control_url` and `allowed_signers` in `[env.NAME]`, or `approvals = 0`",
        "`[env.NAME]` に `control_url` と `allowed_signers` を書くか、`approvals = 0` としてください",
    ),
    bad="[project]\nname = 'quiz'\n[env.production]\nprotected = true\n",
    good=(
        "[project]\nname = 'quiz'\n[env.production]\nprotected = true\n"
        "control_url = 'postgresql://127.0.0.1/dodai'\nallowed_signers = 'ops/allowed_signers'\n"
    ),
)
APPROVAL_NEEDED = Code(
    "DOD369",
    "approval-needed",
    what=Text(
        "This plan lacks the signature of somebody who may approve it.",
        "この計画には、承認権限を持つ人の署名が足りません。",
    ),
    why=Text(
        "A change of a protected environment is seen by a second person, with a key in `allowed_signers`; what they "
        "signed is this plan and no other.",
        "保護された環境の変更は、`allowed_signers` に登録された鍵を持つ二人目が確認します。"
        "署名はその計画だけに有効です。",
    ),
    fix=Text(
        "somebody else runs `dodai approve PLAN`, then give the command again; a plan that changed is approved anew",
        "ほかの人が `dodai approve 計画ID` を実行した後、もう一度コマンドを実行してください。"
        "計画が変わった場合は承認も取り直します",
    ),
    source="https://man.openbsd.org/ssh-keygen.1 (-Y sign, ALLOWED SIGNERS)",
)
ENVIRONMENT_FROZEN = Code(
    "DOD056",
    "environment-frozen",
    what=Text("Nobody deploys to this environment now.", "現在、この環境へのデプロイは止められています。"),
    why=Text(
        "The team decided that nobody would be there to mend what goes wrong.",
        "問題が起きても対応できない時間帯として、チームが定めた期間です。",
    ),
    fix=Text(
        "wait until the window ends; `--break-glass REASON` if it cannot wait, which is recorded. "
        "A rollback may always run",
        "期間の終了を待ってください。待てない場合は `--break-glass 理由` を付けます（記録されます）。"
        "切り戻しはいつでも実行できます",
    ),
)


CODES = (
    FREEZE_UNREADABLE,
    PROTECTION_INCOMPLETE,
    APPROVAL_NEEDED,
    ENVIRONMENT_FROZEN,
    NO_PUBLIC_SERVICE,
    SERVICE_CYCLE,
    UNPROVEN_LIMITATION,
    ROLLBACK_REFUSED,
    NO_SUCH_RELEASE,
    STALE_PLAN,
    RELEASE_NOT_HEALTHY,
    WRONG_VERSION,
    JOURNEY_FAILED,
)
