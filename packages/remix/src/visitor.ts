// One visitor during one request: the nonce in the cookie, the tokens made from it, and what the response must say.

import { randomBytes } from "node:crypto";

import { decodeNonce, encodeNonce, firstNonce, isAnonymous, issue, type KeyRing, newNonce } from "./token.js";

export interface VisitorRules {
  readonly ring: KeyRing;
  readonly cookie: string;
  readonly secure: boolean;
  readonly now: () => number;
  /** The cookie whose value is the subject when the application names no other; empty for none. */
  readonly sessionCookie: string;
  /** Whether tokens are the framework's own (`[csrf] mode = "framework"`), so that none is made here. */
  readonly leavesTokens: boolean;
  readonly subject: ((request: Request) => Promise<string | null> | string | null) | null;
}

const LEFT =
  'DOD183: `[csrf] mode = "framework"` leaves tokens to the framework, and one of dodai was asked for\n' +
  "fix: render the framework's own, or choose another `[csrf] mode`";

type CookieState = "absent" | "good" | "bad" | "duplicated";

export class Visitor {
  readonly cookieState: CookieState;
  private nonceBytes: Buffer | null;
  private subjectOnce: Promise<string> | null = null;
  private changed = false;
  private rendered = false;
  private applied = false;

  constructor(
    private readonly rules: VisitorRules,
    readonly request: Request,
  ) {
    [this.cookieState, this.nonceBytes] = readCookie(request.headers.get("cookie") ?? "", rules.cookie);
  }

  get nonce(): Buffer | null {
    return this.nonceBytes;
  }

  /** The stable session or user id that the application's callback names; empty for nobody. */
  subject(): Promise<string> {
    this.subjectOnce ??= this.askSubject();
    return this.subjectOnce;
  }

  async isAnonymous(): Promise<boolean> {
    return (await this.subject()) === "" && (this.nonceBytes === null || isAnonymous(this.nonceBytes));
  }

  /** A new token; sets the cookie if there is none, or an unreadable or doubled one. */
  async token(): Promise<string> {
    if (this.rules.leavesTokens) throw new Error(LEFT);
    const subject = await this.subject();
    const { ring } = this.rules;
    const nonce = this.nonceBytes ?? (subject === "" ? this.renew(false) : this.set(firstNonce(ring, subject)));
    this.rendered = true;
    return issue(ring, { nonce, subject, nowS: nowS(this.rules), random: randomBytes(16) });
  }

  /** Rotate the nonce because somebody signed in: tokens from before are worth nothing in this session. */
  login(subject: string | null): void {
    this.renew(true);
    if (subject !== null) this.subjectOnce = Promise.resolve(subject);
  }

  logout(): void {
    this.renew(false);
    this.subjectOnce = Promise.resolve("");
  }

  /** The `Set-Cookie` value that the response must carry; null when nothing changed. */
  get setCookie(): string | null {
    if (!this.changed || this.nonceBytes === null) return null;
    const secure = this.rules.secure ? "; Secure" : "";
    return `${this.rules.cookie}=${encodeNonce(this.nonceBytes)}; Path=/${secure}; HttpOnly; SameSite=Lax`;
  }

  /** `response` with the cookie and, if a token is in the page, kept out of shared caches. Once per request. */
  amend(response: Response): Response {
    const { setCookie } = this;
    if (this.applied || (!this.rendered && setCookie === null)) return response;
    this.applied = true;
    const headers = new Headers(response.headers);
    if (this.rendered) keepPrivate(headers);
    if (setCookie !== null) headers.append("set-cookie", setCookie);
    return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
  }

  private async askSubject(): Promise<string> {
    const { subject, sessionCookie } = this.rules;
    if (subject !== null) return (await subject(this.request)) ?? "";
    return sessionCookie === "" ? "" : cookieValues(this.request.headers.get("cookie") ?? "", sessionCookie).join(" ");
  }

  private renew(signedIn: boolean): Buffer {
    return this.set(newNonce(randomBytes(16), signedIn, nowS(this.rules)));
  }

  private set(nonce: Buffer): Buffer {
    this.nonceBytes = nonce;
    this.changed = true;
    return nonce;
  }
}

export function nowS(rules: { readonly now: () => number }): number {
  return Math.floor(rules.now() / 1000);
}

/** What stands in the cookie; two of that name are one too many. */
function readCookie(header: string, name: string): [CookieState, Buffer | null] {
  const values = cookieValues(header, name);
  if (values.length !== 1) return [values.length === 0 ? "absent" : "duplicated", null];
  const nonce = decodeNonce(values[0]!);
  return nonce === null ? ["bad", null] : ["good", nonce];
}

/** Every value of that name. Only spaces and tabs around a name are left away. */
function cookieValues(header: string, name: string): string[] {
  return header.split(";").flatMap((pair) => {
    const equals = pair.indexOf("=");
    return equals >= 0 && trim(pair.slice(0, equals)) === name ? [trim(pair.slice(equals + 1))] : [];
  });
}

function trim(text: string): string {
  return text.replace(/^[ \t]+|[ \t]+$/g, "");
}

function keepPrivate(headers: Headers): void {
  const split = (name: string): string[] =>
    (headers.get(name) ?? "").split(",").map((part) => part.trim()).filter(Boolean);
  const directives = split("cache-control").filter((one) => !/^(?:public|s-maxage)\b/i.test(one));
  if (!directives.some((one) => /^(?:private|no-store)$/i.test(one))) directives.unshift("private");
  headers.set("cache-control", directives.join(", "));
  const vary = split("vary");
  if (!vary.some((one) => one === "*" || one.toLowerCase() === "cookie")) headers.set("vary", [...vary, "Cookie"].join(", "));
  for (const name of [...headers.keys()])
    if (/^(?:surrogate-control|x-accel-expires|edge-control|.*cdn-cache-control)$/.test(name)) headers.delete(name);
}
