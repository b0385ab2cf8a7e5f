// What a client is told when a request is refused: spec/refusals.json, as a module.

export interface Told {
  readonly name: string;
  readonly message: { readonly en: string; readonly ja: string };
  readonly fix: { readonly en: string; readonly ja: string };
}

export const CODES: Readonly<Record<string, Told>> = {
  DOD556: {
    name: "edge-key-missing",
    message: {
      en: "The request did not come through the edge",
      ja: "エッジを経由していないリクエストです",
    },
    fix: {
      en: "Use the public address of the site",
      ja: "サイトの公開アドレスからアクセスしてください",
    },
  },
  DOD061: {
    name: "unhandled-error",
    message: {
      en: "The application failed while serving this request",
      ja: "リクエストの処理中にアプリケーションでエラーが発生しました",
    },
    fix: {
      en: "Try again; if it keeps failing, tell the operator the request id",
      ja: "もう一度お試しください。続く場合は、リクエスト ID を添えて管理者にお知らせください",
    },
  },
  DOD062: {
    name: "reserved-path",
    message: {
      en: "There is nothing at this reserved path",
      ja: "この予約済みパスには何もありません",
    },
    fix: {
      en: "Check the address",
      ja: "アドレスを確認してください",
    },
  },
  DOD063: {
    name: "body-too-large",
    message: {
      en: "The request body is larger than this address accepts",
      ja: "リクエスト本文がこのアドレスの上限を超えています",
    },
    fix: {
      en: "Send less data",
      ja: "送信するデータを小さくしてください",
    },
  },
  DOD064: {
    name: "dependency-unavailable",
    message: {
      en: "A service this page depends on is not available",
      ja: "このページが依存するサービスに接続できません",
    },
    fix: {
      en: "Try again in a few seconds",
      ja: "数秒おいてからもう一度お試しください",
    },
  },
  DOD065: {
    name: "dependency-timeout",
    message: {
      en: "A service this page depends on did not answer in time",
      ja: "このページが依存するサービスが時間内に応答しませんでした",
    },
    fix: {
      en: "Try again in a few seconds",
      ja: "数秒おいてからもう一度お試しください",
    },
  },
  DOD150: {
    name: "csrf-foreign-origin",
    message: {
      en: "The request was sent by a page of another site",
      ja: "別のサイトのページから送られたリクエストです",
    },
    fix: {
      en: "Open the site at its own address and send the form from there",
      ja: "サイトを本来のアドレスで開き、そこからフォームを送信してください",
    },
  },
  DOD151: {
    name: "csrf-token-missing",
    message: {
      en: "The form was sent without its security token",
      ja: "セキュリティトークンのないフォームが送信されました",
    },
    fix: {
      en: "Go back, reload the page and send the form again",
      ja: "前のページに戻って再読み込みし、もう一度送信してください",
    },
  },
  DOD152: {
    name: "csrf-token-invalid",
    message: {
      en: "The security token of the form is not valid",
      ja: "フォームのセキュリティトークンが正しくありません",
    },
    fix: {
      en: "Go back with your browser's Back button: what you typed is still there. Then send it again",
      ja: "ブラウザの「戻る」で前のページに戻ってください。入力した内容は残っています。もう一度送信してください",
    },
  },
  DOD153: {
    name: "csrf-token-expired",
    message: {
      en: "The page was open for too long",
      ja: "ページを開いてから時間が経ちすぎました",
    },
    fix: {
      en: "Go back with your browser's Back button: what you typed is still there. Then send it again",
      ja: "ブラウザの「戻る」で前のページに戻ってください。入力した内容は残っています。もう一度送信してください",
    },
  },
  DOD154: {
    name: "csrf-token-of-another-session",
    message: {
      en: "The page belongs to another session",
      ja: "このページは別のセッションのものです",
    },
    fix: {
      en: "Go back with your browser's Back button: what you typed is still there. Then send it again",
      ja: "ブラウザの「戻る」で前のページに戻ってください。入力した内容は残っています。もう一度送信してください",
    },
  },
  DOD155: {
    name: "csrf-token-after-file",
    message: {
      en: "The security token stands too late in the form",
      ja: "フォームの中でセキュリティトークンの位置が後ろすぎます",
    },
    fix: {
      en: "Put the token field in front of the file field, or send it in the X-CSRF-Token header",
      ja: "トークンのフィールドをファイルのフィールドより前に置くか、X-CSRF-Token ヘッダーで送ってください",
    },
  },
  DOD156: {
    name: "csrf-request-unreadable",
    message: {
      en: "The request could not be read",
      ja: "リクエストを読み取れませんでした",
    },
    fix: {
      en: "Send the form again from the page",
      ja: "ページからフォームをもう一度送信してください",
    },
  },
  DOD157: {
    name: "csrf-body-too-slow",
    message: {
      en: "The form did not arrive in time",
      ja: "フォームが時間内に届きませんでした",
    },
    fix: {
      en: "Check your connection and send the form again; the operator can raise `[csrf] search_timeout`",
      ja: "接続を確認して、もう一度送信してください。管理者は `[csrf] search_timeout` を延ばせます",
    },
  },
  DOD158: {
    name: "csrf-token-duplicated",
    message: {
      en: "The security token was sent more than once",
      ja: "セキュリティトークンが複数送信されました",
    },
    fix: {
      en: "Clear the cookies of this site, reload the page and send the form again",
      ja: "このサイトの Cookie を削除し、ページを再読み込みしてもう一度送信してください",
    },
  },
  DOD159: {
    name: "csrf-exemption-over",
    message: {
      en: "The CSRF exemption of this route has ended",
      ja: "このルートの CSRF の例外は終了しています",
    },
    fix: {
      en: "Send a token, or have the operator agree on a new `expires`",
      ja: "トークンを送るか、管理者に新しい `expires` を決めてもらってください",
    },
  },
  DOD164: {
    name: "csrf-origin-not-said",
    message: {
      en: "A request brought a cookie or a password and did not say where it comes from",
      ja: "Cookie またはパスワードを伴うリクエストが、送信元を示していません",
    },
    fix: {
      en: "send `Origin` with the public origin from a program that uses cookies, let a proxy pass the three headers on, or use the mode `both`",
      ja: "Cookie を使うプログラムからは公開オリジンを `Origin` で送る、プロキシで 3 つのヘッダーを落とさない、またはモードを `both` にしてください",
    },
  },
};
