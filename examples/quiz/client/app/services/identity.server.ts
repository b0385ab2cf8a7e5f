// The identity provider: OpenID Connect, code flow with PKCE. Asked when somebody signs in and never before.

import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

import { dependencyFetch } from "@dodai/remix/observability.server";
import { data } from "react-router";

import type { Leaving, Visitor } from "./session.server";
import { settings } from "./settings.server";

interface Discovery {
  readonly authorization_endpoint: string;
  readonly token_endpoint: string;
  readonly userinfo_endpoint: string;
}

const TIMEOUT_MS = 3000;
const ask = dependencyFetch({ dependency: "identity" });

/** Where the provider wants the visitor, and what to remember until they are back. */
export async function leave(request: Request, back: string, hint: string): Promise<{ url: string; leaving: Leaving }> {
  const { authorization_endpoint: endpoint } = await discover();
  const [state, verifier] = [randomBytes(24).toString("base64url"), randomBytes(32).toString("base64url")];
  const url = new URL(endpoint);
  const challenge = createHash("sha256").update(verifier).digest("base64url");
  const query = {
    response_type: "code",
    client_id: settings().clientId,
    redirect_uri: redirectUri(request),
    scope: "openid profile",
    state,
    code_challenge: challenge,
    code_challenge_method: "S256",
    ...(hint !== "" && { login_hint: hint.slice(0, 64) }),
  };
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  return { url: url.href, leaving: { state, verifier, back } };
}

/**
 * Whom the provider vouches for. The tokens come from its token endpoint itself, and the name from its userinfo: over
 * that connection their signature need not be checked (OpenID Connect Core §3.1.3.7 item 6).
 */
export async function arrive(request: Request, leaving: Leaving | undefined): Promise<Visitor> {
  const url = new URL(request.url);
  const [state, code] = [url.searchParams.get("state") ?? "", url.searchParams.get("code") ?? ""];
  if (leaving === undefined || code === "" || !isSame(state, leaving.state)) throw data(null, 400);
  const { clientId, clientSecret } = settings();
  const { token_endpoint: tokens, userinfo_endpoint: userinfo } = await discover();
  const form = {
    grant_type: "authorization_code",
    code,
    redirect_uri: redirectUri(request),
    client_id: clientId,
    client_secret: clientSecret,
    code_verifier: leaving.verifier,
  };
  const { access_token: token } = await json<{ access_token: string }>(tokens, { method: "POST", body: new URLSearchParams(form) });
  const claims = await json<{ sub?: string; name?: string }>(userinfo, { headers: { authorization: `Bearer ${token}` } });
  const user = String(claims.sub ?? "");
  if (user === "" || user.length > 128) throw data(null, 400);
  return { user, name: String(claims.name ?? user).slice(0, 40) };
}

function discover(): Promise<Discovery> {
  return json<Discovery>(`${settings().issuer}/.well-known/openid-configuration`);
}

async function json<Body>(url: string, init: RequestInit = {}): Promise<Body> {
  let answer: Response;
  try {
    answer = await ask(url, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch {
    throw data(null, 503);
  }
  if (!answer.ok) throw data(null, answer.status < 500 ? 400 : 503);
  return (await answer.json()) as Body;
}

/** What stands in the visitor's address bar. Behind the edge nobody else can set these headers. */
function redirectUri(request: Request): string {
  const [declared] = settings().origins;
  const url = new URL(request.url);
  const scheme = request.headers.get("x-forwarded-proto") ?? url.protocol.slice(0, -1);
  return `${declared ?? `${scheme}://${request.headers.get("x-forwarded-host") ?? url.host}`}/sign-in/done`;
}

function isSame(left: string, right: string): boolean {
  const [a, b] = [Buffer.from(left), Buffer.from(right)];
  return a.length === b.length && timingSafeEqual(a, b);
}
