"""The observability document: what is written for each request, for how long, and how to follow one."""

from __future__ import annotations

from dodai.core.line import FIELDS, MAX_LINE_BYTES, Field
from dodai.core.page import Block, CodeBlock, Page, PageTable, Section, Text, bullets, paragraphs
from dodai.observability.alert import Alert, alerts_of
from dodai.observability.alert.response import RESPONSES
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


_EXAMPLE_ID = "01a20a154cc271afb17c548fca6d98ca"


def observability(policy: ObservabilityPolicy, env: str = "production") -> Page:
    """`Phase2/observability`: dashboard, alerts with their first response, lines and trace, as the policy has them.

    Commands name the environment `env`.
    """
    alerts = alerts_of(policy)
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
        (
            _dashboard(env),
            _alerts(alerts, policy),
            _responses(alerts, env),
            _trace(),
            _incidents(policy, env),
            _outcomes(),
            _fields(policy),
            _never(),
            _retention(policy),
        ),
    )


_DASHBOARD: tuple[tuple[Text, Text], ...] = (
    (
        Text("Journeys", "利用シナリオ"),
        Text(
            "requests, error rate and p95 latency of what users do", "利用者の操作ごとのリクエスト件数、エラー率、p95"
        ),
    ),
    (
        Text("Routes and RPCs", "ルートと RPC"),
        Text("the same for each of them, what fails most first", "それぞれの同じ値。失敗の多い順に表示"),
    ),
    (
        Text("Dependencies", "依存先"),
        Text(
            "calls, failed ones and mean duration as the caller sees them: up, failing, down, or unknown when nobody "
            "called",
            "呼び出し側から見た件数・失敗数・平均時間。up、failing、down。呼び出しがなければ unknown",
        ),
    ),
    (
        Text("Alerts", "アラート"),
        Text(
            "what fires and is pending, with request ids to trace", "発火中・保留中のもの。追跡用のリクエスト ID 付き"
        ),
    ),
    (
        Text("Problems", "問題"),
        Text(
            "what the watch itself could not do: lines lost or skewed, a notifier that told nobody",
            "監視自身ができなかったこと。失われた行、時計のずれ、届かなかった通知",
        ),
    ),
)


def _dashboard(env: str) -> Section:
    head = (Text("Item", "項目"), Text("Shows", "内容"))
    said = Text(
        "Everything is counted from the lines that services write; a request pays nothing for it. "
        "Without `--once` the command goes on, shows a page, evaluates the alerts and tells people.",
        "すべてサービスが書くログ行から集計し、リクエストに負荷はかかりません。`--once` を付けなければ動き続け、"
        "ページを表示し、アラートを評価して通知します。",
    )
    shown = CodeBlock(f"dodai watch {env} --once", "console")
    elsewhere = Text(
        "The same panels are a dashboard of Grafana, and the same alerts rules of Prometheus (or vmalert) and "
        "inhibitions of Alertmanager, over the `/metrics` of the page:",
        "同じパネルは Grafana のダッシュボードとして、同じアラートは Prometheus(vmalert)のルールと Alertmanager の"
        "抑制設定として出力できます。データはページの `/metrics` から取得します。",
    )
    forms = ("grafana", "prometheus", "alertmanager")
    exports = CodeBlock("\n".join(f"dodai alerts export {form} --env {env}" for form in forms), "console")
    blocks: tuple[Block, ...] = (*paragraphs(said), shown, PageTable(head, _DASHBOARD), *paragraphs(elsewhere), exports)
    return Section(Text("Dashboard", "ダッシュボード"), blocks, anchor="dashboard")


def _alerts(alerts: tuple[Alert, ...], policy: ObservabilityPolicy) -> Section:
    head = (
        Text("Alert", "アラート"),
        Text("Fires", "発火条件"),
        Text("Not below", "最少件数"),
        Text("Severity", "重大度"),
        Text("Detected within, in a total outage", "全面障害時の検知時間"),
    )
    rows = tuple(
        (
            f"[{alert.name}](#{alert.name})",
            alert.condition,
            str(alert.min_count or "–"),
            alert.severity,
            _within(alert, policy),
        )
        for alert in alerts
    )
    said = (
        Text(
            "`page` wakes somebody up, `ticket` waits for the morning. Detection times are computed from the windows, "
            "and hold from the least number of requests on.",
            "`page` は即時対応、`ticket` は翌営業日の対応です。検知時間は集計期間から算出した値で、"
            "最少件数に達している場合のものです。",
        ),
        Text(
            "One outage is told once: of what fires together along the calls between services, the alert nearest to "
            "the cause is told, and names the others.",
            "1 つの障害の通知は 1 回だけです。サービス間の呼び出しに沿って同時に発火したものは、原因に最も近いアラート"
            "だけを通知し、残りをその通知に列挙します。",
        ),
    )
    return Section(Text("Alerts", "アラート"), (*paragraphs(*said), PageTable(head, rows)), anchor="alerts")


def alert_links(policy: ObservabilityPolicy, file: Text) -> Section:
    """What fires, each linked to its first response in `file`, for the page of those who operate the system."""
    head = (Text("Alert", "アラート"), Text("Says", "内容"), Text("Severity", "重大度"))
    rows = tuple(
        (
            Text(f"[{alert.name}]({file.en}#{alert.name})", f"[{alert.name}]({file.ja}#{alert.name})"),
            alert.code.page.what,
            alert.severity,
        )
        for alert in alerts_of(policy)
    )
    said = Text("Each alert leads to its first response.", "各アラートから一次対応へ進めます。")
    return Section(
        Text("When an alert fires", "アラートが発火したとき"),
        (*paragraphs(said), PageTable(head, rows)),
        anchor="alerts",
    )


def _within(alert: Alert, policy: ObservabilityPolicy) -> Text | str:
    seconds = alert.detection_s(tick_s=policy.cell_s / 2, heartbeat_s=policy.heartbeat_s)
    return Text("depends on the fault", "障害による") if seconds is None else f"{seconds:.0f} s"


def _responses(alerts: tuple[Alert, ...], env: str) -> Section:
    said = Text(
        f"An alert brings request ids: put one in the place of `{_EXAMPLE_ID}`. Whoever is on it says so with "
        "`dodai alerts ack`.",
        f"アラートにはリクエスト ID が付きます。`{_EXAMPLE_ID}` をそれに置き換えてください。対応を始めた人は "
        "`dodai alerts ack` で知らせます。",
    )
    return Section(
        Text("First response", "一次対応"),
        paragraphs(said),
        tuple(_response(alert, env) for alert in alerts),
        anchor="first-response",
    )


def _response(alert: Alert, env: str) -> Section:
    response, page = RESPONSES[alert.name], alert.code.page
    commands = "\n".join(word.replace("ENV", env).replace("ID", _EXAMPLE_ID) for word in response.commands)
    meaning = Text(f"{page.what.en}. {page.why.en}.", f"{page.what.ja}。{page.why.ja}。")
    decide = Text(f"{response.decide.en}.", f"{response.decide.ja}。")
    blocks: tuple[Block, ...] = (*paragraphs(meaning), CodeBlock(commands, "console"), *paragraphs(decide))
    return Section(f"{alert.name} ({alert.code.id})", blocks, anchor=alert.name)


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
            CodeBlock("dodai trace 01a20a154cc271afb17c548fca6d98ca", "console"),
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


def _incidents(policy: ObservabilityPolicy, env: str) -> Section:
    said = Text(
        f"While lines and rollups are still kept, write the incident down: the command makes a file in "
        f"`{policy.incidents}` with the trace, every change and every alert on one timeline, and what each alert "
        "measured. The id is that of a request, or the name of an alert that fired.",
        "行と集計が残っているうちに記録します。次のコマンドは、トレース、変更、アラートを 1 つのタイムラインに並べ、"
        f"各アラートの測定値を添えたファイルを `{policy.incidents}` に作ります。ID はリクエスト ID、または発火した"
        "アラートの名前です。",
    )
    asked = Text(
        "The file asks what would have detected it. Metrics and alerts are added from these answers: `dodai check` "
        "finds an incident that is older than 14 days and has neither `detected_by` nor `metric_added` (DOD409).",
        "ファイルは「何があれば検知できたか」を問います。メトリクスとアラートはこの回答から追加します。14 日を過ぎても"
        " `detected_by` と `metric_added` のどちらもないインシデントは、`dodai check` が指摘します(DOD409)。",
    )
    command = f"dodai incident new {_EXAMPLE_ID} --env {env}"
    blocks: tuple[Block, ...] = (*paragraphs(said), CodeBlock(command, "console"), *paragraphs(asked))
    return Section(Text("After an incident", "障害のあと"), blocks, anchor="incidents")


def _outcomes() -> Section:
    head = ("`outcome`", Text("Meaning", "意味"))
    rows = tuple((f"`{name}`", meaning) for name, meaning in _OUTCOMES)
    return Section(Text("Outcomes", "結果の分類"), (PageTable(head, rows),))


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
        if not (field.name == "clientNetwork" and policy.client_ip == "none")
    )
    return Section(Text("Fields", "フィールド一覧"), (PageTable(head, rows),), anchor="fields")


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
