"""Found by check on a shadow or live database."""

from __future__ import annotations

from dodai.core.errors import Code
from dodai.core.text import Text

_UP = "-- +goose Up\n"

NOT_NULL_WITHOUT_DEFAULT = Code(
    "DOD203",
    "not-null-without-default",
    what=Text(
        "A NOT NULL column is added with nothing to fill it, which works on an empty table only.",
        "値の入らない NOT NULL 列を追加しています。空の表でしか成功しません。",
    ),
    why=Text(
        "CI has empty tables and production has not, so the deploy fails there for the first time.",
        "CI の表は空でも本番の表は空ではないため、本番で初めて失敗します。",
    ),
    fix=Text(
        "add the column with a default or nullable, fill it, then set NOT NULL",
        "既定値付きまたは NULL 可で列を追加し、値を埋めてから NOT NULL にしてください",
    ),
    bad=_UP + "ALTER TABLE quiz ADD COLUMN email text NOT NULL;\n",
    good=_UP + "ALTER TABLE quiz ADD COLUMN email text NOT NULL DEFAULT '';\n",
)
REWRITE = Code(
    "DOD212",
    "table-rewrite",
    what=Text(
        "The statement rewrites a whole table while nobody can read it.",
        "誰も読めない状態で表全体を書き直す文です。",
    ),
    why=Text(
        "Measured on a shadow database: the table got a new file under ACCESS EXCLUSIVE; the wait grows with its size.",
        "検証用データベースでの実測です。ACCESS EXCLUSIVE のまま表が作り直され、待ち時間は表の大きさに比例します。",
    ),
    fix=Text(
        "add a new column, fill it in batches, switch over; or accept it with a reason",
        "新しい列を追加し、分割して埋めてから切り替えるか、理由を添えて受け入れてください",
    ),
    bad=_UP + "ALTER TABLE quiz ALTER COLUMN id TYPE bigint;\n",
    good=_UP + "ALTER TABLE quiz ADD COLUMN id_new bigint;\n",
)
SCAN_UNDER_LOCK = Code(
    "DOD213",
    "scan-under-lock",
    what=Text(
        "The statement reads a whole table under a lock that stops readers or writers.",
        "読み書きを止めるロックを取ったまま表全体を読む文です。",
    ),
    why=Text(
        "Measured on a shadow database; the wait grows with the number of rows.",
        "検証用データベースでの実測です。待ち時間は行数に比例します。",
    ),
    fix=Text(
        "add the constraint NOT VALID and validate it in a later migration",
        "制約を NOT VALID で追加し、検証は後のマイグレーションで行ってください",
    ),
    bad=_UP + "ALTER TABLE quiz ADD CONSTRAINT positive CHECK (score > 0);\n",
    good=_UP + "ALTER TABLE quiz ADD CONSTRAINT positive CHECK (score > 0) NOT VALID;\n",
)
BLOCKING_INDEX = Code(
    "DOD214",
    "blocking-index",
    what=Text(
        "An index is built while nobody can write to the table.", "表への書き込みを止めたまま索引を作成しています。"
    ),
    why=Text(
        "Measured on a shadow database: SHARE lock during the whole build.",
        "検証用データベースでの実測です。作成が終わるまで SHARE ロックが続きます。",
    ),
    fix=Text(
        "use CREATE INDEX CONCURRENTLY in a file of its own with `-- +goose NO TRANSACTION`"
        " (Alembic: `autocommit_block`; Django: `AddIndexConcurrently` and `atomic = False`)",
        "`-- +goose NO TRANSACTION` を付けた単独のファイルで CREATE INDEX CONCURRENTLY を使ってください"
        "（Alembic では `autocommit_block`、Django では `AddIndexConcurrently` と `atomic = False`）",
    ),
    bad=_UP + "CREATE INDEX quiz_score ON quiz (score);\n",
    good="-- +goose NO TRANSACTION\n" + _UP + "CREATE INDEX CONCURRENTLY quiz_score ON quiz (score);\n",
)
CONTRACTION = Code(
    "DOD215",
    "contracting-change",
    what=Text(
        "The migration drops, renames or empties a table or a column.",
        "表や列を削除・改名するか、表を空にするマイグレーションです。",
    ),
    why=Text(
        "The release that still runs may use it, and no way down brings lost data back.",
        "稼働中のリリースがまだ使っている可能性があり、失われたデータは Down でも戻りません。",
    ),
    fix=Text(
        "do it one release after the last use, and accept it with `-- dodai: accept DOD215 REASON`",
        "最後に使ったリリースの次で行い、`-- dodai: accept DOD215 理由` で受け入れてください",
    ),
    bad=_UP + "DROP TABLE quiz;\n",
    good="-- dodai: accept DOD215 unused since release 41\n" + _UP + "DROP TABLE quiz;\n",
)
INVALID_INDEX = Code(
    "DOD216",
    "invalid-index",
    what=Text("An index is invalid.", "無効な索引が残っています。"),
    why=Text(
        "A failed CONCURRENTLY leaves it behind: it costs writes, serves no query and enforces nothing.",
        "CONCURRENTLY の失敗で残ったものです。書き込みの負担になるだけで、検索にも一意性の保証にも使われません。",
    ),
    fix=Text("drop it and build it again", "削除して作り直してください"),
)
DRIFT = Code(
    "DOD217",
    "schema-drift",
    what=Text(
        "The live schema differs from what the applied migrations build.",
        "稼働中のスキーマが、適用済みマイグレーションから作られるものと異なります。",
    ),
    why=Text(
        "Somebody changed it by hand; the next migration may fail, and a restore will lack the change.",
        "手作業で変更されています。次の適用が失敗したり、復旧時に変更が失われたりします。",
    ),
    fix=Text("put the difference into a migration, or undo it", "差分をマイグレーションにするか、元に戻してください"),
)
QUERY_BREAKS = Code(
    "DOD218",
    "query-breaks",
    what=Text(
        "A query of the running release does not fit the new schema.",
        "稼働中リリースの SQL が新しいスキーマで成り立ちません。",
    ),
    why=Text(
        "While a release is deployed the old code runs on the new schema; this query would fail.",
        "デプロイ中は古いコードが新しいスキーマの上で動くため、この SQL が失敗します。",
    ),
    fix=Text("expand first, contract one release later", "先に追加だけを行い、削除は次のリリースで行ってください"),
)
QUERY_NEEDS_SCHEMA = Code(
    "DOD219",
    "query-needs-schema",
    what=Text(
        "A query of the new release does not fit the schema before its migrations.",
        "新しいリリースの SQL が、適用前のスキーマでは成り立ちません。",
    ),
    why=Text(
        "It is fine while migrations run before the code; a rollback of the schema alone would break it.",
        "コードより先に適用する限り問題ありませんが、スキーマだけを戻すと失敗します。",
    ),
    fix=Text("keep the order: migrate, then deploy", "適用してからデプロイする順序を守ってください"),
    level="info",
)
CLUSTER_WIDE = Code(
    "DOD224",
    "cluster-wide-object",
    what=Text(
        "The migration creates something that belongs to the whole server, such as a role.",
        "ロールなど、サーバー全体に属するものを作るマイグレーションです。",
    ),
    why=Text(
        "A second database on the same server cannot apply it.",
        "同じサーバー上の二つ目のデータベースには適用できません。",
    ),
    fix=Text("create roles outside the migrations", "ロールはマイグレーションの外で作成してください"),
    bad=_UP + "CREATE ROLE reader;\n",
    good=_UP + "CREATE SCHEMA reading;\n",
)
