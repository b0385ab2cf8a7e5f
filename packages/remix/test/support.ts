// Requests as browsers send them, and a process's settings for tests.

import { createHash } from "node:crypto";

import type { Csrf, CsrfField } from "../src/csrf.server.js";
import type { Writer } from "../src/line.js";
import { configure, type Runtime } from "../src/runtime.js";
import { readSettings, type Sections } from "../src/settings.js";

export const ORIGIN = "https://app.example.com";
export const KEYS = `k001:${createHash("sha256").update("one").digest("base64url")}`;
export const NEXT_KEYS = `k002:${createHash("sha256").update("two").digest("base64url")},${KEYS}`;

/** What was written, parsed. */
export class Lines implements Writer {
  dropped = 0;
  readonly lines: string[] = [];

  write(line: string): void {
    this.lines.push(line);
  }

  get parsed(): Record<string, unknown>[] {
    return this.lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  }
}

export function start(environ: Record<string, string> = {}, sections: Sections = {}): Runtime & { writer: Lines } {
  const settings = readSettings({
    DODAI_SERVICE: "web",
    DODAI_CSRF_KEYS: KEYS,
    DODAI_IDENTITY_KEYS: KEYS,
    DODAI_PUBLIC_ORIGINS: ORIGIN,
    DODAI_SETTINGS: JSON.stringify(sections),
    ...environ,
  });
  return configure(settings, new Lines()) as Runtime & { writer: Lines };
}

/** A page as a browser has it: the field of its form, and the cookie. */
export interface Page {
  readonly field: CsrfField;
  readonly cookie: string;
}

/** A GET through the middleware whose loader renders a field. */
export async function open(csrf: Csrf, cookie = ""): Promise<Page> {
  const request = new Request("http://10.0.0.5:3000/", { headers: cookie === "" ? {} : { cookie } });
  let field: CsrfField | undefined;
  const response = await csrf.middleware({ request, pattern: "/" }, async () => {
    field = await csrf.field();
    return new Response("page");
  });
  const [set] = response.headers.getSetCookie();
  return { field: field!, cookie: set === undefined ? cookie : set.split(";", 1)[0]! };
}

export interface Post {
  readonly fields?: Record<string, string>;
  readonly cookie?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | FormData | URLSearchParams;
  readonly url?: string;
}

/** A POST of a form on a page of ours; plain http behind a TLS proxy, as on Fly.io. */
export function post({ fields = {}, cookie = "", headers = {}, body, url }: Post = {}): Request {
  return new Request(url ?? "http://10.0.0.5:3000/save", {
    method: "POST",
    body: body ?? new URLSearchParams(fields),
    headers: { origin: ORIGIN, "sec-fetch-site": "same-origin", ...(cookie !== "" && { cookie }), ...headers },
  });
}
