// CSRF protection for Remix 2 and React Router 7/8: the token, the decision and the refusal of spec/csrf.
//
// React Router: `export const middleware = [csrf.middleware]` in root.tsx. Remix 2: the server entry exports
// `csrf.wrapBuild(build)`. An action can also ask for itself, with `await csrf.verify(request)`.

import { AsyncLocalStorage } from "node:async_hooks";

import { findToken } from "./body.js";
import { current } from "./context.js";
import {
  configureOrigins,
  type Decision,
  carriesCredentials,
  decide,
  claimedOrigin,
  decideExemption,
  type Exempted,
  exemptionsOf,
  isTrusted,
  isUnsafe,
  judgeProvenance,
  type Mode,
  needsToken,
  type Origins,
  type Provenance,
  toldAsOver,
  type TokenState,
} from "./decision.js";
import { render, respond } from "./refusal.js";
import { type RemixBuild, wrapRemixBuild } from "./remix2.js";
import { contextOrFresh, runtime } from "./runtime.js";
import type { Exemption } from "./settings.js";
import { isContemporary, parseKeyRing, SettingError, verify as verifyToken } from "./token.js";
import { nowS, Visitor, type VisitorRules } from "./visitor.js";

export { SettingError } from "./token.js";
export type { Exemption, Mode };

/** What differs from the environment and the manifest; every part is optional. */
export interface CsrfOptions {
  /** The key ring, `kid:base64url,…`; default `DODAI_CSRF_KEYS`. */
  readonly keys?: string;
  /** The public origins of this environment; default `DODAI_PUBLIC_ORIGINS`. */
  readonly origins?: readonly string[];
  readonly trustedOrigins?: readonly string[];
  readonly mode?: Mode;
  /** The name of the form field; default `csrf_token`. */
  readonly field?: string;
  readonly header?: string;
  readonly maxAgeS?: number;
  readonly exemptions?: readonly Exemption[];
  /** Names a stable session or user id, null for nobody. Never the raw value of a session cookie. */
  readonly subject?: (request: Request) => Promise<string | null> | string | null;
  /** Without `subject`: the cookie whose value names the session, if it stays the same for all of it. */
  readonly sessionCookie?: string;
  readonly searchBytes?: number;
  readonly searchTimeoutMs?: number;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

/** The hidden field: `<input type="hidden" name={name} value={value} />`. */
export interface CsrfField {
  readonly name: string;
  readonly value: string;
}

/** A field, and the cookie the response must set when neither middleware nor `wrapBuild` does. */
export interface IssuedField extends CsrfField {
  readonly setCookie: string | null;
}

/** The arguments of a React Router middleware that are used here. */
export interface MiddlewareArgs {
  readonly request: Request;
  readonly pattern?: string;
  readonly unstable_pattern?: string;
}

export interface Csrf {
  /** The hidden field for a form in the response to this request. */
  field(request?: Request): Promise<CsrfField>;
  /** The same, for an application that sets the cookie itself. */
  issue(request: Request): Promise<IssuedField>;
  /** Resolves when the request may change state; else throws the refusal, a `Response`. */
  verify(request: Request): Promise<void>;
  /** Rotate the visitor's cookie because somebody signed in; the value to set when no wrapper does. */
  login(request: Request, subject?: string | null): string | null;
  /** Rotate it because somebody signed out. */
  logout(request: Request): string | null;
  /** Root middleware of React Router 7 (`future.v8_middleware`) and 8. */
  readonly middleware: (args: MiddlewareArgs, next: () => Promise<unknown>) => Promise<Response>;
  /** The server build of Remix 2 with every action behind the check. */
  wrapBuild<Build extends RemixBuild>(build: Build): Build;
}

interface Rules extends VisitorRules {
  readonly mode: Mode;
  readonly field: string;
  readonly header: string;
  readonly maxAgeS: number;
  readonly searchBytes: number;
  readonly searchTimeoutMs: number;
  readonly origins: Origins;
  readonly exemptions: readonly Exempted[];
}

const PROBE_PATH = "/-/dodai/probe";
const REFRESH_PATH = "/-/dodai/csrf";
const PREFLIGHT = {
  "access-control-allow-methods": "GET",
  "access-control-allow-headers": "accept, content-type, x-requested-with",
};
const VISITORS = Symbol.for("dodai.visitor");
const shared = globalThis as { [VISITORS]?: AsyncLocalStorage<Visitor> };
const visitors: AsyncLocalStorage<Visitor> = (shared[VISITORS] ??= new AsyncLocalStorage());

/**
 * The protection of one application. Throws DOD180 without a usable key ring and DOD181 for a bad origin: an application
 * that cannot check does not start.
 */
export function createCsrf(options: CsrfOptions = {}): Csrf {
  const rules = rulesOf(options);
  runtime().reserved = (request, path) => answerReserved(rules, request, path);
  const visitorOf = (request?: Request): Visitor => {
    const found = visitors.getStore();
    if (found !== undefined) return found;
    if (request === undefined) throw new Error("DOD183: a CSRF token was asked for outside a protected request");
    return new Visitor(rules, request);
  };
  const csrf: Csrf = {
    async field(request) {
      return { name: rules.field, value: await visitorOf(request).token() };
    },
    async issue(request) {
      const visitor = visitorOf(request);
      const value = await visitor.token();
      return { name: rules.field, value, setCookie: visitor.setCookie };
    },
    async verify(request) {
      const refused = await refusalOf(rules, visitorOf(request), request, null);
      if (refused !== null) throw refused;
    },
    login(request, subject = null) {
      const visitor = visitorOf(request);
      visitor.login(subject);
      return visitor.setCookie;
    },
    logout(request) {
      const visitor = visitorOf(request);
      visitor.logout();
      return visitor.setCookie;
    },
    async middleware(args, next) {
      const visitor = new Visitor(rules, args.request);
      const route = routeOf(args.pattern ?? args.unstable_pattern);
      const context = current();
      if (context !== undefined && route !== null) context.route = route;
      return visitors.run(visitor, async () => {
        const refused = await refusalOf(rules, visitor, args.request, route);
        return refused ?? visitor.amend((await next()) as Response);
      });
    },
    wrapBuild(build) {
      return wrapRemixBuild(build, {
        open: (request) => new Visitor(rules, request),
        within: (visitor, serve) => visitors.run(visitor, serve),
        refuse: (visitor, request, route) => refusalOf(rules, visitor, request, route),
        refuseForeign: (request) => refuseForeign(rules, request),
      });
    },
  };
  return csrf;
}

/** `/questions/:question` for the pattern that the router matched; null when there is none. */
function routeOf(pattern: string | undefined): string | null {
  return pattern === undefined ? null : `/${pattern.replace(/^\/+/, "")}`;
}

async function refusalOf(
  rules: Rules,
  visitor: Visitor,
  request: Request,
  route: string | null,
): Promise<Response | null> {
  if (!isUnsafe(request.method, (name) => request.headers.has(name))) return null;
  const judged = judge(rules, request);
  const exemption = exempted(rules, request, route);
  const decision = exemption?.allow
    ? exemption
    : toldAsOver(await decided(rules, visitor, request, judged), exemption);
  const reported = !decision.allow && rules.mode === "report";
  note(decision, request, reported);
  return decision.allow || reported ? null : refuse(decision, request);
}

/** Write the decision into the request's line; of a refusal also where the request says it comes from. */
function note(decision: Decision, { headers }: Request, reported: boolean): void {
  const context = current();
  if (context === undefined) return;
  if (!decision.allow) Object.assign(context.extra, claimedOrigin(headers.get("origin"), headers.get("sec-fetch-site")));
  context.extra.csrf = reported ? `report:${decision.reason}` : decision.reason;
}

/** Whether a page of another site sent the request; what is sent is then our refusal, also where the framework answers. */
function refuseForeign(rules: Rules, request: Request): boolean {
  const context = current();
  const judged = judge(rules, request);
  if (context === undefined || judged.state !== "hostile" || rules.mode === "report") return false;
  const decision = decide(rules.mode, judged, null, false);
  note(decision, request, false);
  const code = decision.code ?? "DOD150";
  context.refusal = { code, reason: decision.reason };
  const { headers } = request;
  const refusal = { status: decision.status, code, reason: decision.reason };
  context.instead = render(refusal, context.requestId, headers.get("accept") ?? "", headers.get("accept-language") ?? "");
  return true;
}

function refuse(decision: Decision, request: Request): Response {
  const context = contextOrFresh();
  const code = decision.code ?? "DOD150";
  context.refusal = { code, reason: decision.reason };
  return respond({ status: decision.status, code, reason: decision.reason }, context.requestId, request);
}

function exempted(rules: Rules, request: Request, route: string | null): Decision | null {
  if (route === null) return null;
  const today = new Date(rules.now()).toISOString().slice(0, 10);
  return decideExemption(rules.exemptions, `${request.method} ${route}`, (name) => request.headers.get(name), today);
}

async function decided(rules: Rules, visitor: Visitor, request: Request, judged: Provenance): Promise<Decision> {
  if (!needsToken(rules.mode, judged)) {
    const credentials = carriesCredentials((name) => request.headers.get(name));
    return decide(rules.mode, judged, null, false, credentials);
  }
  const { state, grace } = await tokenState(rules, visitor, request);
  return decide(rules.mode, judged, state, grace);
}

function judge(rules: Rules, request: Request): Provenance {
  const sent = (name: string): string[] => {
    const value = request.headers.get(name);
    return value === null ? [] : [value];
  };
  const url = new URL(request.url);
  const host = rules.origins.public.size > 0 ? "" : (request.headers.get("host") ?? url.host);
  // Whoever says `https` only makes the comparison stricter, so nobody has to be trusted for it.
  const isSecure = url.protocol === "https:" || (request.headers.get("x-forwarded-proto") ?? "").includes("https");
  const [fetchSite, origin, referer] = [sent("sec-fetch-site"), sent("origin"), sent("referer")];
  return judgeProvenance(
    { fetchSite, origin, referer, host: isSecure && host !== "" ? `https://${host}` : host },
    rules.origins,
  );
}

/** A token's worth, and whether one of another first tab is forgiven. */
interface Found {
  readonly state: TokenState;
  readonly grace: boolean;
}

/** The state of the token: in the header first, else in the form. */
async function tokenState(rules: Rules, visitor: Visitor, request: Request): Promise<Found> {
  const refused = (state: TokenState): Found => ({ state, grace: false });
  if (visitor.cookieState === "duplicated") return refused("cookie_duplicated");
  let token = request.headers.get(rules.header);
  if (token === null) {
    const found = await findToken(request, rules.field, {
      searchBytes: rules.searchBytes,
      timeoutMs: rules.searchTimeoutMs,
    });
    if ("state" in found) return refused(found.state);
    token = found.value;
  }
  let subject: string;
  try {
    subject = await visitor.subject();
  } catch {
    return refused("unreadable"); // the application's callback fails on what the client sent: not a 500
  }
  const { nonce } = visitor;
  const worth = (of: string): TokenState =>
    verifyToken(rules.ring, token, { nonce, subject: of, nowS: nowS(rules), maxAgeS: rules.maxAgeS });
  const state = worth(subject);
  if (state !== "foreign_anonymous" || nonce === null || !isContemporary(token, nonce)) return refused(state);
  // The other tab of a first visit; or this one's page, and the session cookie came with it.
  const ownPage = rules.sessionCookie !== "" && worth("") === "valid";
  return { state, grace: ownPage || (await visitor.isAnonymous()) };
}

/** The probe and the refresh of a token; nothing of the application is asked. */
async function answerReserved(rules: Rules, request: Request, path: string): Promise<Response | null> {
  const visitor = new Visitor(rules, request);
  const headers = { "cache-control": "no-store", "x-content-type-options": "nosniff" };
  if (path === PROBE_PATH && request.method === "POST")
    return (await refusalOf(rules, visitor, request, null)) ?? new Response(null, { status: 204, headers });
  if (path !== REFRESH_PATH || rules.leavesTokens || !["GET", "HEAD", "OPTIONS"].includes(request.method)) return null;
  const refused = await refusedRefresh(rules, visitor, request);
  if (refused !== null) {
    note(refused, request, false);
    return refuse(refused, request);
  }
  const asking = trustedPage(rules, request);
  const shared = {
    vary: "Origin",
    ...(asking !== null && { "access-control-allow-origin": asking, "access-control-allow-credentials": "true" }),
  };
  if (request.method === "OPTIONS") {
    const answer = asking === null ? { allow: "GET, HEAD, OPTIONS" } : PREFLIGHT;
    return new Response(null, { status: 204, headers: { ...shared, ...answer } });
  }
  const token = JSON.stringify({ token: await visitor.token(), field: rules.field, header: rules.header });
  const own = {
    "content-type": "application/json",
    "cross-origin-resource-policy": asking === null ? "same-origin" : "cross-origin",
  };
  return visitor.amend(new Response(token, { headers: { ...headers, ...own, ...shared } }));
}

/** The refusal of a request for a token by a page of another origin, unless it is a trusted one, told by its `Origin`. */
async function refusedRefresh(rules: Rules, visitor: Visitor, request: Request): Promise<Decision | null> {
  const { state, reason } = judge(rules, request);
  if (state === "hostile" || (state === "trusted" && trustedPage(rules, request) === null))
    return { allow: false, reason, code: "DOD150", status: 403 };
  try {
    await visitor.subject();
    return null;
  } catch {
    return { allow: false, reason: "subject_unreadable", code: "DOD156", status: 400 };
  }
}

/** The origin whose page may post here and sent this from elsewhere: the answer has to name it (CORS). */
function trustedPage(rules: Rules, { headers }: Request): string | null {
  const origin = headers.get("origin");
  const fromElsewhere = headers.get("sec-fetch-site") !== "same-origin";
  return origin !== null && fromElsewhere && isTrusted(origin, rules.origins) ? origin : null;
}

function rulesOf(options: CsrfOptions): Rules {
  const { settings } = runtime();
  const section = settings.sections.csrf ?? {};
  const origins = configureOrigins(
    options.origins ?? settings.origins,
    options.trustedOrigins ?? section.trusted_origins ?? [],
  );
  const mode = options.mode ?? section.mode ?? "both";
  if ((mode === "header" || mode === "either") && origins.public.size === 0)
    throw new SettingError(
      "DOD184",
      `\`[csrf] mode = "${mode}"\` without a public origin`,
      "set `DODAI_PUBLIC_ORIGINS` or the option `origins`",
    );
  if (mode === "report")
    process.stderr.write(
      'dodai: `[csrf] mode = "report"`: forged requests to this process reach the application, and their lines say so\n',
    );
  const secure = !isPlainLoopback(origins.public);
  return {
    ring: parseKeyRing(options.keys ?? settings.csrfKeys),
    origins,
    secure,
    cookie: secure ? "__Host-dodai-csrf" : "dodai-csrf",
    mode,
    leavesTokens: mode === "framework",
    field: options.field ?? section.field ?? "csrf_token",
    header: (options.header ?? section.header ?? "x-csrf-token").toLowerCase(),
    maxAgeS: options.maxAgeS ?? section.max_age ?? 86_400,
    searchBytes: options.searchBytes ?? section.search ?? 64 * 1024,
    searchTimeoutMs: options.searchTimeoutMs ?? (section.search_timeout ?? 20) * 1000,
    exemptions: exemptionsOf(options.exemptions ?? section.exemption ?? [], settings.service),
    subject: options.subject ?? null,
    sessionCookie: options.sessionCookie ?? section.session_cookie ?? "",
    now: options.now ?? Date.now,
  };
}

/** True when every public origin is plain http on this machine, where browsers would not keep a `Secure` cookie. */
function isPlainLoopback(origins: ReadonlySet<string>): boolean {
  const loopback = /^http:\/\/(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]|[a-z0-9.-]+\.localhost)(?::|$)/;
  return origins.size > 0 && [...origins].every((origin) => loopback.test(origin));
}
