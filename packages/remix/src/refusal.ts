// Refusals as responses: JSON or HTML by Accept, in English or Japanese, always with the request id.

import { CODES } from "./codes.js";

/** An answer of dodai in place of the application's. `reason` is one word for the line. */
export interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly reason: string;
}

export interface Rendered {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

type Lang = "en" | "ja";

const TITLES: Readonly<Record<number, Readonly<Record<Lang, string>>>> = {
  403: { en: "Refused", ja: "拒否されました" },
  404: { en: "Not found", ja: "見つかりません" },
  413: { en: "Too large", ja: "サイズが大きすぎます" },
  500: { en: "Something went wrong", ja: "エラーが発生しました" },
};

/** The response for `refusal`. Never cached, never sniffed, never framed. */
export function render(refusal: Refusal, requestId: string, accept = "", acceptLanguage = ""): Rendered {
  const lang = preferredLang(acceptLanguage);
  const html = prefersHtml(accept);
  return {
    status: refusal.status,
    headers: {
      "content-type": html ? "text/html; charset=utf-8" : "application/json",
      "content-language": lang,
      "cache-control": "no-store",
      vary: "accept, accept-language",
      "x-content-type-options": "nosniff",
      "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
      "x-request-id": requestId,
    },
    body: html ? htmlOf(refusal, requestId, lang) : jsonOf(refusal, requestId, lang),
  };
}

/** `render` as a `Response` for `request`. */
export function respond(refusal: Refusal, requestId: string, request: Request): Response {
  const { headers } = request;
  const rendered = render(refusal, requestId, headers.get("accept") ?? "", headers.get("accept-language") ?? "");
  return new Response(rendered.body, { status: rendered.status, headers: rendered.headers });
}

/** True when `Accept` names HTML with at least the weight of JSON (RFC 9110 §12.5.1). */
export function prefersHtml(accept: string): boolean {
  let html = 0;
  let json = 0;
  for (const [media, weight] of weighted(accept)) {
    if (media === "text/html" || media === "application/xhtml+xml") html = Math.max(html, weight);
    else if (media === "application/json" || media.endsWith("+json")) json = Math.max(json, weight);
  }
  return html > 0 && html >= json;
}

function preferredLang(header: string): Lang {
  const best = new Map<string, number>();
  for (const [tag, weight] of weighted(header)) {
    const lang = tag.split("-", 1)[0]!;
    best.set(lang, Math.max(best.get(lang) ?? 0, weight));
  }
  const japanese = best.get("ja") ?? 0;
  const english = best.get("en") ?? 0;
  if (japanese > 0 && japanese === english) {
    const first = header.toLowerCase();
    return first.indexOf("ja") < first.indexOf("en") ? "ja" : "en";
  }
  return japanese > english ? "ja" : "en";
}

function weighted(header: string): [string, number][] {
  return header
    .slice(0, 1024)
    .toLowerCase()
    .split(",")
    .map((part) => {
      const [name, ...parameters] = part.split(";");
      const quality = parameters.map((one) => one.split("=", 2)).find(([key]) => key!.trim() === "q");
      const weight = quality === undefined ? 1 : Number(quality[1]);
      return [name!.trim(), Number.isFinite(weight) ? Math.min(1, Math.max(0, weight)) : 0];
    });
}

function jsonOf(refusal: Refusal, requestId: string, lang: Lang): string {
  const { name, message, fix } = CODES[refusal.code]!;
  const error = { code: refusal.code, name, message: message[lang], fix: fix[lang] };
  return JSON.stringify({ error, requestId });
}

function htmlOf(refusal: Refusal, requestId: string, lang: Lang): string {
  const { message, fix } = CODES[refusal.code]!;
  const title = escape((TITLES[refusal.status] ?? TITLES[refusal.status >= 500 ? 500 : 403]!)[lang]);
  const label = lang === "ja" ? "リクエスト ID" : "Request id";
  return `<!doctype html>
<html lang="${lang}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>${title}</title><style>
:root{color-scheme:light dark}
body{font:1rem/1.6 system-ui,sans-serif;margin:0 auto;max-width:38rem;padding:12vh 1.5rem}
h1{font-size:1.5rem;margin:0 0 .5rem}
code{font-family:ui-monospace,monospace;overflow-wrap:anywhere}
dl{margin-top:2rem;font-size:.875rem}
dd{margin:0}
</style></head><body><main>
<h1>${title}</h1>
<p>${escape(message[lang])}</p>
<p>${escape(fix[lang])}</p>
<dl><dt>${label}</dt><dd><code>${escape(requestId)}</code> · <code>${escape(refusal.code)}</code></dd></dl>
</main></body></html>
`;
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}
