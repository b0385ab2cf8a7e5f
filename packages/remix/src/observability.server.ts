// Request ids and one line per request (spec/line) for any node server: Remix 2, React Router 7/8, Express.
//
// `observe()` in entry.server. It stands around node's own `request` event, so that what the framework answers before
// any middleware (its own 400, a 404, a file) carries the id and has a line as well.

export { dependencyFetch, DependencyUnavailableError } from "./fetch.js";
export { clientInterceptor, type CallTarget, type GrpcLibrary } from "./grpc.js";
export { observe } from "./http.js";
export { configure } from "./runtime.js";
export { readSettings, type Sections, type Settings } from "./settings.js";

import { current } from "./context.js";

/** Arguments of a React Router middleware that are used here. */
export interface RouteArgs {
  readonly request: Request;
  readonly pattern?: string;
  readonly unstable_pattern?: string;
}

/** The id of the request being served here; empty outside a request. */
export function requestId(): string {
  return current()?.requestId ?? "";
}

/** Say who is signed in: the line and every call to a backend carry it, the calls with a proof. */
export function setUser(userId: string | null): void {
  const context = current();
  if (context === undefined) return;
  if (userId !== null && [...userId].length > 128) throw new Error("a user id has at most 128 characters");
  context.userId = userId === "" ? null : userId;
}

/** For `handleError` of entry.server: the type of the error, never its message, goes into the line. */
export function noteError(error: unknown): void {
  const context = current();
  if (context !== undefined && context.error === null) context.error = nameOf(error);
}

/** Root middleware for an application that observes without CSRF protection: it names the route. */
export async function routeMiddleware(args: RouteArgs, next: () => Promise<unknown>): Promise<Response> {
  const context = current();
  const pattern = args.pattern ?? args.unstable_pattern;
  if (context !== undefined && pattern !== undefined) context.route = `/${pattern.replace(/^\/+/, "")}`;
  return (await next()) as Response;
}

function nameOf(error: unknown): string {
  const name = error instanceof Error ? error.constructor.name || error.name : typeof error;
  return name.slice(0, 128);
}
