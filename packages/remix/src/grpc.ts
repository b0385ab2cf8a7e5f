// The client side of gRPC: ids, user proof, deadline and breaker for every call of an `@grpc/grpc-js` client.
//
// The library is handed in rather than imported: this package has no dependency, and the interceptor must be of the
// very copy that the client uses.

import { recordCall } from "./calls.js";
import { contextOrFresh, breaker, runtime } from "./runtime.js";
import { encodeUser, PROOF_HEADER, sign, USER_HEADER } from "./identity.js";
import { rpcOutcome } from "./line.js";
import type { RequestContext } from "./context.js";

/** The part of `@grpc/grpc-js` that is used. */
export interface GrpcLibrary {
  readonly InterceptingCall: new (call: never, requester: never) => unknown;
  readonly Metadata: new () => unknown;
  readonly status: object;
}

export interface CallTarget {
  /** The name of `[dependency.NAME]`, in lines and limits. */
  readonly dependency: string;
  /** The service that the proofs are for; default the dependency's name. */
  readonly audience?: string;
}

interface Metadata {
  get(name: string): readonly unknown[];
  set(name: string, value: string): void;
}

interface Status {
  readonly code: number;
  readonly details: string;
  readonly metadata: unknown;
}

interface Listener {
  onReceiveStatus(status: Status): void;
}

interface CallOptions {
  readonly deadline?: Date | number;
  readonly method_definition: { readonly path: string };
}

type NextCall = (options: CallOptions) => unknown;
type Start = (metadata: Metadata, listener: unknown, next: (metadata: Metadata, listener: unknown) => void) => void;

const DOWN = new Set(["UNAVAILABLE", "DEADLINE_EXCEEDED"]);

/**
 * An interceptor for the `interceptors` of a client. A call gets the shortest of its own deadline, the dependency's and
 * what is left of the request; while the breaker is open it ends with UNAVAILABLE without leaving.
 */
// `any`: the types of the copy that was handed in are not known here
export function clientInterceptor(grpc: GrpcLibrary, target: CallTarget): (options: any, next: any) => any {
  const names = new Map(Object.entries(grpc.status).map(([name, code]) => [code as number, name]));
  const unavailable = Number((grpc.status as Record<string, unknown>).UNAVAILABLE);
  return (options: CallOptions, next: NextCall) => {
    const context = contextOrFresh();
    const limits = breaker(target.dependency);
    const spanId = context.nextSpanId();
    const startedMs = performance.now();
    const rpc = options.method_definition.path.replace(/^\/+/, "").slice(0, 128);
    const entered = limits.enter();
    const finish = (code: number, trailing?: unknown): void => {
      const status = names.get(code) ?? "UNKNOWN";
      // An answer with our request id in it says that the tier is up, whatever it could not do.
      if (entered) limits.leave(status === "CANCELLED" ? null : DOWN.has(status) && !isAnswer(trailing));
      const ms = performance.now() - startedMs;
      const fields = { rpc, status, ...(!entered && { reason: "breaker_open" }) };
      const { dependency } = target;
      recordCall(context, { type: "rpc_client", dependency, spanId, ms, outcome: rpcOutcome(status), fields });
    };
    const start: Start = (metadata, listener, proceed) => {
      if (!entered) {
        finish(unavailable);
        const details = `\`${target.dependency}\` keeps failing; calls are refused until it answers again`;
        (listener as Listener).onReceiveStatus({ code: unavailable, details, metadata: new grpc.Metadata() });
        return;
      }
      for (const [name, value] of outgoing(context, target.audience ?? target.dependency, spanId))
        metadata.set(name, value);
      proceed(metadata, {
        onReceiveStatus(status: Status, pass: (status: Status) => void) {
          finish(status.code, status.metadata);
          pass(status);
        },
      });
    };
    const call = next({ ...options, ...deadlineOf(options, context, limits.deadlineMs) });
    const refused = { start, sendMessage: () => undefined, halfClose: () => undefined, cancel: () => undefined };
    return new grpc.InterceptingCall(call as never, (entered ? { start } : refused) as never);
  };
}

/** The metadata that travels with a call: ids, then user and proof. */
function* outgoing(context: RequestContext, audience: string, spanId: string): Generator<[string, string]> {
  yield ["x-request-id", context.requestId];
  yield ["traceparent", `00-${context.traceId}-${spanId}-${context.traceFlags}`];
  if (context.traceState !== null) yield ["tracestate", context.traceState];
  const userId = context.userId ?? "";
  if (userId !== "") yield [USER_HEADER, encodeUser(userId)];
  const { identityKeys } = runtime().settings;
  if (identityKeys.length === 0) return;
  yield [PROOF_HEADER, sign(identityKeys, { audience, userId }, Date.now() / 1000)];
}

function deadlineOf(options: CallOptions, context: RequestContext, limitMs: number | null): { deadline?: number } {
  const bounds: number[] = [];
  if (options.deadline !== undefined) bounds.push(Number(options.deadline));
  if (limitMs !== null) bounds.push(Date.now() + limitMs);
  if (context.deadlineMs !== null) bounds.push(Date.now() + Math.max(0, context.deadlineMs - performance.now()));
  const shortest = Math.min(...bounds);
  return Number.isFinite(shortest) ? { deadline: shortest } : {};
}

function isAnswer(trailing: unknown): boolean {
  return ((trailing as Metadata | null | undefined)?.get("x-request-id").length ?? 0) > 0;
}
