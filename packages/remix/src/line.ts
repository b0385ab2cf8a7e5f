// Lines of spec/line: one JSON object per request, at most 4,096 bytes, written with one write.

import { closeSync, mkdirSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";

import type { RequestContext } from "./context.js";
import { shownUser } from "./identity.js";
import type { Settings } from "./settings.js";

export type Outcome = "ok" | "client_error" | "server_error" | "aborted" | "client_gone" | "timeout";
export type Fields = Record<string, unknown>;

const MAX_LINE_BYTES = 4096;
const SEGMENT_BYTES = 64 * 1024 * 1024;
const TRIMMED_FIRST = ["path", "clientRequestId", "reason", "origin", "route", "rpc", "userClaimed"];
const RPC_SERVER_ERRORS = new Set(["UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNIMPLEMENTED"]);
const REDACTIONS: readonly (readonly [RegExp, string])[] = [
  [/\b[a-z][a-z0-9+.-]*:\/\/[^\s'"<>]*/gi, "[url]"],
  [/[^\s@<>"'(),:;=]+@[^\s@<>"'(),:;=]+\.[^\s@<>"'(),:;=]+/g, "[email]"],
  [/\b[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\b/g, "[token]"],
  [/\b[A-Za-z0-9+/_-]{32,}={0,2}/g, "[token]"],
  [/\d[\d -]{6,}\d/g, "[digits]"],
];

/** Where lines go. `write` never throws; what could not be written is counted. */
export interface Writer {
  readonly dropped: number;
  write(line: string): void;
}

/** Standard output, and below `$DODAI_STATE/lines` when there is one. */
export function openWriter(settings: Settings): Writer {
  return settings.state === "" ? new StdoutWriter() : new SegmentWriter(settings);
}

class StdoutWriter implements Writer {
  dropped = 0;

  write(line: string): void {
    process.stdout.write(line);
  }
}

/** Appends to files of at most 64 MiB; their names are this process's own, so that nobody else writes to them. */
class SegmentWriter implements Writer {
  dropped = 0;
  private descriptor = -1;
  private size = 0;

  constructor(private readonly settings: Settings) {}

  write(line: string): void {
    try {
      if (this.descriptor < 0 || this.size >= SEGMENT_BYTES) this.open();
      this.size += writeSync(this.descriptor, line);
    } catch {
      this.dropped += 1;
    }
  }

  private open(): void {
    if (this.descriptor >= 0) closeSync(this.descriptor);
    this.descriptor = -1;
    this.size = 0;
    const folder = join(this.settings.state, "lines");
    mkdirSync(folder, { recursive: true });
    const name = `${this.settings.service}-${this.settings.instance || "0"}-${process.pid}-${Date.now()}.node.jsonl`;
    this.descriptor = openSync(join(folder, name), "ax", 0o640);
  }
}

/** The line of a served request; the caller adds method, route and status. */
export function describe(settings: Settings, context: RequestContext, type: string, fields: Fields): Fields {
  const user = (id: string): string =>
    settings.sections.observability?.user_id === "hmac" ? shownUser(settings.identityKeys, id) : id;
  return {
    ts: Date.now() / 1000,
    v: 1,
    type,
    service: settings.service,
    ...(settings.release && { version: settings.release }),
    ...(settings.env && { env: settings.env }),
    ...(settings.instance && { instance: settings.instance }),
    requestId: context.requestId,
    traceId: context.traceId,
    spanId: context.spanId,
    ...(context.parentSpanId !== null && { parentSpanId: context.parentSpanId }),
    ...(context.clientRequestId !== null && { clientRequestId: context.clientRequestId }),
    ...(context.clientNetwork !== null && { clientIp: context.clientNetwork }),
    ...(context.attempt > 1 && { attempt: context.attempt }),
    ...(context.userId !== null && { userId: user(context.userId) }),
    ...(context.userClaimed !== null && { userClaimed: user(context.userClaimed) }),
    ...(context.rpcCount > 0 && { rpcCount: context.rpcCount, rpcMs: rounded(context.rpcMs) }),
    ...(context.failedDependency !== null && { dependency: context.failedDependency }),
    ...(context.refusal !== null && { code: context.refusal.code, reason: context.refusal.reason }),
    ...(context.error !== null && { error: context.error }),
    ...context.extra,
    ...fields,
  };
}

/** The line of one outgoing call below `context`. */
export function describeCall(settings: Settings, context: RequestContext, fields: Fields): Fields {
  const { type, ...rest } = fields;
  return {
    ts: Date.now() / 1000,
    v: 1,
    type,
    service: settings.service,
    ...(settings.release && { version: settings.release }),
    ...(settings.env && { env: settings.env }),
    requestId: context.requestId,
    traceId: context.traceId,
    parentSpanId: context.spanId,
    ...rest,
  };
}

/** `fields` as one line of JSON with its newline. Control characters are escaped, so a value never starts a second one. */
export function dump(fields: Fields): string {
  let line = `${JSON.stringify(fields)}\n`;
  const kept = { ...fields };
  for (const name of TRIMMED_FIRST) {
    if (Buffer.byteLength(line) <= MAX_LINE_BYTES) break;
    if (typeof kept[name] === "string" && kept[name].length > 16) kept[name] = `${kept[name].slice(0, 16)}…`;
    line = `${JSON.stringify(kept)}\n`;
  }
  return line;
}

/** The outcome of a complete HTTP response. */
export function httpOutcome(status: number): Outcome {
  if (status < 400) return "ok";
  if (status === 504) return "timeout";
  if (status === 499) return "client_gone";
  return status < 500 ? "client_error" : "server_error";
}

/** The outcome of an RPC by the name of its gRPC status: only the server's own failures are server errors. */
export function rpcOutcome(status: string): Outcome {
  if (status === "OK") return "ok";
  if (status === "CANCELLED") return "client_gone";
  if (status === "DEADLINE_EXCEEDED") return "timeout";
  return RPC_SERVER_ERRORS.has(status) ? "server_error" : "client_error";
}

/** A path without addresses, tokens and long numbers, for a request that no route matched. */
export function redact(text: string): string {
  return REDACTIONS.reduce((kept, [pattern, by]) => kept.replace(pattern, by), text.slice(0, 1000)).slice(0, 128);
}

export function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
