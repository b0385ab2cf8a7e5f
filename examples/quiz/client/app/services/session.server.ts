// Who is signed in, in a signed cookie. `SESSION_SECRET` may hold several values, `new,old`: the first one signs.

import { setUser } from "@dodai/remix/observability.server";
import {
  createContext,
  createCookieSessionStorage,
  data,
  type MiddlewareFunction,
  redirect,
  type RouterContextProvider,
  type Session,
} from "react-router";

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

const asking = createContext<Visitor | null>(null);

/** Who is asking: from here on every line and every call to the backend says so, with proof. */
export const known: MiddlewareFunction<Response> = async ({ request, context }, next) => {
  const visitor = (await sessionOf(request)).get("user") ?? null;
  context.set(asking, visitor);
  setUser(visitor?.user ?? null);
  return next();
};

/** Who is asking; null for nobody. */
export function visitorOf(context: Readonly<RouterContextProvider>): Visitor | null {
  return context.get(asking);
}

/** Who is asking; otherwise the answer is 401, whose page offers to sign in and come back. */
export function signedIn(context: Readonly<RouterContextProvider>): Visitor {
  const visitor = visitorOf(context);
  if (visitor === null) throw data(null, 401);
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
