"""The words of the page, in both languages."""

from __future__ import annotations

from collections.abc import Mapping

from dodai.core.text import Text

WORDS: Mapping[str, Text] = {
    "journeys": Text("Journeys", "利用シナリオ"),
    "routes": Text("Routes", "ルート"),
    "rpcs": Text("RPCs", "RPC"),
    "tasks": Text("Background tasks", "バックグラウンド処理"),
    "dependencies": Text("Dependencies", "依存先"),
    "alerts": Text("Alerts", "アラート"),
    "recent": Text("Resolved in the last day", "過去 24 時間に解消"),
    "problems": Text("Problems of the watch itself", "監視自身の問題"),
    "name": Text("Name", "名前"),
    "count": Text("Requests", "件数"),
    "errors": Text("Error rate", "エラー率"),
    "p95": Text("p95", "p95"),
    "course": Text("Requests and failed ones", "件数と失敗"),
    "latency": Text("p95 over time", "p95 の推移"),
    "calls": Text("Calls", "呼び出し"),
    "failed": Text("Failed", "失敗"),
    "mean": Text("Mean", "平均"),
    "state": Text("State", "状態"),
    "up": Text("up", "正常"),
    "failing": Text("failing", "一部失敗"),
    "down": Text("down", "停止"),
    "unknown": Text("not called", "呼び出しなし"),
    "examples": Text("Examples", "例"),
    "since": Text("since", "発生"),
    "firing": Text("firing", "発火中"),
    "also": Text("Part of the same outage", "同じ障害の一部"),
    "pending": Text("pending", "保留中"),
    "none_fires": Text("{n} alerts evaluated, none fires", "{n} 件のアラートを評価、発火なし"),
    "fires": Text("{n} firing, outages: {m}", "{n} 件が発火中、障害 {m} 件"),
    "stale": Text(
        "Old: the last evaluation was {n} ago. Nothing below is about now",
        "古い情報です。最後の評価は {n}前で、以下は現在の状態ではありません",
    ),
    "never": Text("Nothing was evaluated yet", "まだ一度も評価されていません"),
    "empty": Text(
        "No line was found: nothing was measured, which does not mean that all is well",
        "ログ行が見つかりません。何も測定しておらず、正常という意味ではありません",
    ),
    "empty_fix": Text(
        "Looked below {where}. Start the services, or name the folder with --state",
        "探した場所: {where}。サービスを起動するか、--state でフォルダーを指定してください",
    ),
    "no_rows": Text("None in this time", "この期間にはありません"),
    "window_until": Text("The {n} minutes until {until}", "{until} までの {n} 分"),
    "window": Text("The last {n} minutes", "直近 {n} 分"),
    "lamps": Text("As callers see them now", "呼び出し元から見た現在の状態"),
    "lamps_until": Text("As callers saw them until {until}", "{until} までの状態"),
    "left_out": Text("and {n} more, see data.json", "ほか {n} 件は data.json にあります"),
    "runbook": Text("First response", "一次対応"),
    "counted": Text("{n} lines counted", "{n} 行を集計"),
    "torn": Text("{n} unreadable", "{n} 行は読み取り不能"),
    "late": Text("{n} late", "{n} 行は遅延"),
    "skewed": Text("{n} from a clock that is off", "{n} 行は時計のずれ"),
    "overflowed": Text("{n} over the limit of series", "{n} 行は系列数の上限超過"),
    "hours": Text("{n} h", "{n} 時間"),
    "minutes": Text("{n} min", "{n} 分"),
    "seconds": Text("{n} s", "{n} 秒"),
    "back": Text("Back", "戻る"),
    "trace": Text("Trace", "トレース"),
    "between": Text("From {a} to {b}", "{a} から {b} まで"),
    "no_examples": Text("No example was kept for this time", "この期間の例は保存されていません"),
    "not_found": Text("No line of this request was found", "このリクエストのログ行は見つかりません"),
    "other_lang": Text("日本語", "English"),
    "gone": Text(
        "The watch does not answer; this is what it showed last", "監視が応答しません。最後に表示した内容です"
    ),
}
