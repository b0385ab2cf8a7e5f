"""The page `csrf-rollout`: what is covered, what is exempt and why, how it was introduced, how to act on a 403."""

from __future__ import annotations

from collections.abc import Iterable

from dodai.core.errors import Code as ErrorCode
from dodai.core.page import Block, Bullets, CodeBlock, Page, PageTable, Paragraph, Section, Text, bullets, paragraphs
from dodai.csrf.codes import CODES
from dodai.csrf.form_table import FormTable
from dodai.csrf.policy import PROBE_PATH, REFRESH_PATH, CsrfPolicy, Exemption
from dodai.csrf.route_table import RouteTable, Summary

_VERDICTS = {
    "protected": Text("protected", "保護済み"),
    "exempt": Text("exempt", "例外"),
    "unprotected": Text("**unprotected**", "**未保護**"),
    "unknown": Text("**unknown**", "**不明**"),
}
_MODES = {
    "both": Text(
        "Both checks must hold: the request comes from our own pages, and its token is valid.",
        "送信元の検査とトークンの検査の両方に通らなければ拒否します。",
    ),
    "either": Text(
        "A request that the browser vouches for (`Sec-Fetch-Site: same-origin`, or `none`: what the user did in the "
        "browser itself) passes; one without any provenance needs a valid token.",
        "ブラウザが同一オリジン、またはユーザー自身の操作（`Sec-Fetch-Site: none`）と示したリクエストは通し、送信元が"
        "分からないリクエストには有効なトークンを求めます。",
    ),
    "header": Text(
        "Only where a request comes from is checked; tokens are not used. `Sec-Fetch-Site: none`, which browsers send "
        "for what the user did in the browser itself, passes.",
        "送信元だけを検査し、トークンは使いません。ブラウザがユーザー自身の操作に送る `Sec-Fetch-Site: none` は"
        "通します。",
    ),
    "framework": Text(
        "Where a request comes from is checked; the token is that of the framework's own check, which must be on.",
        "まず送信元を検査します。トークンはフレームワーク自身の検査のものを使い、その検査が有効でなければ起動しません。",
    ),
    "report": Text(
        "Nothing is refused yet. What would have been refused is in the lines as `csrf: report:…`.",
        "まだ何も拒否しません。拒否するはずだったリクエストは、行に `csrf: report:…` として残ります。",
    ),
}


def csrf_rollout(policy: CsrfPolicy, routes: RouteTable | None, forms: FormTable | None) -> Page:
    """The document for a policy and the tables of one audit; None: that table could not be gathered."""
    return Page(
        name="Phase2/csrf-rollout",
        title=Text("CSRF protection: targets, exemptions, rollout", "CSRF 保護: 対象・例外・導入手順"),
        blocks=paragraphs(_opening(routes)),
        sections=(
            _decision(policy),
            _targets(routes),
            _forms(forms),
            _exemptions(policy),
            _rollout(policy),
            _rotation(policy),
            _tracing(),
            _proof(),
        ),
    )


def _opening(routes: RouteTable | None) -> Text:
    if routes is None:
        return Text(
            "The routes could not be listed when this page was written: coverage is **unknown**. `dodai "
            "routes` says why.",
            "このページの生成時にルートを列挙できなかったため、カバレッジは**不明**です。理由は `dodai routes` "
            "が表示します。",
        )
    summary = routes.summary
    return Text(
        f"Every request that changes state proves where it comes from, or is refused with 403 and a request id. "
        f"{_en(summary)}",
        "状態を変更するすべてのリクエストは、送信元を証明できなければ 403 とリクエスト ID を返して拒否します。"
        + _ja(summary),
    )


def _en(summary: Summary) -> str:
    counted = summary.state_changing - summary.exempt
    return (
        f"{summary.protected} of {counted} routes are protected ({_percent(summary)}), {summary.exempt} exempt, "
        f"{summary.unprotected} unprotected, {summary.unknown} unknown."
    )


def _ja(summary: Summary) -> str:
    counted = summary.state_changing - summary.exempt
    return (
        f"対象 {counted} 件のうち {summary.protected} 件が保護済み({_percent(summary)})、例外 {summary.exempt} 件、"
        f"未保護 {summary.unprotected} 件、不明 {summary.unknown} 件です。"
    )


def _percent(summary: Summary) -> str:
    return "0/0" if summary.coverage is None else f"{summary.coverage * 100:.0f} %"


def _decision(policy: CsrfPolicy) -> Section:
    steps = bullets(
        (
            Text(
                "`GET`, `HEAD`, `OPTIONS` and `TRACE` pass; every other method is checked before the handler runs.",
                "`GET`・`HEAD`・`OPTIONS`・`TRACE` は通します。それ以外のメソッドは、ハンドラーより前で検査します。",
            ),
            Text(
                "Provenance: `Sec-Fetch-Site`, else `Origin`, else `Referer`, against the public origins of "
                "the environment. "
                "A hostile request is refused without reading its body.",
                "送信元: `Sec-Fetch-Site`、なければ `Origin`、それもなければ `Referer` を、環境の公開オリジンと"
                "照合します。"
                "他サイトからのリクエストは、本文を読まずに拒否します。",
            ),
            Text(
                f"Token: header `{policy.header}`, else form field `{policy.field}`; bound to the visitor's own "
                "cookie, valid for "
                f"{_hours(policy)} h. Where the browser says same-origin and nobody is signed in, that of another "
                "first visit within five minutes of it is taken as well.",
                f"トークン: ヘッダー `{policy.header}`、なければフォームの `{policy.field}`。利用者自身の "
                "Cookie と結び付き、"
                f"有効期間は {_hours(policy)} 時間です。ブラウザーが same-origin と示し、誰もサインインしていなければ、"
                "前後 5 分以内の別の最初の訪問のトークンも受け付けます。",
            ),
            Text(
                f"Bodies of more than {policy.body_limit_bytes // 1024} KiB are refused with 413.",
                f"{policy.body_limit_bytes // 1024} KiB を超える本文は 413 で拒否します。",
            ),
        ),
        ordered=True,
    )
    mode = Paragraph(
        Text(f"Mode `{policy.mode}`: {_MODES[policy.mode].en}", f"モード `{policy.mode}`: {_MODES[policy.mode].ja}")
    )
    return Section(Text("How a request is judged", "判定の流れ"), (mode, steps))


def _targets(routes: RouteTable | None) -> Section:
    title = Text("Routes that change state", "対象ルート一覧")
    if routes is None:
        return Section(title, paragraphs(Text("Not listed.", "列挙できていません。")), anchor="routes")
    rows = tuple(
        (f"`{row.method}`", f"`{row.path}`", f"`{row.source}`", _VERDICTS[row.verdict], _by(row.by))
        for row in routes.state_changing
    )
    head = (
        Text("method", "メソッド"),
        Text("path", "パス"),
        Text("source", "定義"),
        Text("verdict", "判定"),
        Text("by", "保護"),
    )
    said = Text(
        "Each verdict is the outcome of real requests in process: missing, tampered, foreign, expired and "
        "cross-site are "
        "refused, a valid one reaches the handler (which is replaced, so nothing is executed).",
        "判定は、プロセス内で実際にリクエストを送った結果です。欠落・改ざん・別セッション・期限切れ・他サイトは"
        "拒否され、"
        "正しいものだけがハンドラーに届くことを確かめています(ハンドラーは差し替えてあり、処理は実行されません)。",
    )
    return Section(title, (Paragraph(said), PageTable(head, rows)), anchor="routes")


def _by(name: str) -> str:
    return f"`{name}`" if name else "–"


def _forms(forms: FormTable | None) -> Section:
    title = Text("Forms", "フォーム一覧")
    if forms is None:
        return Section(
            title, paragraphs(Text("No templates were found.", "テンプレートが見つかりませんでした。")), anchor="forms"
        )
    rows = tuple(
        (
            f"`{row.path}`",
            row.kind,
            row.sends,
            _VERDICTS[row.verdict],
        )
        for row in forms.rows
    )
    head = (Text("template", "テンプレート"), Text("kind", "種類"), Text("target", "送信先"), Text("verdict", "判定"))
    said = Text(
        "Every form, HTMX element and fetch call in the templates that changes state, and whether it carries "
        "the token.",
        "テンプレート中で状態を変更するフォーム・HTMX 要素・fetch 呼び出しと、トークンの有無です。",
    )
    return Section(title, (Paragraph(said), PageTable(head, rows)), anchor="forms")


def _exemptions(policy: CsrfPolicy) -> Section:
    rules = bullets(
        (
            Text(
                "An exemption names routes by their ids, never by a pattern, and holds where handlers are entered: a "
                "request that is led elsewhere inside the application is refused there.",
                "例外はルート ID で指定し、パターンは使えません。ハンドラーの入口で確認し、アプリ内部で別の処理に"
                "振り替えられたリクエストはそこで拒否します。",
            ),
            Text(
                "Only for requests without cookies and with a bearer token, which no page can make a browser send, may "
                "one entry cover a group of routes.",
                "Cookie がなく Bearer トークンを持つリクエスト(他サイトのページからは送信させられません)に限り、"
                "一つの項目でルートのグループを指定できます。",
            ),
            Text(
                "It says the reason, the owner and what protects the route instead; without them `dodai check` fails.",
                "理由・担当者・代わりの保護策を必ず書きます。欠けていると `dodai check` が失敗します。",
            ),
            Text(
                "After its last day it no longer holds in the app, and `dodai check` fails; it warns 14 days before.",
                "最終日を過ぎるとアプリでも無効になり、`dodai check` が失敗します。14 日前から警告します。",
            ),
        )
    )
    blocks: list[Block] = [rules]
    if policy.exemptions or policy.outer:
        head = (
            Text("route or layer", "ルート・層"),
            Text("reason", "理由"),
            Text("instead", "代わりの保護"),
            Text("owner", "担当"),
            Text("until", "期限"),
        )
        blocks.append(PageTable(head, tuple(map(_exemption, (*policy.exemptions, *policy.outer)))))
    else:
        blocks.append(Paragraph(Text("There are none.", "現在、例外はありません。")))
    return Section(Text("Exemptions", "例外方針"), tuple(blocks), anchor="exemptions")


def _exemption(row: Exemption) -> tuple[Text | str, ...]:
    named = f"`{row.route}`" + (f" (`{row.service}`)" if row.service else "")
    return (named, row.reason or "–", row.control or "–", row.owner or "–", row.expires or "–")


def _rollout(policy: CsrfPolicy) -> Section:
    steps = bullets(
        (
            Text(
                "Put `{{ csrf_field() }}` into every form and `{{ csrf_meta() }}` into the page head, wrap the app.",
                "すべてのフォームに `{{ csrf_field() }}`、ページの head に `{{ csrf_meta() }}` を置き、アプリを"
                "包みます。",
            ),
            Text(
                'Deploy with `mode = "report"`. Nothing is refused; the line of every request that would have been '
                "carries `csrf: report:REASON` and its route.",
                '`mode = "report"` でデプロイします。何も拒否せず、拒否するはずだったリクエストの行に '
                "`csrf: report:理由` とルートが残ります。",
            ),
            Text(
                "Fix what is counted: `report:token_missing` is a form without field, "
                "`report:origin_mismatch` a public origin "
                "that is missing in the manifest.",
                "数えられた原因を直します。`report:token_missing` はフィールドのないフォーム、"
                "`report:origin_mismatch` は"
                "マニフェストに書かれていない公開オリジンです。",
            ),
            Text(
                f"When a whole day (the life of a token is {_hours(policy)} h) counts nothing but attacks, set "
                '`mode = "both"` and deploy.',
                f'攻撃以外が丸一日(トークンの有効期間は {_hours(policy)} 時間)数えられなければ、`mode = "both"` '
                "にしてデプロイします。",
            ),
            Text(
                f"The deploy posts to `{PROBE_PATH}` through the real edge: a refusal there stops the release "
                "before visitors see it.",
                f"デプロイは実際のエッジを通して `{PROBE_PATH}` へ POST します。ここで拒否されたら、利用者に届く"
                "前にリリースを止めます。",
            ),
        ),
        ordered=True,
    )
    return Section(
        Text("Rollout: report first, then enforce", "導入手順: 計測してから拒否へ"), (steps,), anchor="rollout"
    )


def _rotation(policy: CsrfPolicy) -> Section:
    steps = bullets(
        (
            Text(
                "Put a new key in front of the ring `DODAI_CSRF_KEYS`; the old one stays and still verifies.",
                "鍵束 `DODAI_CSRF_KEYS` の先頭に新しい鍵を足します。古い鍵は残り、検証に使われ続けます。",
            ),
            Text(
                "Deploy. New tokens are signed with the new key.",
                "デプロイします。新しいトークンは新しい鍵で署名されます。",
            ),
            Text(
                f"After {_hours(policy)} h remove the old key and deploy again. Nobody is refused at any step.",
                f"{_hours(policy)} 時間後に古い鍵を外し、もう一度デプロイします。どの段階でも正規の利用者は拒否"
                "されません。",
            ),
        ),
        ordered=True,
    )
    command = CodeBlock("python -c 'import secrets; print(secrets.token_urlsafe(32))'", "sh")
    return Section(Text("Key rotation", "鍵のローテーション"), (steps, command), anchor="rotation")


def _tracing() -> Section:
    said = Text(
        "The page and the JSON of a refusal carry the request id. `dodai trace ID` shows the reason (`csrf`), "
        "the route and "
        "the release; the token itself is never written anywhere.",
        "拒否のページと JSON にはリクエスト ID があります。`dodai trace ID` で理由(`csrf`)・ルート・リリースが"
        "分かります。"
        "トークンそのものはどこにも記録しません。",
    )
    rows = tuple((f"`{code.id}`", f"`{code.name}`", code.what, code.fix) for code in _run_time(CODES))
    head = (
        Text("code", "コード"),
        Text("name", "名前"),
        Text("what happened", "何が起きたか"),
        Text("what to do", "対処"),
    )
    return Section(
        Text("A visitor reports a 403", "利用者から 403 の問い合わせがあったら"),
        (Paragraph(said), CodeBlock("dodai trace REQUEST_ID", "sh"), PageTable(head, rows)),
        anchor="tracing",
    )


def _run_time(codes: Iterable[ErrorCode]) -> list[ErrorCode]:
    return [code for code in codes if code.found == "run time"]


def _proof() -> Section:
    items: tuple[Text, ...] = (
        Text(
            "`dodai routes` prints the tables above with the evidence.",
            "`dodai routes` は上の表を証拠とともに表示します。",
        ),
        Text(
            "`dodai check csrf` fails in CI when a route or form is not covered, or an exemption has ended.",
            "`dodai check csrf` は、保護されていないルートやフォーム、期限切れの例外があると CI を失敗させます。",
        ),
        Text(
            "`pytest -p dodai.testing --dodai-csrf` runs valid, missing and tampered for every route.",
            "`pytest -p dodai.testing --dodai-csrf` は、全ルートについて「正しい・欠落・改ざん」の三系統をテス"
            "トします。",
        ),
        Text(
            f"`{REFRESH_PATH}` gives open pages a fresh token when they come back from the history or another tab.",
            f"`{REFRESH_PATH}` は、履歴や別タブから戻ったページに新しいトークンを渡します。",
        ),
    )
    return Section(Text("How this stays true", "保護を保つ仕組み"), (Bullets(items),), anchor="proof")


def _hours(policy: CsrfPolicy) -> str:
    return f"{policy.max_age_s / 3600:g}"
