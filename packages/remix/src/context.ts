// One request as every part of this process sees it: its ids, its user, what it cost, why it was refused.

import { AsyncLocalStorage } from "node:async_hooks";
import { randomBytes } from "node:crypto";

const VALID_ID = /^[A-Za-z0-9._:-]{8,64}$/;
const MINTED_ID = /^[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}$/;
const HEX_ID = /^[0-9a-f]{32}$/;
const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-|$)/;
const CALLS_PER_SPAN = 0xffff;
const SUB_LINES = 32;

export interface Traceparent {
  readonly traceId: string;
  readonly parentSpanId: string;
  readonly flags: string;
}

/** What the outermost layer knows when it writes the line; inner layers add to it. Times are milliseconds. */
export class RequestContext {
  clientRequestId: string | null = null;
  parentSpanId: string | null = null;
  traceFlags = "01";
  traceState: string | null = null;
  attempt = 1;
  trusted = false;
  userId: string | null = null;
  userClaimed: string | null = null;
  route: string | null = null;
  clientNetwork: string | null = null;
  refusal: { code: string; reason: string } | null = null;
  /** What is sent in place of what the framework answers: its own check refused first, and says nothing. */
  instead: { status: number; headers: Readonly<Record<string, string>>; body: string } | null = null;
  rpcCount = 0;
  rpcMs = 0;
  httpCount = 0;
  httpMs = 0;
  failedDependency: string | null = null;
  /** On the clock of `performance.now()`. */
  deadlineMs: number | null = null;
  error: string | null = null;
  extra: Record<string, string | number> = {};
  subLines: Record<string, unknown>[] = [];
  /** Whether each of its calls gets a line of its own. */
  sampled = false;
  private calls = 0;
  private readonly totals = new Map<string, [calls: number, failed: number, ms: number]>();

  constructor(
    readonly requestId: string,
    readonly traceId: string,
    readonly spanId: string,
  ) {}

  /** The context of a request with these ids; a missing one is minted, and so is its span. */
  static fresh(requestId?: string | null, traceId?: string | null): RequestContext {
    const id = requestId ?? mintRequestId(Date.now(), randomBytes(10));
    const trace = traceId ?? (isTraceId(id) ? id : mintRequestId(Date.now(), randomBytes(10)));
    return new RequestContext(id, trace, mintSpanId(randomBytes(6)));
  }

  /** The span id of this request's next outgoing call: its own first 12 digits and the number of the call. */
  nextSpanId(): string {
    this.calls = (this.calls % CALLS_PER_SPAN) + 1;
    return callSpanId(this.spanId, this.calls);
  }

  /** Add a finished call to the totals of its dependency. */
  countCall(dependency: string, ms: number, failed: boolean): void {
    const [calls, failures, total] = this.totals.get(dependency) ?? [0, 0, 0];
    this.totals.set(dependency, [calls + 1, failures + Number(failed), total + ms]);
  }

  /** `backend 3 0 12.5`: for each dependency its calls, failed ones and milliseconds; empty without calls. */
  get callTotals(): string {
    const shown = [...this.totals].map(([name, [calls, failed, ms]]) => `${name} ${calls} ${failed} ${ms.toFixed(1)}`);
    return shown.join(";").slice(0, 512);
  }

  /** Keep the line of a slow or failed call until the request's own line is written. */
  addSubLine(line: Record<string, unknown>): void {
    if (this.subLines.length < SUB_LINES) this.subLines.push(line);
  }
}

// One store for the process even when two copies of this package are loaded: a bundler may inline one of them.
const STORE = Symbol.for("dodai.request");
const shared = globalThis as { [STORE]?: AsyncLocalStorage<RequestContext> };
const store: AsyncLocalStorage<RequestContext> = (shared[STORE] ??= new AsyncLocalStorage());

/** The context of the request being served here; undefined outside a request. */
export function current(): RequestContext | undefined {
  return store.getStore();
}

/** The result of `serve` with `context` as the current one. */
export function within<T>(context: RequestContext, serve: () => T): T {
  return store.run(context, serve);
}

/** 32 lower-case hex digits in UUIDv7 layout (RFC 9562 §5.7) from a time and the last 74 bits of ten random bytes. */
export function mintRequestId(nowMs: number, random: Buffer): string {
  return formatRequestId(nowMs, BigInt(`0x${random.toString("hex")}`));
}

export function formatRequestId(nowMs: number, randomBits: bigint): string {
  const time = (BigInt(nowMs) & 0xffffffffffffn).toString(16).padStart(12, "0");
  const high = (randomBits & 0xfffn).toString(16).padStart(3, "0");
  const low = (((randomBits >> 12n) & 0x3fffffffffffffffn) | 0x8000000000000000n).toString(16).padStart(16, "0");
  return `${time}7${high}${low}`;
}

/** Milliseconds since the epoch at which a minted id was made; null for a foreign one. */
export function timeMsOf(requestId: string): number | null {
  return MINTED_ID.test(requestId) ? Number.parseInt(requestId.slice(0, 12), 16) : null;
}

export function callSpanId(spanId: string, call: number): string {
  return spanId.slice(0, 12) + call.toString(16).padStart(4, "0");
}

export function isRequestId(value: string): boolean {
  return VALID_ID.test(value);
}

export function isTraceId(value: string): boolean {
  return HEX_ID.test(value) && !/^0+$/.test(value);
}

/** A W3C `traceparent`; null when it is malformed or all zero. */
export function parseTraceparent(text: string): Traceparent | null {
  if (!TRACEPARENT.test(text) || text.startsWith("ff") || (text.startsWith("00") && text.length !== 55)) return null;
  const traceId = text.slice(3, 35);
  const parentSpanId = text.slice(36, 52);
  if (/^0+$/.test(traceId) || /^0+$/.test(parentSpanId)) return null;
  return { traceId, parentSpanId, flags: text.slice(53, 55) };
}

/** Seconds that an `x-deadline-ms` leaves: one to nine digits; null otherwise. */
export function parseDeadline(value: string): number | null {
  return /^[0-9]{1,9}$/.test(value) ? Number(value) / 1000 : null;
}

function mintSpanId(random: Buffer): string {
  const digits = random.toString("hex");
  return `${digits === "000000000000" ? "000000000001" : digits}0000`;
}
