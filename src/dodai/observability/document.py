"""The observability document: what is written for each request, for how long, and how to follow one."""

from __future__ import annotations

from dodai.core.line import FIELDS, MAX_LINE_BYTES, Field
from dodai.core.page import Code, Page, Section, Table, Text, bullets, paragraphs
from dodai.observability.policy import ObservabilityPolicy

_OUTCOMES: tuple[tuple[str, Text], ...] = (
    ("ok", Text("answered, status below 400 or `OK`", "正常に応答(400 未満または `OK`)")),
    (
        "client_error",
        Text("refused or not found: the client's doing", "拒否または対象なし(クライアント起因)"),
    ),
    ("server_error", Text("our failure; counts for the error rate", "サーバー起因の失敗。エラー率に含む")),
    ("timeout", Text("a deadline passed", "期限切れ")),
    ("aborted", Text("the answer broke off half-way", "応答が途中で途切れた")),
    ("client_gone", Text("the client left before the end", "完了前にクライアントが離脱した")),
)


def observability(policy: ObservabilityPolicy) -> Page:
    """`Phase2/observability`: lines, fields, outcomes, retention and the trace, as the policy has them."""
    return Page(
        "Phase2/observability",
        Text("Observability", "可観測性"),
        paragraphs(
            Text(
                "Every request is one JSON line in every tier it passes, with the same request id. "
                "This page is generated from the definition that writes the lines.",
                "すべてのリクエストは、通過する層ごとに同じリクエスト ID を持つ JSON を 1 行ずつ残します。"
                "このページは、行を書き出す定義そのものから生成しています。",
            )
        ),
        (_trace(), _outcomes(), _fields(policy), _never(), _retention(policy)),
    )


def _trace() -> Section:
    return Section(
        Text("Following one request", "一つのリクエストを追う"),
        (
            *paragraphs(
                Text(
                    "The id stands on every error page, in the `X-Request-Id` header of every response and in the body "
                    "of every refusal. It leads through every tier to the one that failed:",
                    "ID は、エラーページ、すべての応答の `X-Request-Id` ヘッダー、拒否応答の本文に表示されます。"
                    "次のコマンドで、各層をたどって失敗した層を特定できます。",
                )
            ),
            Code("dodai trace 01a20a154cc271afb17c548fca6d98ca", "console"),
            bullets(
                (
                    Text(
                        "One row per hop, callee below caller, with status, outcome and duration.",
                        "呼び出し元の下に呼び出し先を並べ、1 区間 1 行でステータス・結果・所要時間を示します。",
                    ),
                    Text(
                        "`SQL 3 × 4.1 ms` are totals; a statement or call has a row of its own when it was slow, "
                        "failed or sampled.",
                        "`SQL 3 × 4.1 ms` は合計です。遅い・失敗した・抽出された呼び出しだけが個別の行になります。",
                    ),
                    Text(
                        "The last line names the tier that failed and who saw it.",
                        "最後の行が、失敗した層とそれを検知した層を示します。",
                    ),
                    Text(
                        "`--follow` waits for lines to come, `--json` prints the whole trace for a program.",
                        "`--follow` は行が届くのを待ち、`--json` はプログラム向けに全体を出力します。",
                    ),
                )
            ),
        ),
        anchor="trace",
    )


def _outcomes() -> Section:
    head = ("`outcome`", Text("Meaning", "意味"))
    rows = tuple((f"`{name}`", meaning) for name, meaning in _OUTCOMES)
    return Section(Text("Outcomes", "結果の分類"), (Table(head, rows),))


def _fields(policy: ObservabilityPolicy) -> Section:
    head = (
        Text("Field", "フィールド"),
        Text("Purpose", "用途"),
        Text("Always in", "必ず含む行"),
        Text("Personal", "個人情報"),
        Text("Kept", "保存期間"),
    )
    kept = _days(policy.retention_age_s)
    rows = tuple(
        (
            f"`{field.name}`",
            field.purpose,
            ", ".join(f"`{kind}`" for kind in field.required) or "–",
            _personal(field, policy),
            kept,
        )
        for field in FIELDS
        if not (field.name == "clientIp" and policy.client_ip == "none")
    )
    return Section(Text("Fields", "フィールド一覧"), (Table(head, rows),), anchor="fields")


def _personal(field: Field, policy: ObservabilityPolicy) -> Text | str:
    if not field.personal:
        return "–"
    if field.name in ("userId", "userClaimed") and policy.user_id == "hmac":
        return Text("yes, as an HMAC", "あり(HMAC 化)")
    return Text("yes", "あり")


def _never() -> Section:
    return Section(
        Text("What never enters a line", "行に決して入らないもの"),
        (
            bullets(
                (
                    Text("Headers, cookies, query strings and bodies", "ヘッダー、Cookie、クエリ文字列、本文"),
                    Text("SQL statements and their parameters", "SQL 文とそのパラメーター"),
                    Text(
                        "Messages of exceptions; the type, a hash and the innermost frames are enough to find them",
                        "例外メッセージ(型・ハッシュ・内側のフレームだけを記録します)",
                    ),
                    Text(
                        "Raw paths, except where no route matched, and then without addresses, tokens and long numbers",
                        "生のパス(一致するルートがない場合のみ、アドレス・トークン・長い数字を除いて記録します)",
                    ),
                )
            ),
        ),
    )


def _retention(policy: ObservabilityPolicy) -> Section:
    size = f"{policy.retention_bytes / 1024**3:g} GiB"
    days = _days(policy.retention_age_s)
    return Section(
        Text("Retention", "保存"),
        (
            bullets(
                (
                    Text(
                        f"Lines are kept for {days} or {size}, whichever comes first; the oldest go first.",
                        f"行の保存は {days} または {size} のいずれか早い方までで、古いものから削除します。",
                    ),
                    Text(
                        f"A line has at most {MAX_LINE_BYTES:,} bytes; a file is closed at "
                        f"{policy.segment_bytes / 1024**2:g} MiB or after {policy.segment_age_s / 60:g} minutes.",
                        f"1 行は最大 {MAX_LINE_BYTES:,} バイト、ファイルは"
                        f" {policy.segment_bytes / 1024**2:g} MiB または {policy.segment_age_s / 60:g} 分で閉じます。",
                    ),
                    Text(
                        "When the disk is full or nobody reads standard output the application keeps serving; what was "
                        "lost is counted in a `lines_dropped` event.",
                        "ディスクの満杯や標準出力の詰まりが起きてもアプリケーションは応答を続け、失われた行数は"
                        " `lines_dropped` イベントに記録されます。",
                    ),
                )
            ),
        ),
        anchor="retention",
    )


def _days(seconds: float) -> str:
    return f"{seconds / 86400:g} d" if seconds >= 86400 else f"{seconds / 3600:g} h"
