"""What `dodai check csrf` finds: DOD101-DOD149."""

from __future__ import annotations

from dodai.core.errors import Code
from dodai.core.text import Text

UNPROTECTED_ROUTE = Code(
    "DOD101",
    "unprotected-route",
    what=Text(
        "A state-changing route accepts a request without a valid CSRF token",
        "状態を変更するルートが、有効な CSRF トークンのないリクエストを受け付けています",
    ),
    why=Text(
        "Another site can make a signed-in visitor's browser send this request",
        "サインイン中の利用者のブラウザから、別のサイトがこのリクエストを送信させることができます",
    ),
    fix=Text(
        (
            "wrap the app with `dodai.asgi.wrap(app)` (Flask, Django: `dodai.wsgi.wrap(app)`), or "
            "declare a `[[csrf.exemption]]` for exactly this route"
        ),
        (
            "アプリを `dodai.asgi.wrap(app)`(Flask・Django は `dodai.wsgi.wrap(app)`)で包むか、こ"
            "のルートだけの `[[csrf.exemption]]` を宣言してください"
        ),
    ),
    bad="app = Starlette(routes=routes)\n",
    good="app = dodai.asgi.wrap(Starlette(routes=routes))\n",
    source="OWASP Cross-Site Request Forgery Prevention Cheat Sheet",
)
UNPROTECTED_FORM = Code(
    "DOD102",
    "unprotected-form",
    what=Text("A form that changes state carries no CSRF token", "状態を変更するフォームに CSRF トークンがありません"),
    why=Text(
        "The route behind it is protected, so every visitor who sends this form is refused with 403",
        "送信先のルートは保護されているため、このフォームを送信した利用者は全員 403 で拒否されます",
    ),
    fix=Text(
        ("put `{{ csrf_field() }}` inside the form, or `hx-headers='{{ csrf_headers() }}'` on the HTMX element"),
        (
            "フォームの中に `{{ csrf_field() }}` を、HTMX の要素には `hx-headers='{{ csrf_headers() "
            "}}'` を置いてください"
        ),
    ),
    bad='<form method="post" action="/answer"><button>Send</button></form>\n',
    good='<form method="post" action="/answer">{{ csrf_field() }}<button>Send</button></form>\n',
)
UNKNOWN_ROUTE = Code(
    "DOD103",
    "unproven-route",
    what=Text(
        "A state-changing route could not be proven to be protected",
        "状態を変更するルートが保護されていることを証明できませんでした",
    ),
    why=Text(
        "Coverage is only a number when every route is counted; what is unknown counts as unprotected",
        "すべてのルートを数えて初めてカバレッジは意味を持ちます。不明なものは未保護として数えます",
    ),
    fix=Text(
        ("move the check in front of the handler (`dodai.asgi.wrap`), or mount an app whose routes can be listed"),
        ("検査をハンドラーの手前(`dodai.asgi.wrap`)へ移すか、ルートを一覧できるアプリをマウントしてください"),
    ),
    bad='Mount("/legacy", app=opaque_asgi_app)\n',
    good='Mount("/legacy", routes=[Route("/save", save, methods=["POST"])])\n',
)
UNKNOWN_FORM = Code(
    "DOD104",
    "unproven-form",
    what=Text(
        "The target or the token of a form could not be determined",
        "フォームの送信先またはトークンの有無を判定できませんでした",
    ),
    why=Text(
        "A form that nobody can judge is the one that breaks, or leaks its token, unseen",
        "判定できないフォームは、壊れてもトークンを漏らしても気付かれません",
    ),
    fix=Text(
        "write the method and the action literally, or run `dodai routes` against a running environment",
        "method と action を直接書くか、起動中の環境に対して `dodai routes` を実行してください",
    ),
    level="warning",
    bad='<form method="{{ method }}" action="/save">\n',
    good='<form method="post" action="/save">{{ csrf_field() }}</form>\n',
)
EXEMPTION_EXPIRED = Code(
    "DOD105",
    "exemption-expired",
    what=Text("The last day of a CSRF exemption has passed", "CSRF の例外の期限が過ぎています"),
    why=Text(
        "An expired exemption no longer holds in the app: the route refuses requests without a token",
        "期限切れの例外はアプリでも無効になり、このルートはトークンのないリクエストを拒否します",
    ),
    fix=Text(
        "protect the route and remove the exemption, or agree on a new `expires` with its owner",
        "ルートを保護して例外を削除するか、担当者と新しい `expires` を決めてください",
    ),
    bad='[[csrf.exemption]]\nroute = "POST /webhooks/grade"\nreason = "no cookies"\nexpires = "2020-01-31"\n',
    good=(
        '[[csrf.exemption]]\nroute = "POST /webhooks/grade"\n'
        'reason = "no cookies"\ncontrol = "HMAC signature"\n'
        'expires = "2099-01-31"\n'
    ),
)
EXEMPTION_WITHOUT_CONTROL = Code(
    "DOD106",
    "exemption-without-control",
    what=Text(
        "A CSRF exemption does not say what protects the route instead, or who owns it",
        "CSRF の例外に、代わりの保護策または担当者が書かれていません",
    ),
    why=Text(
        "An exemption without a compensating control is an open door", "代わりの保護策のない例外は、開いたままの扉です"
    ),
    fix=Text(
        "write `control` (for example `webhook signature`) and `owner` in the `[[csrf.exemption]]`",
        "`[[csrf.exemption]]` に `control`(例: `webhook signature`)と `owner` を書いてください",
    ),
    bad='[[csrf.exemption]]\nroute = "POST /webhooks/grade"\nreason = "no cookies"\n',
    good=(
        '[[csrf.exemption]]\nroute = "POST /webhooks/grade"\n'
        'reason = "no cookies"\nowner = "quiz team"\n'
        'control = "HMAC signature"\n'
    ),
)
EXEMPTION_WITHOUT_ROUTE = Code(
    "DOD107",
    "exemption-without-route",
    what=Text(
        "A CSRF exemption or limit names a route that the app does not have",
        "CSRF の例外または上限が、アプリに存在しないルートを指しています",
    ),
    why=Text(
        "A renamed route silently loses its exemption, and a stale one waits for a new route of that name",
        "ルート名を変えると例外は黙って外れ、古い例外は同じ名前の新しいルートに効いてしまいます",
    ),
    fix=Text(
        "write the route id exactly as `dodai routes` prints it, or remove the entry",
        "`dodai routes` が表示するルート ID をそのまま書くか、項目を削除してください",
    ),
    bad='[[csrf.exemption]]\nroute = "POST /webhook/*"\n',
    good='[[csrf.exemption]]\nroute = "POST /webhooks/grade"\n',
    source="CVE-2025-47910",
)
TOKEN_IN_URL = Code(
    "DOD108",
    "token-in-url",
    what=Text("A template puts the CSRF token into a URL", "テンプレートが CSRF トークンを URL に入れています"),
    why=Text(
        "URLs end up in logs, in the Referer header and in the browser's history",
        "URL はログ、Referer ヘッダー、ブラウザの履歴に残ります",
    ),
    fix=Text(
        "send the token in a form field or in the `X-CSRF-Token` header",
        "トークンはフォームのフィールドか `X-CSRF-Token` ヘッダーで送ってください",
    ),
    bad='<a href="/logout?csrf_token={{ csrf_token() }}">Log out</a>\n',
    good='<form method="post" action="/logout">{{ csrf_field() }}<button>Log out</button></form>\n',
)
COOKIE_FLAGS = Code(
    "DOD109",
    "csrf-cookie-flags",
    what=Text(
        "A session or CSRF cookie lacks Secure, HttpOnly or SameSite",
        "セッションまたは CSRF の Cookie に Secure・HttpOnly・SameSite のいずれかがありません",
    ),
    why=Text(
        (
            "Without them the cookie travels in clear text, can be read by scripts, or is sent with "
            "other sites' requests"
        ),
        (
            "付いていないと、Cookie が平文で流れる、スクリプトから読まれる、他サイトのリクエストに"
            "付く、のいずれかが起こります"
        ),
    ),
    fix=Text(
        ('set `Secure; HttpOnly; SameSite=Lax` (Starlette: `SessionMiddleware(https_only=True, same_site="lax")`)'),
        (
            "`Secure; HttpOnly; SameSite=Lax` を付けてください(Starlette: `SessionMiddleware(https_only=True, "
            'same_site="lax")`)'
        ),
    ),
    bad="Set-Cookie: session=1\n",
    good="Set-Cookie: session=1; Secure; HttpOnly; SameSite=Lax\n",
    source="RFC 6265bis",
)
NO_PUBLIC_ORIGIN = Code(
    "DOD110",
    "no-public-origin",
    what=Text("An environment has no usable public origin", "環境に有効な公開オリジンがありません"),
    why=Text(
        ("Without it the Origin header can only be compared with the Host header, which a proxy may rewrite"),
        (
            "公開オリジンがないと Origin ヘッダーを Host ヘッダーとしか比べられず、Host はプロキシ"
            "に書き換えられることがあります"
        ),
    ),
    fix=Text(
        'write `public_origins = ["https://app.example.com"]` in `[env.NAME]`',
        '`[env.NAME]` に `public_origins = ["https://app.example.com"]` と書いてください',
    ),
    bad="[env.production]\npublic_origins = []\n",
    good='[env.production]\npublic_origins = ["https://app.example.com"]\n',
)
WEAK_KEY = Code(
    "DOD111",
    "weak-csrf-key",
    what=Text(
        "A secret that signs tokens or sessions is short, a default, or written in the source",
        "トークンやセッションに署名する秘密が、短い・既定値・ソースへの直書きのいずれかです",
    ),
    why=Text(
        "Whoever guesses the secret makes valid tokens and sessions",
        "秘密を推測した者は、有効なトークンとセッションを作れます",
    ),
    fix=Text(
        "generate 32 random bytes, for example with `secrets.token_urlsafe(32)`, and read them from the environment",
        "`secrets.token_urlsafe(32)` などで 32 バイトの乱数を作り、環境変数から読んでください",
    ),
    bad='app.add_middleware(SessionMiddleware, secret_key="changethis")\n',
    good='app.add_middleware(SessionMiddleware, secret_key=os.environ["SESSION_KEY"])\n',
)
CACHEABLE_TOKEN_PAGE = Code(
    "DOD112",
    "cacheable-token-page",
    what=Text(
        "A page of yours stands where the edge may store what it delivers, and a token in it with it",
        "エッジが応答を保存してよい場所に動的なページがあり、トークンごと共有キャッシュに残る設定です",
    ),
    why=Text(
        "A CDN hands one visitor's token to all others, who are then refused",
        "CDN が一人のトークンを全員に配り、他の利用者は拒否されます",
    ),
    fix=Text(
        "keep pages out of `[edge] static`; everywhere else a page with a token is made `private`",
        "`[edge] static` からページを外してください。それ以外では、トークンを含むページは `private` になります",
    ),
    bad='[edge]\nstatic = ["/*"]\n',
    good='[edge]\nstatic = ["/static/*"]\n',
)
NO_REFERRER_POLICY = Code(
    "DOD113",
    "no-referrer-policy",
    what=Text("Pages ask browsers to send no referrer", "ページがブラウザに no-referrer を指示しています"),
    why=Text(
        "Browsers then send `Origin: null` with the site's own forms, and older ones are refused",
        "その場合ブラウザは自サイトのフォームにも `Origin: null` を付け、古いブラウザは拒否されます",
    ),
    fix=Text(
        "use `Referrer-Policy: strict-origin-when-cross-origin` or `same-origin`",
        "`Referrer-Policy: strict-origin-when-cross-origin` か `same-origin` を使ってください",
    ),
    level="warning",
    bad='<meta name="referrer" content="no-referrer">\n',
    good='<meta name="referrer" content="same-origin">\n',
    source="Fetch Standard, append a request Origin header",
)
GET_CHANGES_STATE = Code(
    "DOD114",
    "get-looks-like-mutation",
    what=Text(
        "A GET route is named like one that changes state", "GET ルートの名前が、状態を変更する処理のように見えます"
    ),
    why=Text(
        "GET is never checked: links, images and prefetching reach it from any site",
        "GET は検査されません。リンク・画像・先読みで、どのサイトからでも到達します",
    ),
    fix=Text(
        "make it POST, or leave it if it only shows a page",
        "POST に変えてください。ページを表示するだけならそのままで構いません",
    ),
    level="warning",
    bad='Route("/logout", logout)\n',
    good='Route("/logout", logout, methods=["POST"])\n',
)
NOTHING_TO_PROTECT = Code(
    "DOD115",
    "no-state-changing-route",
    what=Text("No state-changing route was found", "状態を変更するルートが一つも見つかりませんでした"),
    why=Text(
        "A coverage of 0 of 0 proves nothing; usually the wrong app was audited",
        "0 件中 0 件のカバレッジは何の証明にもなりません。多くは別のアプリを監査しています",
    ),
    fix=Text(
        "point `[service.NAME] app` at the object that the server runs, for example `web.app:app`",
        ("`[service.NAME]` の `app` に、サーバーが実際に動かすオブジェクト(例: `web.app:app`)を書いてください"),
    ),
    bad='[service.web]\napp = "web.empty:app"\n',
    good='[service.web]\napp = "web.app:app"\n',
)
EXEMPTION_ENDS_SOON = Code(
    "DOD116",
    "exemption-ends-soon",
    what=Text("A CSRF exemption ends within 14 days", "CSRF の例外の期限が 14 日以内に来ます"),
    why=Text(
        "After that day the route refuses requests without a token",
        "期限を過ぎると、このルートはトークンのないリクエストを拒否します",
    ),
    fix=Text(
        "protect the route, or agree on a new `expires` with its owner",
        "ルートを保護するか、担当者と新しい `expires` を決めてください",
    ),
    level="warning",
)

CODES: tuple[Code, ...] = (
    UNPROTECTED_ROUTE,
    UNPROTECTED_FORM,
    UNKNOWN_ROUTE,
    UNKNOWN_FORM,
    EXEMPTION_EXPIRED,
    EXEMPTION_WITHOUT_CONTROL,
    EXEMPTION_WITHOUT_ROUTE,
    TOKEN_IN_URL,
    COOKIE_FLAGS,
    NO_PUBLIC_ORIGIN,
    WEAK_KEY,
    CACHEABLE_TOKEN_PAGE,
    NO_REFERRER_POLICY,
    GET_CHANGES_STATE,
    NOTHING_TO_PROTECT,
    EXEMPTION_ENDS_SOON,
)
