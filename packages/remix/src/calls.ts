// Calls to dependencies: totals in the request's line, and a line of their own when slow, failed or sampled.

import type { RequestContext } from "./context.js";
import { type Outcome, rounded } from "./line.js";
import { runtime } from "./runtime.js";

export interface Called {
  readonly type: "rpc_client" | "http_client";
  readonly dependency: string;
  readonly spanId: string;
  readonly ms: number;
  readonly outcome: Outcome;
  /** Fields of the line schema, such as `rpc`, `method`, `status` or `error`. */
  readonly fields: Readonly<Record<string, string | number>>;
}

/** Add a finished call to the totals of `context`; keep its line when it was slow, failed or is sampled. */
export function recordCall(context: RequestContext, { type, dependency, spanId, ms, outcome, fields }: Called): void {
  if (type === "rpc_client") {
    context.rpcCount += 1;
    context.rpcMs += ms;
  } else {
    context.httpCount += 1;
    context.httpMs += ms;
  }
  const failed = outcome === "server_error" || outcome === "timeout" || outcome === "aborted";
  context.countCall(dependency, ms, failed);
  if (failed) context.failedDependency ??= dependency;
  const slowMs = (runtime().settings.sections.observability?.slow_call ?? 0.5) * 1000;
  if (!failed && !context.sampled && ms < slowMs) return;
  const ended = { outcome, latencyMs: rounded(ms) };
  context.addSubLine({ ts: Date.now() / 1000, type, spanId, dependency, ...ended, ...fields });
}
