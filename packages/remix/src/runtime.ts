// The one process-wide object: settings, writer, breakers, and who answers the reserved paths.

import { breakerOf, type Breaker } from "./breaker.js";
import { current, isRequestId, parseDeadline, parseTraceparent, RequestContext } from "./context.js";
import { decodeUser, PROOF_HEADER, USER_HEADER, verifyProof } from "./identity.js";
import { describeEvent, dump, type Fields, openWriter, type Writer } from "./line.js";
import { readSettings, type Settings } from "./settings.js";

/** Answers a request below `/-/dodai/`; null for a path that is not one of its own. */
export type Reserved = (request: Request, path: string) => Promise<Response | null>;

export interface Runtime {
  readonly settings: Settings;
  readonly writer: Writer;
  readonly breakers: Map<string, Breaker>;
  reserved: Reserved | null;
}

const RUNTIME = Symbol.for("dodai.runtime");
const shared = globalThis as { [RUNTIME]?: Runtime };

/** The runtime of this process, made from its environment when first asked for; throws DOD480. */
export function runtime(): Runtime {
  return (shared[RUNTIME] ??= open(readSettings()));
}

/** Make `settings` the process's; for tests and for applications that start without the environment. */
export function configure(settings: Settings, writer: Writer = openWriter(settings)): Runtime {
  shared[RUNTIME] = { ...open(settings), writer };
  return shared[RUNTIME];
}

function open(settings: Settings): Runtime {
  return { settings, writer: openWriter(settings), breakers: new Map(), reserved: null };
}

export function breaker(dependency: string): Breaker {
  const { breakers, settings } = runtime();
  let found = breakers.get(dependency);
  if (found === undefined) {
    const changed = (name: string): void => write(describeEvent(settings, name, { dependency }));
    breakers.set(dependency, (found = breakerOf(settings.sections.dependency?.[dependency], changed)));
  }
  return found;
}

export function write(fields: Fields): void {
  runtime().writer.write(dump(fields));
}

/** The context in which this code runs, or a new one for code outside any request. */
export function contextOrFresh(): RequestContext {
  return current() ?? sampled(RequestContext.fresh());
}

/** From the trace id, so that every tier keeps the calls of the same requests. */
function sampled(context: RequestContext): RequestContext {
  const share = runtime().settings.sections.observability?.sample ?? 0.01;
  context.sampled = Number.parseInt(context.traceId.slice(-4), 16) < Math.round(share * 65536);
  return context;
}

/** The context of a request with these headers, believed when `trusted` (by the edge) or proved by a tier of ours. */
export function arrived(header: (name: string) => string | undefined, trusted: boolean): RequestContext {
  const sent = header("x-request-id");
  const id = sent !== undefined && isRequestId(sent) ? sent : null;
  const user = decodeUser(header(USER_HEADER) ?? "");
  const proved = isProved(header(PROOF_HEADER), id, user);
  if (!trusted && !proved) {
    const context = sampled(RequestContext.fresh());
    context.clientRequestId = id;
    if (user !== "") context.userClaimed = user;
    return context;
  }
  const parent = parseTraceparent(header("traceparent") ?? "");
  const context = sampled(RequestContext.fresh(id, parent?.traceId ?? null));
  context.trusted = true;
  if (parent !== null) {
    context.parentSpanId = parent.parentSpanId;
    context.traceFlags = parent.flags;
    context.traceState = header("tracestate")?.slice(0, 512) ?? null;
  }
  const attempt = header("x-attempt");
  if (attempt !== undefined && /^[0-9]{1,2}$/.test(attempt)) context.attempt = Math.max(1, Number(attempt));
  if (user !== "" && proved) context.userId = user;
  else if (user !== "") context.userClaimed = user;
  const leftS = proved ? parseDeadline(header("x-deadline-ms") ?? "") : null;
  if (leftS !== null) context.deadlineMs = performance.now() + leftS * 1000;
  return context;
}

function isProved(proof: string | undefined, requestId: string | null, userId: string): boolean {
  const { settings } = runtime();
  if (proof === undefined || requestId === null || settings.identityKeys.length === 0) return false;
  const claim = { audience: settings.service, requestId, userId };
  return verifyProof(settings.identityKeys, proof, claim, Date.now() / 1000);
}
