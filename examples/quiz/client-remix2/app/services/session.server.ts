// Who is signed in, in a signed cookie. `SESSION_SECRET` may hold several values, `new,old`: the first one signs.

import { createCookieSessionStorage, redirect, type Session } from "@remix-run/node";
import { setUser } from "@dodai/remix/observability.server";

import { settings } from "./settings.server";

export interface Visitor {
  readonly user: string;
  readonly name: string;
}

export interface Leaving {
  readonly state: string;
  readonly verifier: string;
  readonly back: string;
}

interface SessionData {
  user: Visitor;
  leaving: Leaving;
}

const storage = createCookieSessionStorage<SessionData>({
  cookie: {
    name: "session",
    path: "/",
    httpOnly: true,
    sameSite: "lax",
    maxAge: 24 * 3600,
    secure: settings().origins.some((origin) => origin.startsWith("https:")),
    secrets: [...settings().sessionKeys],
  },
});

export function sessionOf(request: Request): Promise<Session<SessionData>> {
  return storage.getSession(request.headers.get("cookie"));
}

/** Who is asking; null for nobody. From here on every line and every call to the backend says so. */
export async function visitorOf(request: Request): Promise<Visitor | null> {
  const visitor = (await sessionOf(request)).get("user") ?? null;
  setUser(visitor?.user ?? null);
  return visitor;
}

/** Who is asking; throws 401 for nobody. */
export async function signedIn(request: Request): Promise<Visitor> {
  const visitor = await visitorOf(request);
  if (visitor === null) throw new Response("Sign in first", { status: 401 });
  return visitor;
}

export const save = storage.commitSession;
export const end = storage.destroySession;

/** A path on this site, whatever the form says. */
export function ownPath(path: string): string {
  return /^\/(?![/\\])[\x21-\x7e]*$/.test(path) ? path : "/";
}

export function seeOther(path: string, headers: HeadersInit = {}): Response {
  return redirect(path, { status: 303, headers });
}
