"""Refused at run time (DOD250-279)."""

from __future__ import annotations

from dodai.core.errors import Code
from dodai.core.text import Text

LOCK_HELD = Code(
    "DOD250",
    "migrations-locked",
    what=Text(
        "Somebody else is migrating this database.", "別の誰かがこのデータベースにマイグレーションを適用中です。"
    ),
    why=Text(
        "Two runners at once would apply a file twice; exactly one may.",
        "同時に二つ動くと同じファイルが二度適用されます。実行できるのは一つだけです。",
    ),
    fix=Text("wait for it, then run the command again", "終わるのを待って、もう一度実行してください"),
)
POOLED = Code(
    "DOD251",
    "migrations-pooled",
    what=Text("The database URL leads through a connection pooler.", "接続先が接続プーラーを経由しています。"),
    why=Text(
        "In transaction mode the lock and the settings land on somebody else's connection and stay there.",
        "トランザクションモードでは、ロックや設定が他人の接続に残り続けます。",
    ),
    fix=Text(
        "use the direct URL (at Neon the host without `-pooler`)",
        "直接接続の URL を使ってください（Neon では `-pooler` の付かないホスト）",
    ),
)
ELSEWHERE = Code(
    "DOD263",
    "migrations-elsewhere",
    what=Text(
        "The migration tool is connected to another database than dodai.",
        "マイグレーションツールの接続先が dodai の接続先と異なります。",
    ),
    why=Text(
        "The lock and the log would be in one database and the change in another.",
        "ロックと記録が一方に、変更がもう一方に入ってしまいます。",
    ),
    fix=Text(
        "let the tool's settings read the variable that `[database].variable` names",
        "ツールの設定で、`[database].variable` に書いた変数から URL を読んでください",
    ),
)
REFUSED_ORDER = Code(
    "DOD252",
    "unapplied-before-applied",
    what=Text(
        "A migration that is not applied sorts before one that is.",
        "未適用のマイグレーションが、適用済みのものより前にあります。",
    ),
    why=Text(
        "Applying it now gives this database another history than the files tell.",
        "いま適用すると、ファイルの順序とは異なる履歴になります。",
    ),
    fix=Text(
        "rename it to a version after the last applied one; `--allow-missing` applies it once, knowingly",
        "最後に適用した版より後に改名してください。承知のうえで一度だけ適用するなら `--allow-missing` です",
    ),
)
REFUSED_EDIT = Code(
    "DOD253",
    "applied-file-edited",
    what=Text("A file was changed after it was applied here.", "適用後にファイルが書き換えられています。"),
    why=Text(
        "This database does not have what the file now says.",
        "このデータベースの内容と、現在のファイルの内容が一致していません。",
    ),
    fix=Text(
        "restore the file; or `dodai migrate repair VERSION --reason TEXT` when the schema is right",
        "ファイルを元に戻すか、スキーマが正しいなら `dodai migrate repair 版番号 --reason 理由` を実行してください",
    ),
)
REFUSED_MISSING = Code(
    "DOD254",
    "applied-file-missing",
    what=Text(
        "A migration is applied here, but its file is gone.", "適用済みのマイグレーションのファイルがありません。"
    ),
    why=Text(
        "This may be the tree of an older release, or of another application.",
        "古いリリースか、別のアプリケーションのツリーを使っている可能性があります。",
    ),
    fix=Text("use the tree that has the file", "そのファイルを含むツリーを使ってください"),
)
SCHEMA_NOT_READY = Code(
    "DOD255",
    "schema-not-ready",
    what=Text(
        "The database lacks a migration that this release needs.",
        "このリリースに必要なマイグレーションが未適用です。",
    ),
    why=Text("Serving now would fail in the middle of requests.", "このまま受け付けると、処理の途中で失敗します。"),
    fix=Text("run `dodai migrate up`", "`dodai migrate up` を実行してください"),
)
DOWN_REFUSED = Code(
    "DOD256",
    "down-refused",
    what=Text("This migration is not undone here.", "この環境ではマイグレーションを戻しません。"),
    why=Text(
        "Down loses data; on a protected environment the way is forward.",
        "Down はデータを失います。保護された環境では前に進めて直します。",
    ),
    fix=Text(
        "write a new migration; `--break-glass REASON` if there is no other way",
        "新しいマイグレーションで直してください。他に方法がなければ `--break-glass 理由` です",
    ),
)
EVIDENCE_NEEDED = Code(
    "DOD257",
    "rehearsal-evidence-needed",
    what=Text(
        "This environment asks for a fresh rehearsal of exactly this source and these migrations.",
        "この環境では、同じソースとマイグレーションによる直近のリハーサル記録が必要です。",
    ),
    why=Text(
        "What was never tried on a copy is tried on your users.",
        "写しで試していないものは、利用者で試すことになります。",
    ),
    fix=Text(
        "commit everything, then run `dodai rehearse --record ENV`",
        "すべてコミットしてから `dodai rehearse --record 環境名` を実行してください",
    ),
)
NOT_VERIFIED_TLS = Code(
    "DOD258",
    "migrations-tls",
    what=Text(
        "The connection to a remote database does not verify whom it talks to.",
        "遠隔のデータベースへの接続で相手を検証していません。",
    ),
    why=Text("Anybody on the way can read and change what is sent.", "経路上の第三者が内容を読み書きできます。"),
    fix=Text(
        "add `sslmode=verify-full&sslrootcert=system` to the URL, or name a private host in `[migrations].plain_hosts`",
        "URL に `sslmode=verify-full&sslrootcert=system` を付けるか、"
        "閉域のホストなら `[migrations].plain_hosts` に書いてください",
    ),
)
READ_ONLY = Code(
    "DOD259",
    "database-read-only",
    what=Text("The database takes no changes.", "データベースが変更を受け付けません。"),
    why=Text("It is a replica, or it was set to read-only.", "レプリカか、読み取り専用に設定されています。"),
    fix=Text("use the URL of the primary", "プライマリの URL を使ってください"),
)
ADOPT_UNPROVEN = Code(
    "DOD260",
    "baseline-unproven",
    what=Text(
        "No prefix of the migrations builds the schema that this database has.",
        "どこまで適用しても、このデータベースのスキーマと一致しません。",
    ),
    why=Text("A wrong baseline skips changes or repeats them.", "基準点を誤ると、変更が抜けるか重複します。"),
    fix=Text(
        "write the differences that the message names into a migration, or undo them",
        "メッセージが示す差分をマイグレーションに書くか、元に戻してください",
    ),
)
HALF_EDITED = Code(
    "DOD261",
    "half-applied-file-edited",
    what=Text(
        "A file that is applied half-way was changed in the part that is already done.",
        "途中まで適用されたファイルの、適用済みの部分が書き換えられています。",
    ),
    why=Text("Going on would mix two versions of the file.", "続行すると二つの版が混ざります。"),
    fix=Text("restore the statements that are done", "適用済みの文を元に戻してください"),
)
OUTCOME_UNCLEAR = Code(
    "DOD262",
    "statement-outcome-unclear",
    what=Text(
        "A statement outside a transaction was interrupted and nobody can tell whether it took effect.",
        "トランザクション外の文が中断され、効果があったかどうか判定できません。",
    ),
    why=Text("Running it again might do it twice.", "もう一度実行すると二重に行われるおそれがあります。"),
    fix=Text(
        "look at the database, then `dodai migrate repair VERSION --statement N --was done|undone --reason TEXT`",
        "確認後、`dodai migrate repair 版番号 --statement N --was done|undone --reason 理由` を実行してください",
    ),
)
DATABASE_PROTECTED = Code(
    "DOD264",
    "database-of-a-protected-environment",
    what=Text(
        "The database belongs to a protected environment that the command does not name.",
        "保護された環境のデータベースですが、コマンドがその環境を指定していません。",
    ),
    why=Text(
        "A URL alone would pass neither evidence nor approval, and `down` would lose data without a reason.",
        "URL だけで実行できると、証跡も承認も経ずに適用でき、`down` では理由なくデータを失います。",
    ),
    fix=Text(
        "give `--env NAME`; in a copy of the database that is yours: `COMMENT ON SCHEMA dodai IS NULL`",
        "`--env 環境名` を付けてください。手元の複製なら `COMMENT ON SCHEMA dodai IS NULL` を実行してください",
    ),
)
