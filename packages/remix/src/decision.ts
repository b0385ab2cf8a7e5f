// Whether a request may pass: a pure function of its headers, the configured origins and the state of its token.
// The vectors are spec/csrf/decision.json.

import { isIPv6 } from "node:net";

import { SettingError, type Verdict } from "./token.js";

export type Mode = "both" | "either" | "header" | "framework" | "report";

export type TokenState =
  | Verdict
  | "missing"
  | "duplicated"
  | "too_late"
  | "too_slow"
  | "unreadable"
  | "disconnected"
  | "cookie_duplicated";

export interface Origins {
  readonly public: ReadonlySet<string>;
  readonly trusted: ReadonlySet<string>;
  /** The ends of trusted https origins: `.example.com` for every subdomain. */
  readonly below: readonly string[];
}

/** What the browser says about where a request comes from; `browserSaysSo`: it sent `Sec-Fetch-Site: same-origin`. */
export interface Provenance {
  readonly state: "same" | "trusted" | "unknown" | "hostile";
  readonly reason: string;
  readonly browserSaysSo: boolean;
}

/** The answer. `reason` is one word for the line; `code` and `status` are set on a refusal. */
export interface Decision {
  readonly allow: boolean;
  readonly reason: string;
  readonly code: string | null;
  readonly status: number;
}

/** The values of the three headers that say where a request comes from; each may arrive more than once. */
export interface Sent {
  readonly fetchSite: readonly string[];
  readonly origin: readonly string[];
  readonly referer: readonly string[];
  readonly host: string;
}

const SAFE_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE"]);
const DAY = /^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])$/;
const FETCH_SITES: ReadonlySet<string> = new Set(["same-origin", "same-site", "cross-site", "none"]);
const OVERRIDES = ["x-http-method-override", "x-http-method", "x-method-override"];
const ORIGIN = /^(https?):\/\/(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([1-9][0-9]{0,4}))?$/;
const HOST = /^(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([1-9][0-9]{0,4}))?$/;
const WILDCARD = /^https:\/\/\*\.([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)(?::([1-9][0-9]{0,4}))?$/;
const LABELS = /^https:\/\/[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/;
const SHELL = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/[A-Za-z0-9._-]{1,253}$/;
/** Schemes of the web itself, and those whose pages have the origin `null`. */
const NOT_SHELLS: ReadonlySet<string> = new Set(
  "http https ws wss ftp file filesystem data blob about javascript".split(" "),
);
const DEFAULT_PORTS: Readonly<Record<string, string>> = { http: "80", https: "443" };
/** Another origin, none that is said where one is needed, no token. */
const WITHOUT_TOKEN: ReadonlySet<string> = new Set(["DOD150", "DOD151", "DOD164"]);
const REFUSALS: Readonly<Record<Exclude<TokenState, "valid">, readonly [string, number]>> = {
  missing: ["DOD151", 403],
  malformed: ["DOD152", 403],
  unknown_key: ["DOD152", 403],
  tampered: ["DOD152", 403],
  future: ["DOD152", 403],
  expired: ["DOD153", 403],
  foreign: ["DOD154", 403],
  foreign_anonymous: ["DOD154", 403],
  duplicated: ["DOD158", 403],
  cookie_duplicated: ["DOD158", 403],
  too_late: ["DOD155", 403],
  too_slow: ["DOD157", 408],
  unreadable: ["DOD156", 400],
  disconnected: ["DOD156", 400],
};

/** The origins of an environment, normalised; throws DOD181 for one that no browser could send. */
export function configureOrigins(publicOrigins: Iterable<string>, trusted: Iterable<string> = []): Origins {
  const own = new Set([...publicOrigins].map(configured));
  const hosts = new Set([...own].filter((one) => one.startsWith("https:")).map((one) => new URL(one).hostname));
  const [named, below]: [Set<string>, string[]] = [new Set(), []];
  for (const text of trusted) {
    const wide = WILDCARD.exec(text);
    if (wide === null) named.add(trustedOrigin(text));
    // Whoever serves the host itself owns what is below it; that is never so for a public suffix.
    else if (hosts.has(wide[1]!.toLowerCase()))
      below.push(`.${wide[1]!.toLowerCase()}${wide[2] !== undefined && wide[2] !== "443" ? `:${wide[2]}` : ""}`);
  }
  return { public: own, trusted: named, below };
}

/**
 * True when pages of `origin`, as a browser sends it, may post here from elsewhere. Those of a public origin may where
 * there is another one, at which they are elsewhere.
 */
export function isTrusted(origin: string, origins: Origins): boolean {
  if (origins.trusted.has(origin)) return true;
  const parsed = parseOrigin(origin);
  if (parsed === null) return false;
  if (origins.trusted.has(parsed) || (origins.public.has(parsed) && origins.public.size > 1)) return true;
  return origins.below.some((end) => parsed.endsWith(end) && LABELS.test(parsed.slice(0, -end.length)));
}

/** True unless `method` is one of the four safe ones and no header asks for another. */
export function isUnsafe(method: string, has: (header: string) => boolean): boolean {
  return !SAFE_METHODS.has(method) || hasOverride(has);
}

/** Whether a header asks for another method: a route chosen by the method it was sent with is then not the one served. */
export function hasOverride(has: (header: string) => boolean): boolean {
  return OVERRIDES.some(has);
}

/** `scheme://host[:port]` in lower case without a default port, or null if `text` is not exactly an origin. */
export function parseOrigin(text: string): string | null {
  const match = ORIGIN.exec(text);
  if (match === null) return null;
  const [, scheme, host, port] = match as unknown as [string, string, string, string | undefined];
  const canonical = canonicalHost(host);
  if (canonical === null || (port !== undefined && Number(port) > 65535)) return null;
  return `${scheme}://${canonical}${port !== undefined && port !== DEFAULT_PORTS[scheme] ? `:${port}` : ""}`;
}

/**
 * `Sec-Fetch-Site` is believed first because no page can forge it, then `Origin`, then `Referer`. Without a configured
 * public origin the request's own Host header is compared instead: without the scheme, or with `https://` in front where
 * that is how it is served.
 */
export function judgeProvenance(sent: Sent, origins: Origins): Provenance {
  if (sent.fetchSite.length > 1 || sent.origin.length > 1 || sent.referer.length > 1)
    return provenance("hostile", "header_duplicated");
  const origin = sent.origin[0];
  if (sent.fetchSite[0] !== undefined) return judgeFetchSite(sent.fetchSite[0], origin, sent.host, origins);
  if (origin !== undefined) return judgeOrigin(origin, "origin", sent.host, origins);
  if (sent.referer[0]) return judgeOrigin(originOfUrl(sent.referer[0]), "referer", sent.host, origins);
  return provenance("unknown", "no_provenance");
}

/** True when the decision depends on the token, so that the body may have to be searched for it. */
export function needsToken(mode: Mode, judged: Provenance): boolean {
  if (judged.state === "hostile" || mode === "header" || mode === "framework") return false;
  return mode !== "either" || judged.state === "unknown";
}

/** One exemption of one route, with the manifest's own word for when it is for. */
export interface Exempted {
  readonly route: string;
  readonly when: "always" | "bearer";
  readonly expires: string;
}

/** An exemption for each route that is named, of those that hold in `service`; those that always hold come first. */
export function exemptionsOf(
  rows: readonly {
    route?: string;
    routes?: readonly string[];
    when?: "always" | "bearer";
    expires?: string;
    service?: string;
  }[],
  service: string,
): readonly Exempted[] {
  const own = rows.filter((row) => !row.service || row.service === service);
  const found = own.flatMap(({ route = "", routes = [], when = "always", expires = "" }) =>
    [route, ...routes].filter(Boolean).map((one) => ({ route: one, when, expires })),
  );
  return [...found.filter((one) => one.when === "always"), ...found.filter((one) => one.when !== "always")];
}

/**
 * What the exemption of `route` (`POST /webhooks/review`) comes to for a request with these headers; null when none is
 * for it, and then the request is judged like any other. `today` is an ISO day.
 */
export function decideExemption(
  exemptions: readonly Exempted[],
  route: string,
  header: (name: string) => string | null,
  today: string,
): Decision | null {
  const found = exemptions.find((one) => covers(one, route));
  if (found === undefined || hasOverride((name) => header(name) !== null)) return null;
  if (found.when !== "always" && !isBearerOnly(header)) return null;
  return decideExempt(found.expires === "" || (DAY.test(found.expires) && today <= found.expires));
}

function covers(exemption: Exempted, route: string): boolean {
  if (exemption.when === "always" || !exemption.route.endsWith("*")) return exemption.route === route;
  const [method, path] = parted(exemption.route.slice(0, -1));
  const [asked, where] = parted(route);
  return (method === "*" || method === asked) && where.startsWith(path);
}

function parted(route: string): [string, string] {
  const space = route.indexOf(" ");
  return space < 0 ? [route, ""] : [route.slice(0, space), route.slice(space + 1)];
}

/** Nothing that a browser sends by itself came along: no cookie, and one token instead of a password. */
function isBearerOnly(header: (name: string) => string | null): boolean {
  return header("cookie") === null && isBearer(header("authorization") ?? "");
}

function isBearer(authorization: string): boolean {
  return /^bearer +[^\s,]+$/i.test(authorization.trim()); // two headers arrive joined by a comma
}

/** True for what a browser adds to a request by itself: a cookie, or a password (Basic, Digest, Negotiate). */
export function carriesCredentials(header: (name: string) => string | null): boolean {
  const given = header("authorization");
  return header("cookie") !== null || (given !== null && !isBearer(given));
}

/** Where a refused request says it comes from, as far as a browser could have sent it: the rest is a client's own text. */
export function claimedOrigin(origin: string | null, fetchSite: string | null): { origin?: string; fetchSite?: string } {
  return {
    ...(origin !== null && { origin: (origin === "null" ? origin : (parseOrigin(origin) ?? "invalid")).slice(0, 128) }),
    ...(fetchSite !== null && { fetchSite: FETCH_SITES.has(fetchSite) ? fetchSite : "invalid" }),
  };
}

/** Whether an unsafe request may pass; `state` null: no token was looked for because `needsToken` was false. */
export function decide(
  mode: Mode,
  judged: Provenance,
  state: TokenState | null,
  anonymous: boolean,
  credentials = true,
): Decision {
  if (judged.state === "hostile") return refuse(judged.reason, "DOD150", 403);
  if (!needsToken(mode, judged)) {
    if (mode === "header" && judged.state === "unknown" && credentials) return refuse(judged.reason, "DOD164", 403);
    return allow(judged.reason);
  }
  if (state === "valid") return allow("token");
  if (state === "foreign_anonymous" && anonymous && judged.browserSaysSo) return allow("grace");
  const found = state ?? "missing";
  const [code, status] = REFUSALS[found];
  return refuse(found.startsWith("cookie") ? found : `token_${found}`, code, status);
}

/**
 * The decision for a route with an exemption: it passes unchecked until the exemption's last day is over. From then on a
 * request is judged like any other, and `toldAsOver` what becomes of it.
 */
export function decideExempt(holds: boolean): Decision {
  return holds ? allow("exempt") : refuse("exemption_over", "DOD159", 403);
}

/** `judged`; where the exemption of its route is `over` and it brought no token, that is what it is told. */
export function toldAsOver(judged: Decision, over: Decision | null): Decision {
  return over !== null && judged.code !== null && WITHOUT_TOKEN.has(judged.code) ? over : judged;
}

/** Whether a handshake may pass: browsers always send Origin with it, so only a hostile one is refused. */
export function decideWebsocket(judged: Provenance): Decision {
  return judged.state === "hostile" ? refuse(judged.reason, "DOD150", 403) : allow(judged.reason);
}

export function allow(reason: string): Decision {
  return { allow: true, reason, code: null, status: 0 };
}

function refuse(reason: string, code: string, status: number): Decision {
  return { allow: false, reason, code, status };
}

function provenance(state: Provenance["state"], reason: string, browserSaysSo = false): Provenance {
  return { state, reason, browserSaysSo };
}

function judgeFetchSite(value: string, origin: string | undefined, host: string, origins: Origins): Provenance {
  if (value === "same-origin" || value === "none") {
    if (origins.public.size > 0 && origin !== undefined && origin !== "null" && !origins.public.has(origin)) {
      const judged = judgeOrigin(origin, "origin", host, origins);
      if (judged.state === "hostile") return judged;
    }
    return value === "same-origin" ? provenance("same", "same_origin", true) : provenance("same", "user_initiated");
  }
  if (value === "same-site" || value === "cross-site") {
    if (origin !== undefined && isTrusted(origin, origins)) return provenance("trusted", "trusted_origin");
    return provenance("hostile", value.replace("-", "_"));
  }
  return provenance("hostile", "fetch_site_invalid");
}

function judgeOrigin(sent: string | null, header: string, host: string, origins: Origins): Provenance {
  if (sent === "null") return provenance("hostile", "origin_null");
  const parsed = sent === null ? null : parseOrigin(sent);
  if (parsed !== null && origins.public.has(parsed)) return provenance("same", `${header}_matches`);
  if (sent !== null && isTrusted(sent, origins)) return provenance("trusted", "trusted_origin");
  if (parsed === null) return provenance("hostile", `${header}_invalid`);
  if (origins.public.size === 0 && isSameHost(parsed, host)) return provenance("same", "host_matches");
  return provenance("hostile", `${header}_mismatch`);
}

function originOfUrl(url: string): string | null {
  if (!/^[\x20-\x7e]*$/.test(url)) return null;
  const match = /^ *([A-Za-z][A-Za-z0-9+.-]*):\/\/([^/?#]*)/.exec(url);
  return match === null ? null : `${match[1]!.toLowerCase()}://${match[2]!}`;
}

function isSameHost(origin: string, host: string): boolean {
  const scheme = origin.slice(0, origin.indexOf(":"));
  const bare = host.replace(/^https:\/\//, "");
  const match = HOST.exec(bare);
  if (match === null || (bare !== host && scheme !== "https")) return false;
  return parseOrigin(`${scheme}://${match[1]!}${match[2] !== undefined ? `:${match[2]}` : ""}`) === origin;
}

function canonicalHost(host: string): string | null {
  if (!host.startsWith("[")) return host.toLowerCase();
  return isIPv6(host.slice(1, -1)) ? new URL(`http://${host}`).hostname : null;
}

function trustedOrigin(text: string): string {
  const shell = SHELL.exec(text);
  return shell !== null && !NOT_SHELLS.has(shell[1]!.toLowerCase()) ? text.toLowerCase() : configured(text);
}

function configured(text: string): string {
  const origin = parseOrigin(text);
  if (origin !== null) return origin;
  throw new SettingError(
    "DOD181",
    `\`${text}\` is not an origin`,
    "write scheme, host and, if it is not the default, the port: `https://app.example.com`",
  );
}
