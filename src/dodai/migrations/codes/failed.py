"""An operation failed (DOD280-299)."""

from __future__ import annotations

from dodai.core.errors import Code
from dodai.core.text import Text

FAILED = Code(
    "DOD280",
    "migration-failed",
    what=Text(
        "A migration failed; its file was rolled back.", "マイグレーションが失敗し、そのファイルは取り消されました。"
    ),
    why=Text(
        "Files before it are applied and recorded; this one and those after it are not.",
        "それより前のファイルは適用・記録済みで、このファイル以降は適用されていません。",
    ),
    fix=Text(
        "correct the statement and run `dodai migrate up` again",
        "文を直し、もう一度 `dodai migrate up` を実行してください",
    ),
)
LOCK_TIMEOUT = Code(
    "DOD281",
    "migration-lock-timeout",
    what=Text("A migration did not get its lock in time.", "時間内にロックを取得できませんでした。"),
    why=Text(
        "Waiting longer would make everybody else wait behind it; it gave up instead.",
        "待ち続けると後続の処理もすべて待たされるため、中止しました。",
    ),
    fix=Text(
        "end the sessions that the message names, or run it again at a quieter time",
        "メッセージが示すセッションを終えるか、空いている時間にもう一度実行してください",
    ),
)
CONNECTION_LOST = Code(
    "DOD282",
    "migration-connection-lost",
    what=Text("The connection broke while a migration ran.", "マイグレーションの実行中に接続が切れました。"),
    why=Text(
        "The ledger tells what was committed; run the command again and it goes on from there.",
        "何が確定したかは台帳に残っています。もう一度実行すると続きから進みます。",
    ),
    fix=Text(
        "run `dodai migrate status`, then `dodai migrate up`",
        "`dodai migrate status` で確認し、`dodai migrate up` を実行してください",
    ),
)
PARTLY_APPLIED = Code(
    "DOD283",
    "migration-partly-applied",
    what=Text(
        "A `NO TRANSACTION` file failed in the middle; the statements before are in effect.",
        "`NO TRANSACTION` のファイルが途中で失敗し、それより前の文は反映済みです。",
    ),
    why=Text(
        "Such files cannot be rolled back as a whole; what is done is recorded statement by statement.",
        "この種のファイルは全体を取り消せません。どこまで済んだかは文ごとに記録されています。",
    ),
    fix=Text(
        "correct the failed statement and run `dodai migrate up`: it goes on with that statement",
        "失敗した文を直して `dodai migrate up` を実行してください。その文から再開します",
    ),
)
LEDGER_UNUSABLE = Code(
    "DOD284",
    "ledger-unusable",
    what=Text("The ledger of migrations cannot be read or written.", "マイグレーションの台帳を読み書きできません。"),
    why=Text("Without it nobody knows what is applied.", "台帳がなければ、何が適用済みか分かりません。"),
    fix=Text(
        "grant the role its rights on the ledger, or name another with `[migrations].ledger`",
        "ロールに権限を与えるか、`[migrations].ledger` で別の名前を指定してください",
    ),
)
DOWN_FAILED = Code(
    "DOD285",
    "migration-down-failed",
    what=Text("The way down of a migration failed and was rolled back.", "Down が失敗し、取り消されました。"),
    why=Text("The migration is still applied.", "マイグレーションは適用されたままです。"),
    fix=Text("correct the Down section", "Down の節を直してください"),
)
REHEARSAL_FAILED = Code(
    "DOD286",
    "migration-rehearsal-failed",
    what=Text("The rehearsal of the pending migrations failed.", "未適用分のリハーサルが失敗しました。"),
    why=Text("The same would have happened in production.", "本番でも同じことが起きたはずです。"),
    fix=Text("correct what the message names", "メッセージが示す箇所を直してください"),
)
INTERRUPTED = Code(
    "DOD287",
    "migration-interrupted",
    what=Text("A signal stopped the run of migrations.", "マイグレーションの実行がシグナルで中断されました。"),
    why=Text(
        "The running statement was cancelled on the server; what was committed before is recorded.",
        "実行中の文はサーバー側で取り消されました。それまでに確定した分は記録されています。",
    ),
    fix=Text(
        "run the same command again: it goes on from there",
        "同じコマンドをもう一度実行してください。続きから進みます",
    ),
)
