// The client side of HTTP: `fetch` with deadline and breaker of a dependency, and an entry in the request's line.

import { recordCall } from "./calls.js";
import type { RequestContext } from "./context.js";
import type { CallTarget } from "./grpc.js";
import { encodeUser, PROOF_HEADER, sign, USER_HEADER } from "./identity.js";
import { httpOutcome, type Outcome } from "./line.js";
import { breaker, contextOrFresh, runtime } from "./runtime.js";

/** Thrown instead of a call while the dependency keeps failing. */
export class DependencyUnavailableError extends Error {
  constructor(readonly dependency: string) {
    super(`\`${dependency}\` keeps failing; calls are refused until it answers again`);
    this.name = "DependencyUnavailableError";
  }
}

const FAILED: ReadonlySet<number> = new Set([502, 503, 504]);

/**
 * `fetch` towards `[dependency.NAME]`: the shortest of its deadline, the caller's `signal` and what is left of the request
 * bounds the call, its body included, which is read here whole. With `audience`, the name of a service of ours, the call
 * carries the request id, the user and their proof; a foreign service gets none of them.
 */
export function dependencyFetch(target: CallTarget): (url: string | URL, init?: RequestInit) => Promise<Response> {
  return async (url, init = {}) => {
    const context = contextOrFresh();
    const limits = breaker(target.dependency);
    const spanId = context.nextSpanId();
    const startedMs = performance.now();
    const method = (init.method ?? "GET").toUpperCase();
    const record = (outcome: Outcome, fields: Record<string, string | number>): void => {
      const ms = performance.now() - startedMs;
      const { dependency } = target;
      recordCall(context, { type: "http_client", dependency, spanId, ms, outcome, fields: { method, ...fields } });
    };
    if (!limits.enter()) {
      record("server_error", { status: 0, reason: "breaker_open" });
      throw new DependencyUnavailableError(target.dependency);
    }
    try {
      const answer = await fetch(url, { ...init, ...bounds(init, context, limits.deadlineMs), headers: headersOf(init, target, context, spanId) });
      const body = await answer.arrayBuffer();
      // A tier of ours that puts its request id on a 503 is up; what it calls is not.
      const isOurs = target.audience !== undefined && answer.headers.has("x-request-id");
      limits.leave(FAILED.has(answer.status) && !isOurs);
      record(httpOutcome(answer.status), { status: answer.status });
      const { status, statusText, headers } = answer;
      return new Response(body.byteLength === 0 ? null : body, { status, statusText, headers });
    } catch (error) {
      const isOver = init.signal?.aborted === true && (init.signal.reason as Error | undefined)?.name !== "TimeoutError";
      limits.leave(isOver ? null : true);
      const name = error instanceof Error ? error.name : typeof error;
      record(isOver ? "client_gone" : name === "TimeoutError" ? "timeout" : "server_error", { status: 0, error: name });
      throw error;
    }
  };
}

function bounds(init: RequestInit, context: RequestContext, limitMs: number | null): { signal?: AbortSignal } {
  const signals = init.signal ? [init.signal] : [];
  if (limitMs !== null) signals.push(AbortSignal.timeout(limitMs));
  if (context.deadlineMs !== null) signals.push(AbortSignal.timeout(Math.max(0, context.deadlineMs - performance.now())));
  return signals.length === 0 ? {} : { signal: AbortSignal.any(signals) };
}

function headersOf(init: RequestInit, target: CallTarget, context: RequestContext, spanId: string): Headers {
  const headers = new Headers(init.headers);
  const { audience } = target;
  if (audience === undefined) return headers;
  headers.set("x-request-id", context.requestId);
  headers.set("traceparent", `00-${context.traceId}-${spanId}-${context.traceFlags}`);
  const userId = context.userId ?? "";
  if (userId !== "") headers.set(USER_HEADER, encodeUser(userId));
  const { identityKeys } = runtime().settings;
  if (identityKeys.length > 0)
    headers.set(PROOF_HEADER, sign(identityKeys, { audience, userId }, Date.now() / 1000));
  return headers;
}
