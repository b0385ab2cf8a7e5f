"""Found by check in the files and their history."""

# The examples are SQL.
# ruff: noqa: S608
from __future__ import annotations

from dodai.core.errors import Code
from dodai.core.text import Text

_UP = "-- +goose Up\n"

FILE_SYNTAX = Code(
    "DOD200",
    "migration-syntax",
    what=Text(
        "A migration file is not in goose's format.", "マイグレーションファイルが goose の形式になっていません。"
    ),
    why=Text(
        "A file that is read in two ways is run in two ways; nothing is applied while one file is unclear.",
        "解釈が分かれるファイルは実行結果も分かれます。一つでも不明なファイルがあれば何も適用しません。",
    ),
    fix=Text("correct the line that the message names", "メッセージが示す行を直してください"),
    bad=" -- +goose Up\nSELECT 1;\n",
    good="-- +goose Up\nSELECT 1;\n",
    source="https://github.com/pressly/goose#sql-migrations",
)
FILE_NAME = Code(
    "DOD201",
    "migration-name",
    what=Text(
        "A migration file is not named `VERSION_name.sql`, or the folder is not there.",
        "ファイル名が `版番号_名前.sql` の形になっていないか、フォルダーがありません。",
    ),
    why=Text(
        "goose ignores such a file without a word, so the change never arrives.",
        "goose はこのようなファイルを黙って無視するため、変更がどこにも届きません。",
    ),
    fix=Text("create files with `dodai migrate new NAME`", "`dodai migrate new 名前` で作成してください"),
    bad="add_email.sql",
    good="20260214093000_add_email.sql",
)
DUPLICATE = Code(
    "DOD202",
    "migration-duplicate",
    what=Text("Two migration files have the same version.", "同じ版番号のマイグレーションファイルが二つあります。"),
    why=Text(
        "The ledger has one row per version, so one of the two would never run.",
        "台帳は版番号ごとに一行しか持たないため、片方は決して実行されません。",
    ),
    fix=Text(
        "rename the newer file to a version after the last one", "新しい方を、最後の版番号より後に改名してください"
    ),
    bad="0002_a.sql 0002_b.sql",
    good="0002_a.sql 0003_b.sql",
)
OUT_OF_ORDER = Code(
    "DOD204",
    "migration-out-of-order",
    what=Text(
        "A new migration sorts before one that the target branch already has.",
        "新しいマイグレーションが、取り込み先に既にあるものより前に並んでいます。",
    ),
    why=Text(
        "Environments that applied the later one first end up with another history than a new database.",
        "後の版を先に適用済みの環境と、新しく作った環境とで履歴が食い違います。",
    ),
    fix=Text("give the file a version after the last one", "最後の版番号より後の番号に改名してください"),
    bad="main: 0001 0003, branch adds 0002",
    good="main: 0001 0003, branch adds 0004",
)
EDITED = Code(
    "DOD205",
    "migration-edited",
    what=Text(
        "A migration that the target branch already has was changed.",
        "取り込み先に既にあるマイグレーションが書き換えられています。",
    ),
    why=Text(
        "Databases that applied it do not see the change, new ones do: the schemas part ways.",
        "適用済みのデータベースには変更が届かず、新しいデータベースにだけ届くため、スキーマが分岐します。",
    ),
    fix=Text(
        "restore the file and put the change into a new migration",
        "ファイルを元に戻し、変更は新しいファイルに書いてください",
    ),
)
EDITED_COMMENT = Code(
    "DOD206",
    "migration-comment-edited",
    what=Text(
        "Only comments or white space of an applied migration changed.",
        "適用済みマイグレーションのコメントか空白だけが変わりました。",
    ),
    why=Text("It means the same; this is for your information.", "意味は変わりません。お知らせのみです。"),
    fix=Text("nothing to do", "対応は不要です"),
    level="info",
)
MISSING = Code(
    "DOD207",
    "migration-missing",
    what=Text(
        "A migration that the target branch already has is gone.",
        "取り込み先に既にあるマイグレーションがなくなっています。",
    ),
    why=Text(
        "A new database would lack what every other one has.",
        "新しく作るデータベースにだけ、その変更が入らなくなります。",
    ),
    fix=Text("restore the file", "ファイルを元に戻してください"),
)
FAILS_ON_EMPTY = Code(
    "DOD208",
    "migration-fails",
    what=Text("A migration fails on an empty database.", "空のデータベースへの適用でマイグレーションが失敗します。"),
    why=Text(
        "Whoever sets up the system from nothing, or restores it, stops here.",
        "新規構築や復旧の際に、ここで止まります。",
    ),
    fix=Text("correct the statement that the message names", "メッセージが示す文を直してください"),
    bad=_UP + "ALTER TABLE nothing ADD COLUMN a int;\n",
    good=_UP + "CREATE TABLE something (a int);\n",
)
DOWN_FAILS = Code(
    "DOD209",
    "migration-down-fails",
    what=Text("The way down of a migration fails.", "マイグレーションの Down が失敗します。"),
    why=Text(
        "It is run for the first time on the worst day, and then it fails.",
        "最悪の日に初めて実行され、そこで失敗します。",
    ),
    fix=Text("correct the Down section", "Down の節を直してください"),
    bad=_UP + "CREATE TABLE a (b int);\n-- +goose Down\nDROP TABLE c;\n",
    good=_UP + "CREATE TABLE a (b int);\n-- +goose Down\nDROP TABLE a;\n",
)
ROUND_TRIP = Code(
    "DOD210",
    "migration-round-trip",
    what=Text(
        "Up, down and up again do not lead back to the same schema.",
        "Up・Down・Up を行うと元のスキーマに戻りません。",
    ),
    why=Text(
        "After a rollback the database is something that no file describes.",
        "切り戻し後のデータベースが、どのファイルにも書かれていない状態になります。",
    ),
    fix=Text("make Down undo everything that Up does", "Up の変更をすべて戻す Down にしてください"),
    bad=_UP + "CREATE TABLE a (b int);\nCREATE TYPE t AS ENUM ('x');\n-- +goose Down\nDROP TABLE a;\n",
    good=_UP + "CREATE TABLE a (b int);\nCREATE TYPE t AS ENUM ('x');\n-- +goose Down\nDROP TABLE a;\nDROP TYPE t;\n",
)
IRREVERSIBLE = Code(
    "DOD211",
    "migration-irreversible",
    what=Text("A migration has no way down and does not say why.", "Down がなく、その理由も書かれていません。"),
    why=Text(
        "Whether a release can be rolled back must be known before it is deployed.",
        "切り戻せるかどうかは、デプロイ前に分かっていなければなりません。",
    ),
    fix=Text(
        "write a Down section, or a line `-- dodai: irreversible REASON` (in Python `# dodai: …`)",
        "Down を書くか、`-- dodai: irreversible 理由` の行（Python では `# dodai: …`）を書いてください",
    ),
    bad=_UP + "CREATE TABLE a (b int);\n",
    good="-- dodai: irreversible first table, restore a backup instead\n" + _UP + "CREATE TABLE a (b int);\n",
)
COPY_FROM_STDIN = Code(
    "DOD220",
    "copy-from-stdin",
    what=Text(
        "`COPY ... FROM stdin` with data stands in a goose file.",
        "goose のファイルに、データ付きの `COPY ... FROM stdin` があります。",
    ),
    why=Text(
        "goose would send the data lines as SQL and hang or fail.",
        "goose はデータ行を SQL として送るため、停止または失敗します。",
    ),
    fix=Text(
        'write INSERT statements, or keep such data in a history of plain files (`format = "plain"`)',
        'INSERT 文で書くか、素の SQL ファイルの履歴（`format = "plain"`）に置いてください',
    ),
    bad=_UP + "COPY quiz (id) FROM stdin;\n1\n\\.\n;\n",
    good=_UP + "INSERT INTO quiz (id) VALUES (1);\n",
)
SPLIT_DIFFERS = Code(
    "DOD221",
    "statement-split",
    what=Text("goose would cut a statement in the middle.", "goose が文の途中で区切ってしまいます。"),
    why=Text(
        "goose splits by line and knows neither `$$` bodies nor quotes; the server would get half a function.",
        "goose は行単位で区切り、`$$` 本体や引用符を考慮しないため、サーバーに関数の半分だけが届きます。",
    ),
    fix=Text(
        "put `-- +goose StatementBegin` and `-- +goose StatementEnd` around it",
        "`-- +goose StatementBegin` と `-- +goose StatementEnd` で囲んでください",
    ),
    bad=_UP + "DO $$\nBEGIN\n  NULL;\nEND $$;\n",
    good=_UP + "-- +goose StatementBegin\nDO $$\nBEGIN\n  NULL;\nEND $$;\n-- +goose StatementEnd\n",
)
SEVERAL_HEADS = Code(
    "DOD222",
    "several-heads",
    what=Text("The history has more than one head.", "履歴の先端が複数あります。"),
    why=Text(
        "The tool refuses to upgrade, usually after the merge and in production.",
        "ツールが適用を拒みます。多くは取り込み後、本番で発覚します。",
    ),
    fix=Text(
        "join the heads: `alembic merge heads`, or `manage.py makemigrations --merge`",
        "`alembic merge heads` か `manage.py makemigrations --merge` で先端を統合してください",
    ),
)
TRANSACTION_CONTROL = Code(
    "DOD223",
    "transaction-control",
    what=Text("A migration controls its own transaction.", "マイグレーションの中でトランザクションを操作しています。"),
    why=Text(
        "COMMIT in the middle ends the transaction that the ledger row shares; a later failure leaves half a file.",
        "途中の COMMIT は台帳と共有するトランザクションを終わらせ、後で失敗すると半端な適用が残ります。",
    ),
    fix=Text(
        "remove BEGIN and COMMIT, or mark the file `-- +goose NO TRANSACTION`",
        "BEGIN や COMMIT を消すか、ファイルに `-- +goose NO TRANSACTION` を付けてください",
    ),
    bad=_UP + "BEGIN;\nCREATE TABLE a (b int);\nCOMMIT;\n",
    good=_UP + "CREATE TABLE a (b int);\n",
)
REMARK = Code(
    "DOD225",
    "migration-remark",
    what=Text("A `-- dodai:` remark cannot be understood.", "`-- dodai:` の注記が読み取れません。"),
    why=Text(
        "An acceptance without a reason is an exception nobody can review.",
        "理由のない受け入れは、誰にも確認できない例外です。",
    ),
    fix=Text(
        "write `-- dodai: accept CODE REASON [until DATE]` or `-- dodai: irreversible REASON`",
        "`-- dodai: accept コード 理由 [until 日付]` か `-- dodai: irreversible 理由` と書いてください",
    ),
    bad="-- dodai: accept DOD213\n" + _UP + "SELECT 1;\n",
    good="-- dodai: accept DOD213 two hundred rows\n" + _UP + "SELECT 1;\n",
)
EXTERNAL = Code(
    "DOD226",
    "external-migration",
    what=Text(
        "The history holds a migration that dodai cannot run.",
        "dodai では実行できないマイグレーションが履歴に含まれます。",
    ),
    why=Text(
        "Skipping it would build another schema than the one that tool builds.",
        "読み飛ばすと、元のツールとは異なるスキーマになります。",
    ),
    fix=Text(
        "rewrite it in SQL, or run that history with its own tool", "SQL に書き直すか、元のツールで実行してください"
    ),
)
ACCEPTANCE_UNUSED = Code(
    "DOD227",
    "acceptance-unused",
    what=Text(
        "A remark accepts a finding that is not there, or its day has passed.",
        "存在しない指摘を受け入れているか、期限が過ぎています。",
    ),
    why=Text("It would hide the next one.", "次に現れる指摘を隠してしまいます。"),
    fix=Text("remove the remark", "注記を消してください"),
    level="warning",
)
