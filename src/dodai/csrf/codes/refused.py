"""What the app answers (DOD150-DOD179) and what fails while it starts or is audited (DOD180-DOD199)."""

from __future__ import annotations

from dodai.core.errors import Code
from dodai.core.text import Text

FOREIGN_ORIGIN = Code(
    "DOD150",
    "csrf-foreign-origin",
    what=Text("The request was sent by a page of another site", "別のサイトのページから送られたリクエストです"),
    why=Text(
        ("A browser says where a request comes from; this one does not come from a public origin of this environment"),
        ("ブラウザはリクエストの送信元を伝えます。このリクエストの送信元は、この環境の公開オリジンではありません"),
    ),
    fix=Text(
        "Open the site at its own address and send the form from there",
        "サイトを本来のアドレスで開き、そこからフォームを送信してください",
    ),
    source="Fetch Metadata Request Headers; RFC 6454",
)
TOKEN_MISSING = Code(
    "DOD151",
    "csrf-token-missing",
    what=Text("The form was sent without its security token", "セキュリティトークンのないフォームが送信されました"),
    why=Text(
        "Without the token nobody can tell that the form came from this site",
        "トークンがないと、このサイトのフォームから送られたと確認できません",
    ),
    fix=Text(
        "Go back, reload the page and send the form again", "前のページに戻って再読み込みし、もう一度送信してください"
    ),
)
TOKEN_INVALID = Code(
    "DOD152",
    "csrf-token-invalid",
    what=Text("The security token of the form is not valid", "フォームのセキュリティトークンが正しくありません"),
    why=Text(
        "The token was altered, cut off, or signed with a key that is no longer used",
        "トークンが改変または切り詰められているか、使われなくなった鍵で署名されています",
    ),
    fix=Text(
        "Go back with your browser's Back button: what you typed is still there. Then send it again",
        ("ブラウザの「戻る」で前のページに戻ってください。入力した内容は残っています。もう一度送信してください"),
    ),
)
TOKEN_EXPIRED = Code(
    "DOD153",
    "csrf-token-expired",
    what=Text("The page was open for too long", "ページを開いてから時間が経ちすぎました"),
    why=Text("A token is valid for a limited time", "トークンには有効期限があります"),
    fix=Text(
        "Go back with your browser's Back button: what you typed is still there. Then send it again",
        ("ブラウザの「戻る」で前のページに戻ってください。入力した内容は残っています。もう一度送信してください"),
    ),
)
TOKEN_FOREIGN = Code(
    "DOD154",
    "csrf-token-of-another-session",
    what=Text("The page belongs to another session", "このページは別のセッションのものです"),
    why=Text(
        "You signed in or out after this page was opened",
        "このページを開いた後に、サインインまたはサインアウトが行われました",
    ),
    fix=Text(
        "Go back with your browser's Back button: what you typed is still there. Then send it again",
        ("ブラウザの「戻る」で前のページに戻ってください。入力した内容は残っています。もう一度送信してください"),
    ),
)
TOKEN_TOO_LATE = Code(
    "DOD155",
    "csrf-token-after-file",
    what=Text(
        "The security token stands too late in the form", "フォームの中でセキュリティトークンの位置が後ろすぎます"
    ),
    why=Text(
        ("The token must be found before a large file is read; otherwise a hostile upload would fill the memory first"),
        ("大きなファイルを読む前にトークンが必要です。そうでないと、悪意あるアップロードが先にメモリを埋めます"),
    ),
    fix=Text(
        "Put the token field in front of the file field, or send it in the X-CSRF-Token header",
        "トークンのフィールドをファイルのフィールドより前に置くか、X-CSRF-Token ヘッダーで送ってください",
    ),
)
REQUEST_UNREADABLE = Code(
    "DOD156",
    "csrf-request-unreadable",
    what=Text("The request could not be read", "リクエストを読み取れませんでした"),
    why=Text(
        "Its length, content type or form encoding contradicts itself",
        "長さ・Content-Type・フォームの形式のいずれかが矛盾しています",
    ),
    fix=Text("Send the form again from the page", "ページからフォームをもう一度送信してください"),
)
BODY_TOO_SLOW = Code(
    "DOD157",
    "csrf-body-too-slow",
    what=Text("The form did not arrive in time", "フォームが時間内に届きませんでした"),
    why=Text(
        "A body that never ends would hold a connection and its memory for ever",
        "終わらない本文は、接続とメモリを占有し続けます",
    ),
    fix=Text(
        "Check your connection and send the form again; the operator can raise `[csrf] search_timeout`",
        "接続を確認して、もう一度送信してください。管理者は `[csrf] search_timeout` を延ばせます",
    ),
)
TOKEN_DUPLICATED = Code(
    "DOD158",
    "csrf-token-duplicated",
    what=Text("The security token was sent more than once", "セキュリティトークンが複数送信されました"),
    why=Text(
        "Two fields, headers or cookies of one name mean that somebody else added one",
        "同じ名前のフィールド・ヘッダー・Cookie が二つあるのは、誰かが追加した印です",
    ),
    fix=Text(
        "Clear the cookies of this site, reload the page and send the form again",
        "このサイトの Cookie を削除し、ページを再読み込みしてもう一度送信してください",
    ),
)
EXEMPTION_OVER = Code(
    "DOD159",
    "csrf-exemption-over",
    what=Text("The CSRF exemption of this route has ended", "このルートの CSRF の例外は終了しています"),
    why=Text(
        "The manifest names a last day for it, and that day has passed", "マニフェストに書かれた最終日を過ぎています"
    ),
    fix=Text(
        "Send a token, or have the operator agree on a new `expires`",
        "トークンを送るか、管理者に新しい `expires` を決めてもらってください",
    ),
)
KEYS_MALFORMED = Code(
    "DOD180",
    "csrf-keys-malformed",
    what=Text("The CSRF key ring cannot be used", "CSRF の鍵束を使用できません"),
    why=Text(
        "Without a key no token can be made or checked, so the app does not start",
        "鍵がないとトークンの発行も検証もできないため、アプリは起動しません",
    ),
    fix=Text(
        "set `DODAI_CSRF_KEYS` to `kid:base64url` with 32 random bytes",
        "`DODAI_CSRF_KEYS` に 32 バイトの乱数を `kid:base64url` の形式で設定してください",
    ),
)
ORIGIN_MALFORMED = Code(
    "DOD181",
    "public-origin-malformed",
    what=Text("A configured origin is not an origin", "設定されたオリジンの形式が正しくありません"),
    why=Text("An origin that can never match refuses every visitor", "決して一致しないオリジンは、全員を拒否します"),
    fix=Text(
        "write scheme, host and, if it is not the default, the port: `https://app.example.com`",
        "スキームとホスト、既定でなければポートも書いてください: `https://app.example.com`",
    ),
    source="RFC 6454",
)
TOKEN_AFTER_START = Code(
    "DOD182",
    "csrf-token-after-response-start",
    what=Text("A token was rendered after the response had begun", "応答を送り始めた後にトークンが描画されました"),
    why=Text(
        "The cookie that the token is bound to can no longer be set", "トークンと結び付く Cookie をもう設定できません"
    ),
    fix=Text(
        "call `csrf_token()` before the first byte of a streamed page is sent",
        "ストリーミングするページでは、最初のバイトを送る前に `csrf_token()` を呼んでください",
    ),
)
NOT_INSTALLED = Code(
    "DOD183",
    "csrf-not-installed",
    what=Text(
        "A token was asked for outside a protected request", "保護されたリクエストの外でトークンが要求されました"
    ),
    why=Text(
        "A token is bound to the visitor, who is only known while a request is served",
        "トークンは利用者に結び付き、利用者はリクエストの処理中にしか分かりません",
    ),
    fix=Text(
        "wrap the app with `dodai.asgi.wrap(app)` or `dodai.wsgi.wrap(app)`",
        "アプリを `dodai.asgi.wrap(app)` または `dodai.wsgi.wrap(app)` で包んでください",
    ),
)
PROBE_REFUSED = Code(
    "DOD185",
    "csrf-probe-refused",
    what=Text(
        "A valid request through the public address was refused", "公開アドレス経由の正しいリクエストが拒否されました"
    ),
    why=Text(
        "Middleware and edge do not agree on the origin, so every form of the site is refused",
        "ミドルウェアとエッジでオリジンの認識が一致しておらず、サイトのすべてのフォームが拒否されます",
    ),
    fix=Text(
        "make `public_origins` of the environment the address that visitors see",
        "環境の `public_origins` を、利用者に見えるアドレスにしてください",
    ),
)

CODES: tuple[Code, ...] = (
    FOREIGN_ORIGIN,
    TOKEN_MISSING,
    TOKEN_INVALID,
    TOKEN_EXPIRED,
    TOKEN_FOREIGN,
    TOKEN_TOO_LATE,
    REQUEST_UNREADABLE,
    BODY_TOO_SLOW,
    TOKEN_DUPLICATED,
    EXEMPTION_OVER,
    KEYS_MALFORMED,
    ORIGIN_MALFORMED,
    TOKEN_AFTER_START,
    NOT_INSTALLED,
    PROBE_REFUSED,
)
