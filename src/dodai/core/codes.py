"""The codes of the kernel: the manifest, the command line and the documents (DOD0xx)."""

from __future__ import annotations

from dodai.core.errors import Code
from dodai.core.text import Text

MANIFEST_SYNTAX = Code(
    "DOD001",
    "manifest-syntax",
    what=Text("`dodai.toml` is not TOML.", "`dodai.toml` が TOML として読めません。"),
    why=Text(
        "Nothing can be enforced, checked or run from a manifest that cannot be read.",
        "読めないマニフェストからは、適用も検査も実行もできません。",
    ),
    fix=Text("correct the line that the message names", "メッセージが示す行を直してください"),
    bad="[project\nname = 'quiz'\n",
    good="[project]\nname = 'quiz'\n",
    source="https://toml.io/en/v1.0.0",
)
MANIFEST_UNKNOWN_KEY = Code(
    "DOD002",
    "manifest-unknown-key",
    what=Text(
        "`dodai.toml` has a key or table that dodai does not know.", "`dodai.toml` に未知のキーまたは表があります。"
    ),
    why=Text(
        "A misspelt key would silently leave a protection at its default.",
        "つづりを誤ったキーを見逃すと、保護が既定値のまま気付かれずに残ります。",
    ),
    fix=Text(
        "use the nearest key the message names, or see `dodai explain manifest`",
        "メッセージが示す近いキーを使うか、`dodai explain manifest` を見てください",
    ),
    bad="[project]\nnaem = 'quiz'\n",
    good="[project]\nname = 'quiz'\n",
)
MANIFEST_WRONG_VALUE = Code(
    "DOD003",
    "manifest-wrong-value",
    what=Text("A value in `dodai.toml` has the wrong type or form.", "`dodai.toml` の値の型または形式が違います。"),
    why=Text(
        "A value that is guessed at means something else on another day.",
        "値を推測で補うと、別の日に別の意味になります。",
    ),
    fix=Text("write a value of the expected form", "期待される形式の値を書いてください"),
    bad="[project]\nname = 7\n",
    good="[project]\nname = 'quiz'\n",
)
MANIFEST_MISSING_KEY = Code(
    "DOD004",
    "manifest-missing-key",
    what=Text("A table in `dodai.toml` lacks a required key.", "`dodai.toml` の表に必須のキーがありません。"),
    why=Text("There is no safe default for it.", "安全な既定値が存在しない項目です。"),
    fix=Text("add the key", "そのキーを書き足してください"),
    bad="[project]\n",
    good="[project]\nname = 'quiz'\n",
)
MANIFEST_UNKNOWN_NAME = Code(
    "DOD005",
    "manifest-unknown-name",
    what=Text(
        "A value names a table of `dodai.toml` that is not there.",
        "値が、`dodai.toml` に存在しない表の名前を指しています。",
    ),
    why=Text(
        "A service that needs a service nobody defines can never be ready.",
        "定義されていないサービスに依存するサービスは、決して準備完了になりません。",
    ),
    fix=Text("correct the name, or add the table", "名前を直すか、表を書き足してください"),
    bad="[project]\nname = 'quiz'\n[service.web]\ncommand = ['serve']\nneeds = ['backend']\n",
    good="[project]\nname = 'quiz'\n[service.web]\ncommand = ['serve']\n",
)
ACCEPTANCE_EXPIRED = Code(
    "DOD006",
    "acceptance-expired",
    what=Text("A finding was accepted until a day that has passed.", "受け入れていた指摘の期限が過ぎています。"),
    why=Text(
        "An exception without an end is a hole that nobody looks at.", "期限のない例外は、誰も見ない穴になります。"
    ),
    fix=Text(
        "mend the finding, or decide anew and set a later `expires`",
        "指摘を直すか、改めて判断して `expires` を延ばしてください",
    ),
    bad=("[project]\nname = 'quiz'\n[[check.accept]]\ncode = 'DOD103'\nreason = 'legacy form'\nexpires = 2020-01-01\n"),
    good=(
        "[project]\nname = 'quiz'\n[[check.accept]]\ncode = 'DOD103'\nreason = 'legacy form'\nexpires = 2999-01-01\n"
    ),
)
DOCUMENT_STALE = Code(
    "DOD007",
    "document-stale",
    what=Text(
        "A generated document differs from what the definition renders now.",
        "生成された文書が、現在の定義から生成される内容と異なります。",
    ),
    why=Text(
        "At 3 a.m. a runbook that lags behind the system costs more than none.",
        "深夜の障害対応では、実態に遅れた手順書は無いより危険です。",
    ),
    fix=Text("run `dodai docs` and commit the result", "`dodai docs` を実行し、結果をコミットしてください"),
)
DOCUMENT_MARKERS = Code(
    "DOD008",
    "document-markers",
    what=Text("The ownership markers in a document are malformed.", "文書中の所有範囲を示す印が壊れています。"),
    why=Text(
        "dodai would not know which bytes are yours, so it writes nothing.",
        "どこが利用者の文章か判別できないため、dodai は何も書き込みません。",
    ),
    fix=Text("restore the pair of markers the message names", "メッセージが示す印の組を元に戻してください"),
)
MANIFEST_NOT_FOUND = Code(
    "DOD050",
    "manifest-not-found",
    what=Text("No `dodai.toml` was found.", "`dodai.toml` が見つかりません。"),
    why=Text("This command acts on what the manifest defines.", "このコマンドはマニフェストの定義に従って動作します。"),
    fix=Text(
        "run it in the folder of `dodai.toml`, or name the file with `--manifest`",
        "`dodai.toml` のあるフォルダーで実行するか、`--manifest` でファイルを指定してください",
    ),
)
UNKNOWN_WORD = Code(
    "DOD051",
    "unknown-name",
    what=Text("The command names something that does not exist.", "コマンドに指定した名前に該当するものがありません。"),
    why=Text(
        "Acting on a guess would act on the wrong environment.",
        "推測で実行すると、誤った環境を変更するおそれがあります。",
    ),
    fix=Text("use one of the names the message lists", "メッセージに挙がっている名前を使ってください"),
)
CONFIRMATION_NEEDED = Code(
    "DOD052",
    "confirmation-needed",
    what=Text(
        "The command changes something and nobody is there to confirm it.",
        "変更を伴うコマンドですが、確認に答える人がいません。",
    ),
    why=Text(
        "Outside a terminal there is no one to ask, and silence is not consent.",
        "端末の外では確認を取れず、無応答を同意とは見なせません。",
    ),
    fix=Text("add `--yes` once you have read the plan", "計画を確認したうえで `--yes` を付けてください"),
)
MISSING_EXTRA = Code(
    "DOD053",
    "missing-extra",
    what=Text(
        "A part of dodai that this command needs is not installed.",
        "このコマンドに必要な追加パッケージが入っていません。",
    ),
    why=Text("The core stays light; parts are extras.", "本体を軽く保つため、一部の機能は追加パッケージです。"),
    fix=Text("run the install line in the message", "メッセージにあるインストール行を実行してください"),
)
USAGE = Code(
    "DOD054",
    "usage",
    what=Text("The command line is not understood.", "コマンドラインの指定が正しくありません。"),
    why=Text("dodai does not guess what was meant.", "dodai は意図を推測しません。"),
    fix=Text("see the command's `--help`", "コマンドの `--help` を見てください"),
)
INTERNAL_ERROR = Code(
    "DOD080",
    "internal-error",
    what=Text("dodai itself failed.", "dodai 自体が失敗しました。"),
    why=Text(
        "This is a defect in dodai, not in your repository.",
        "原因は dodai の不具合で、リポジトリの問題ではありません。",
    ),
    fix=Text(
        "report it with the traceback that `DODAI_DEBUG=1` prints",
        "`DODAI_DEBUG=1` を付けて得られるトレースバックを添えて報告してください",
    ),
)

CODES = (
    MANIFEST_SYNTAX,
    MANIFEST_UNKNOWN_KEY,
    MANIFEST_WRONG_VALUE,
    MANIFEST_MISSING_KEY,
    MANIFEST_UNKNOWN_NAME,
    ACCEPTANCE_EXPIRED,
    DOCUMENT_STALE,
    DOCUMENT_MARKERS,
    MANIFEST_NOT_FOUND,
    UNKNOWN_WORD,
    CONFIRMATION_NEEDED,
    MISSING_EXTRA,
    USAGE,
    INTERNAL_ERROR,
)
