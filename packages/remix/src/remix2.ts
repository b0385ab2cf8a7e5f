// The server build of Remix 2 behind the check, without a server of our own.
//
// Remix 2 has no middleware, so every action and loader is wrapped. A refusal is thrown into the framework, which would
// render its own page around it; the wrapped entry module puts the refusal itself back in place.

import { current } from "./context.js";
import type { Visitor } from "./visitor.js";

/** The parts of a Remix 2 `ServerBuild` that are used here. */
export interface RemixBuild {
  readonly routes: Readonly<Record<string, unknown>>;
  readonly entry: { readonly module: unknown };
}

export interface Guard {
  open(request: Request): Visitor;
  within<T>(visitor: Visitor, serve: () => T): T;
  refuse(visitor: Visitor, request: Request, route: string): Promise<Response | null>;
  /** True when the request comes from a page of another site; the refusal is then sent whatever the framework answers. */
  refuseForeign(request: Request): boolean;
}

type Handler = (args: DataArgs) => unknown;
type HandleDocument = (request: Request, status: number, headers: Headers, remix: RemixContext, load: object) => unknown;
type HandleData = (response: Response, args: DataArgs) => Promise<Response> | Response;

interface DataArgs {
  readonly request: Request;
  readonly context?: object;
}

interface RemixContext {
  readonly staticHandlerContext?: { readonly matches?: readonly { readonly route: { readonly id: string } }[] };
}

interface RemixRoute {
  readonly id: string;
  readonly parentId?: string;
  readonly path?: string;
  readonly module: RouteModule;
}

interface RouteModule {
  readonly action?: Handler;
  readonly loader?: Handler;
  readonly default?: unknown;
  readonly ErrorBoundary?: unknown;
}

interface EntryModule {
  readonly default: HandleDocument;
  readonly handleDataRequest?: HandleData;
  readonly handleError?: (error: unknown, args: DataArgs) => void;
}

/** What is known of one request; its key is the request's own context, else Remix's load context. */
interface State {
  readonly visitor: Visitor;
  refused: Response | null;
}

/** `build` with every action behind `guard`, and every response with the visitor's cookie. */
export function wrapRemixBuild<Build extends RemixBuild>(build: Build, guard: Guard): Build {
  const states = new WeakMap<object, State>();
  const stateOf = (request: Request, load: object | undefined): State => {
    const key = current() ?? load ?? request;
    let state = states.get(key);
    if (state === undefined) states.set(key, (state = { visitor: guard.open(request), refused: null }));
    return state;
  };
  const given = build.routes as Readonly<Record<string, RemixRoute>>;
  const wrap = (route: RemixRoute, handler: Handler, isAction: boolean): Handler => {
    const pattern = patternOf(given, route);
    return async (args) => {
      const state = stateOf(args.request, args.context);
      noteRoute(pattern);
      const isLast = isLastStop(args.request, route.module);
      const settled = (value: unknown): unknown =>
        value instanceof Response && isLast(value) ? state.visitor.amend(value) : value;
      return guard.within(state.visitor, async () => {
        if (isAction) {
          state.refused = await guard.refuse(state.visitor, args.request, pattern);
          if (state.refused !== null) throw state.refused.clone();
        }
        try {
          return settled(await handler(args));
        } catch (thrown) {
          throw settled(thrown);
        }
      });
    };
  };
  const routes = Object.fromEntries(
    Object.entries(given).map(([id, route]) => {
      const { action, loader } = route.module;
      const module = {
        ...route.module,
        ...(action !== undefined && { action: wrap(route, action, true) }),
        ...(loader !== undefined && { loader: wrap(route, loader, false) }),
      };
      return [id, { ...route, module }];
    }),
  );
  const entry = build.entry.module as EntryModule;
  const handleDocument: HandleDocument = (request, status, headers, remix, load) => {
    const state = stateOf(request, load);
    const leaf = given[remix.staticHandlerContext?.matches?.at(-1)?.route.id ?? ""];
    if (leaf !== undefined) noteRoute(patternOf(given, leaf));
    if (state.refused !== null) return state.refused;
    return guard.within(state.visitor, async () =>
      state.visitor.amend((await entry.default(request, status, headers, remix, load)) as Response),
    );
  };
  const handleData: HandleData = async (response, args) => {
    const state = stateOf(args.request, args.context);
    const given = state.refused === null ? response : withRefusal(response, state.refused);
    return state.visitor.amend((await entry.handleDataRequest?.(given, args)) ?? given);
  };
  // Remix has an origin check of its own for pages, before any action: it answers 500 without a body.
  const handleError = (error: unknown, args: DataArgs): void => {
    if (isOwnCheck(error) && guard.refuseForeign(args.request)) return;
    if (entry.handleError !== undefined) entry.handleError(error, args);
    else if (!args.request.signal.aborted) console.error(error);
  };
  const module = { ...entry, default: handleDocument, handleDataRequest: handleData, handleError };
  return { ...build, routes, entry: { ...build.entry, module } };
}

function isOwnCheck(error: unknown): boolean {
  return error instanceof Error && error.message.endsWith("Aborting the action.");
}

/** The refusal with Remix's own headers, by which its client tells an answer for the error boundary from data. */
function withRefusal(response: Response, refused: Response): Response {
  const headers = new Headers(refused.headers);
  response.headers.forEach((value, name) => {
    if (name.startsWith("x-remix-")) headers.set(name, value);
  });
  return new Response(refused.body, { status: refused.status, headers });
}

/** Whether what a handler returns leaves as it is: answers of resource routes, and redirects of documents. */
function isLastStop(request: Request, module: RouteModule): (response: Response) => boolean {
  const url = new URL(request.url);
  const isData = url.searchParams.has("_data") || url.pathname.endsWith(".data");
  const isResource = module.default === undefined && module.ErrorBoundary === undefined;
  return (response) => !isData && (isResource || (response.status >= 300 && response.status < 400));
}

function patternOf(routes: Readonly<Record<string, RemixRoute>>, route: RemixRoute): string {
  const parts: string[] = [];
  for (let at: RemixRoute | undefined = route; at !== undefined; at = routes[at.parentId ?? ""])
    if (at.path) parts.unshift(at.path.replace(/^\/+|\/+$/g, ""));
  return `/${parts.join("/")}`;
}

/** The loaders of a page run beside each other: the innermost route is the page's. */
function noteRoute(pattern: string): void {
  const context = current();
  if (context !== undefined && (context.route === null || pattern.length >= context.route.length)) context.route = pattern;
}

