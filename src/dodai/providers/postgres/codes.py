"""The codes of the PostgreSQL provider."""

from __future__ import annotations

from dodai.core.errors import Code
from dodai.core.text import Text

INSTALL = "pip install 'dodai[postgres]'"

NOT_FOUND = Code(
    "DOD380",
    "postgres-not-found",
    what=Text(
        "No PostgreSQL server binaries were found on this machine.",
        "このマシンに PostgreSQL サーバーの実行ファイルが見つかりません。",
    ),
    why=Text(
        "Local environments, `migrate check` and rehearsals run on a real PostgreSQL, never on a stand-in.",
        "ローカル環境、`migrate check`、リハーサルは代用品ではなく本物の PostgreSQL で動きます。",
    ),
    fix=Text(f"run `{INSTALL}`", f"`{INSTALL}` を実行してください"),
)
NOT_USABLE = Code(
    "DOD381",
    "postgres-not-usable",
    what=Text(
        "PostgreSQL binaries were found, but they do not work here.",
        "PostgreSQL の実行ファイルはありますが、この環境では動きません。",
    ),
    why=Text(
        "A program is missing or broken, or no unprivileged user may run it; PostgreSQL refuses to run as root.",
        "プログラムが欠けているか壊れている、または一般ユーザーで実行できません。PostgreSQL は root では起動しません。",
    ),
    fix=Text(
        f"install them again with `{INSTALL}`, or name another bin directory",
        f"`{INSTALL}` で入れ直すか、別の bin ディレクトリを指定してください",
    ),
)
NOT_STARTED = Code(
    "DOD382",
    "postgres-not-started",
    what=Text("The local PostgreSQL server did not start.", "ローカルの PostgreSQL サーバーが起動しませんでした。"),
    why=Text(
        "The end of the server's log says why: a port in use, a full disk, a directory that it may not read.",
        "ポートの使用中、ディスクの空き不足、読めないディレクトリなど、理由はメッセージ中のログ末尾にあります。",
    ),
    fix=Text(
        "mend what the log says, then repeat the command; nothing was left running",
        "ログが示す原因を直して、同じコマンドを再実行してください。残ったプロセスはありません",
    ),
)
DATA_DIRECTORY = Code(
    "DOD383",
    "postgres-data-directory",
    what=Text(
        "The data directory does not fit: another major version, in use, or not a data directory.",
        "データディレクトリが使えません(別のメジャーバージョン、使用中、または別物のディレクトリ)。",
    ),
    why=Text(
        "A server that opened it anyway could damage the data.",
        "そのまま開くと、データを壊すおそれがあります。",
    ),
    fix=Text(
        "use PostgreSQL of the major version the message names, stop the other server, or name another directory",
        "メッセージにあるメジャーバージョンを使うか、他のサーバーを止めるか、別のディレクトリを指定してください",
    ),
)
UNREACHABLE = Code(
    "DOD384",
    "database-unreachable",
    what=Text("No database server answers at this address.", "このアドレスでデータベースサーバーが応答しません。"),
    why=Text(
        "The host name does not resolve, nothing listens, TLS cannot be agreed on, or the connection broke.",
        "ホスト名が解決できない、待ち受けがない、TLS が成立しない、または接続が切れました。",
    ),
    fix=Text(
        "check host, port and network from this machine, then repeat the command",
        "このマシンからホスト、ポート、ネットワークを確かめて、同じコマンドを再実行してください",
    ),
)
REFUSED = Code(
    "DOD385",
    "database-refused",
    what=Text(
        "The database server answered and refused: credentials, database name, connection limit, read-only or full.",
        "データベースサーバーが拒否しました(認証、データベース名、接続数の上限、読み取り専用、容量不足)。",
    ),
    why=Text(
        "Asking again with the same settings gets the same answer.",
        "同じ設定で再試行しても、結果は変わりません。",
    ),
    fix=Text(
        "correct the setting that the message names; the password is never shown",
        "メッセージが示す設定を直してください。パスワードは表示されません",
    ),
)
COPY_FAILED = Code(
    "DOD386",
    "database-copy-failed",
    what=Text("A copy of the database could not be made.", "データベースの複製を作成できませんでした。"),
    why=Text(
        "Without a copy there is no restore point, and nothing to rehearse on.",
        "複製がなければ復元点がなく、リハーサルもできません。",
    ),
    fix=Text(
        "give the role REPLICATION and room on the disk, as the message says",
        "メッセージに従い、ロールへの REPLICATION 付与やディスクの空き確保を行ってください",
    ),
)
POOLED = Code(
    "DOD378",
    "pooled-connection",
    what=Text("The URL leads through a transaction pooler.", "この URL はトランザクションプーラーを経由しています。"),
    why=Text(
        "Through one, session locks and SET land on somebody else's session: two runners can hold one lock.",
        "プーラー経由では、セッションロックや SET が他人のセッションに効き、2 つの実行者が同じロックを持てます。",
    ),
    fix=Text(
        "use the direct host (without `-pooler`) or the server's own port",
        "直接接続のホスト(`-pooler` なし)か、サーバー本来のポートを使ってください",
    ),
    source="measured with PgBouncer in transaction mode; neondatabase/website #5482",
)
UNVERIFIED_TLS = Code(
    "DOD379",
    "unverified-tls",
    what=Text(
        "The URL of a remote database does not demand a verified certificate.",
        "リモートデータベースの URL が証明書の検証を求めていません。",
    ),
    why=Text(
        "With any weaker sslmode whoever sits between can read the password and change the statements.",
        "弱い sslmode では、中間者がパスワードを読み、SQL を書き換えられます。",
    ),
    fix=Text(
        "add `sslmode=verify-full` (and `sslrootcert=system` for a public certificate)",
        "`sslmode=verify-full` を付けてください(公開証明書なら `sslrootcert=system` も)",
    ),
    source="https://www.postgresql.org/docs/current/libpq-ssl.html",
)

CODES: tuple[Code, ...] = (
    POOLED,
    UNVERIFIED_TLS,
    NOT_FOUND,
    NOT_USABLE,
    NOT_STARTED,
    DATA_DIRECTORY,
    UNREACHABLE,
    REFUSED,
    COPY_FAILED,
)
