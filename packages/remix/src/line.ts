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
const TRIMMED_FIRST = ["path", "clientRequestId", "reason", "origin", "route", "rpc", "name", "userClaimed"];
/** What is left of a line that nothing else makes short enough. */
const KEPT_LAST = ["ts", "v", "type", "service", "requestId", "outcome"];
/** DEL, the C1 controls and the line and paragraph separators: a terminal obeys them, a log reader ends a line there. */
const UNSEEN = /[\x7f-\x9f\u2028\u2029]/g;
const REPORT_MS = 1000;
const RPC_SERVER_ERRORS = new Set(["UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNIMPLEMENTED"]);
const PROVING =
  "tokens?|reset|reset-password|password|verify|verification|confirm|confirmation|activate|activation|invite|" +
  "invitation|magic|magic-link|unsubscribe|secrets?|keys?|api-key|sessions?|otp";
const REDACTIONS: readonly (readonly [RegExp, string])[] = [
  [/\b[a-z][a-z0-9+.-]*:\/\/[^\s'"<>]*/gi, "[url]"],
  [/\b(bearer|basic|token)\s+[A-Za-z0-9._~+/=-]{6,}/gi, "$1 [secret]"],
  [
    /\b((?:[a-z0-9]+[_-])*(?:password|passwd|pwd|secret|token|api[_-]?key|authorization|cookie|dsn|session))(['"]?\s*[=:]\s*)('[^']*'|"[^"]*"|[^\s,;)}\]]+)/gi,
    "$1$2[secret]",
  ],
  [/[^\s@<>"'(),:;=]+@[^\s@<>"'(),:;=]+\.[^\s@<>"'(),:;=]+/g, "[email]"],
  // what stands behind such a name in a path is what somebody was sent to prove who they are
  [new RegExp(`((?:/(?:${PROVING}))+)/[^/\\s]+`, "gi"), "$1/[secret]"],
  [/\b[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\b/g, "[token]"],
  [/\b[A-Za-z0-9+/_-]{32,}={0,2}/g, "[token]"],
  [/\d[\d -]{6,}\d/g, "[digits]"],
];

/** Where lines go. `write` never throws; what could not be written is counted, and told on standard output meanwhile. */
export interface Writer {
  readonly dropped: number;
  write(line: string): void;
}

/** Below `$DODAI_STATE/lines` when there is one, else standard output. */
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
  private told = 0;
  private toldAtMs = -Infinity;

  constructor(private readonly settings: Settings) {}

  write(line: string): void {
    try {
      if (this.descriptor < 0 || this.size >= SEGMENT_BYTES) this.open();
      this.size += writeSync(this.descriptor, line);
    } catch {
      this.dropped += 1;
      this.tell((lost) => process.stdout.write(lost));
      return;
    }
    if (this.dropped === this.told) return;
    this.tell((lost) => {
      this.size += writeSync(this.descriptor, lost);
      this.told = this.dropped;
    });
  }

  /** Say how many lines were lost: where lines are written or, while they cannot be, on standard output. */
  private tell(write: (line: string) => unknown): void {
    if (performance.now() - this.toldAtMs < REPORT_MS) return;
    this.toldAtMs = performance.now();
    try {
      write(dump(describeEvent(this.settings, "lines_dropped", { count: this.dropped - this.told })));
    } catch {
      // told again with the next line
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
    ...(context.clientNetwork !== null && { clientNetwork: context.clientNetwork }),
    ...(context.attempt > 1 && { attempt: context.attempt }),
    ...(context.userId !== null && { userId: user(context.userId) }),
    ...(context.userClaimed !== null && { userClaimed: user(context.userClaimed) }),
    ...(context.callTotals !== "" && { calls: context.callTotals }),
    ...(context.rpcCount > 0 && { rpcCount: context.rpcCount, rpcMs: rounded(context.rpcMs) }),
    ...(context.httpCount > 0 && { httpCount: context.httpCount, httpMs: rounded(context.httpMs) }),
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
    ...(settings.instance && { instance: settings.instance }),
    requestId: context.requestId,
    traceId: context.traceId,
    parentSpanId: context.spanId,
    ...rest,
  };
}

/** A line about the process rather than a request. */
export function describeEvent(settings: Settings, name: string, fields: Fields): Fields {
  return {
    ts: Date.now() / 1000,
    v: 1,
    type: "event",
    service: settings.service,
    ...(settings.release && { version: settings.release }),
    ...(settings.env && { env: settings.env }),
    ...(settings.instance && { instance: settings.instance }),
    name,
    ...fields,
  };
}

/**
 * `fields` as one line of JSON with its newline, at most 4,096 bytes. No character of a value starts a second line or is
 * obeyed by a terminal, and half a surrogate pair, which no reader takes, becomes text.
 */
export function dump(fields: Fields): string {
  let line = encoded(fields);
  const kept = { ...fields };
  for (const name of [...TRIMMED_FIRST, ...Object.keys(fields)]) {
    if (Buffer.byteLength(line) <= MAX_LINE_BYTES) return line;
    if (typeof kept[name] !== "string" || kept[name].length <= 16) continue;
    kept[name] = `${kept[name].slice(0, 16)}…`;
    line = encoded(kept);
  }
  if (Buffer.byteLength(line) <= MAX_LINE_BYTES) return line;
  return encoded(Object.fromEntries(KEPT_LAST.filter((name) => name in kept).map((name) => [name, kept[name]])));
}

function encoded(fields: Fields): string {
  const line = JSON.stringify(fields, (_, value: unknown) =>
    typeof value === "string" ? value.replace(/\p{Surrogate}/gu, escaped) : value,
  );
  return `${line.replace(UNSEEN, escaped)}\n`;
}

function escaped(char: string): string {
  return `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
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
