// One HTTP exchange of a node server, watched: context, edge gate, reserved paths, and the one line about it.

import { timingSafeEqual } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { type IncomingMessage, Server, type ServerResponse } from "node:http";
import { Server as TlsServer } from "node:https";
import { isIPv4, isIPv6 } from "node:net";

import { type RequestContext, within } from "./context.js";
import { describe, describeCall, type Fields, httpOutcome, type Outcome, redact, rounded } from "./line.js";
import { type Refusal, render } from "./refusal.js";
import { arrived, runtime, write } from "./runtime.js";
import { isEdgeKey, KEY_FORM } from "./settings.js";

const OBSERVED = Symbol.for("dodai.observed");
const RESERVED = "/-/dodai/";
const RESERVED_BYTES = 64 * 1024;
const LIVENESS_PATH = "/healthz";
const STATIC = ["/assets/", "/build/"];
const UNMATCHED = "<unmatched>";
const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"]);
const RAY = /^[0-9A-Za-z-]{1,64}$/;

/**
 * Watch every request that node serves in this process from now on. Throws DOD480 when the settings cannot be used.
 * Calling it again changes nothing.
 */
export function observe(): void {
  runtime();
  for (const kind of [Server, TlsServer]) watchServer(kind.prototype as Watched);
}

type Watched = Server & { [OBSERVED]?: true };

function watchServer(prototype: Watched): void {
  if (Object.hasOwn(prototype, OBSERVED)) return;
  prototype[OBSERVED] = true;
  const emit = prototype.emit;
  prototype.emit = function (this: unknown, event: string | symbol, ...given: unknown[]): boolean {
    const next = (): boolean => Reflect.apply(emit, this, [event, ...given]) as boolean;
    return event === "request" ? serve(given[0] as IncomingMessage, given[1] as ServerResponse, next) : next();
  };
}

function serve(request: IncomingMessage, response: ServerResponse, next: () => boolean): boolean {
  const known = hasKey(request);
  // An edge that shares a file with us strips what clients may not say; one whose key we were told passes it on.
  const trusted = known && runtime().settings.edgeKeyFile !== "";
  const context = arrived((name) => one(request.headers[name]), trusted);
  context.clientNetwork = networkOfClient(request, known, trusted);
  const ray = one(request.headers["cf-ray"]);
  if (known && ray !== undefined && RAY.test(ray)) context.extra.cfRay = ray;
  watch(request, response, context);
  const path = (request.url ?? "/").split("?", 1)[0]!;
  return within(context, () => {
    if (!known && !letsPass(request, path))
      return refuse(request, response, context, { status: 403, code: "DOD556", reason: keysLost ? "edge_keys_lost" : "edge_key_missing" });
    if (!path.startsWith(RESERVED)) return next();
    context.route = path;
    void answerReserved(request, response, context, path);
    return true;
  });
}

/** Write the line when the exchange is over, however it ends. */
function watch(request: IncomingMessage, response: ServerResponse, context: RequestContext): void {
  const startedMs = performance.now();
  let bytesOut = 0;
  let endedByUs = false;
  response.setHeader("x-request-id", context.requestId);
  const { write: writeBody, end, destroy, writeHead } = response;
  const size = (chunk: unknown, encoding: unknown): number =>
    typeof chunk === "string"
      ? Buffer.byteLength(chunk, typeof encoding === "string" ? (encoding as BufferEncoding) : "utf8")
      : chunk instanceof Uint8Array
        ? chunk.length
        : 0;
  let isReplaced = false;
  response.writeHead = function (...given: unknown[]) {
    const { instead } = context;
    response.setHeader("x-request-id", context.requestId);
    if (instead === null || isReplaced) return Reflect.apply(writeHead, response, given) as ServerResponse;
    isReplaced = true;
    for (const name of response.getHeaderNames()) response.removeHeader(name);
    const length = Buffer.byteLength(instead.body);
    Reflect.apply(writeHead, response, [instead.status, { ...instead.headers, "content-length": length }]);
    bytesOut += length;
    return Reflect.apply(end, response, [instead.body]) as ServerResponse;
  } as typeof writeHead;
  response.write = function (...given: unknown[]) {
    if (context.instead !== null && !response.headersSent) response.writeHead(response.statusCode);
    if (isReplaced) return true;
    bytesOut += size(given[0], given[1]);
    return Reflect.apply(writeBody, response, given) as boolean;
  } as typeof writeBody;
  response.end = function (...given: unknown[]) {
    if (context.instead !== null && !response.headersSent) response.writeHead(response.statusCode);
    if (isReplaced) return response;
    bytesOut += size(given[0], given[1]);
    return Reflect.apply(end, response, given) as ServerResponse;
  } as typeof end;
  response.destroy = function (error?: Error) {
    if (response.socket !== null && !response.socket.destroyed) endedByUs = true;
    if (error !== undefined) context.error ??= error.constructor.name;
    return Reflect.apply(destroy, response, [error]) as ServerResponse;
  };
  response.once("close", () => {
    const complete = response.writableFinished;
    const outcome: Outcome = complete ? httpOutcome(response.statusCode) : endedByUs ? "aborted" : "client_gone";
    const status = response.headersSent ? response.statusCode : 499;
    const ended = { status, outcome, latencyMs: rounded(performance.now() - startedMs), bytesOut };
    writeLines(request, context, ended);
  });
}

function writeLines(request: IncomingMessage, context: RequestContext, ended: Fields): void {
  const { settings } = runtime();
  for (const line of context.subLines) write(describeCall(settings, context, line));
  const path = (request.url ?? "/").split("?", 1)[0]!;
  const isFile = ended.outcome === "ok" && context.route === null;
  const prefix = STATIC.find((one) => path.startsWith(one));
  const route = context.route ?? (isFile && prefix !== undefined ? `${prefix}*` : null);
  const method = METHODS.has(request.method ?? "") ? request.method : "_OTHER";
  const place = route === null ? { route: UNMATCHED, path: redact(path) } : { route: route.slice(0, 128) };
  write(describe(settings, context, "http", { ...ended, method, ...place }));
}

function refuse(request: IncomingMessage, response: ServerResponse, context: RequestContext, refusal: Refusal): true {
  context.refusal = refusal;
  const { headers } = request;
  const rendered = render(refusal, context.requestId, headers.accept, headers["accept-language"]);
  response.writeHead(rendered.status, { ...rendered.headers, "content-length": Buffer.byteLength(rendered.body) });
  response.end(request.method === "HEAD" ? undefined : rendered.body);
  request.resume();
  return true;
}

async function answerReserved(
  request: IncomingMessage,
  response: ServerResponse,
  context: RequestContext,
  path: string,
): Promise<void> {
  try {
    const body = await bodyOf(request);
    if (body === null) {
      refuse(request, response, context, { status: 413, code: "DOD063", reason: "body_too_large" });
      return;
    }
    const answer = await runtime().reserved?.(asRequest(request, body), path);
    if (answer === undefined || answer === null) {
      refuse(request, response, context, { status: 404, code: "DOD062", reason: "reserved_path" });
      return;
    }
    answer.headers.forEach((value, name) => {
      if (name !== "set-cookie") response.setHeader(name, value);
    });
    const cookie = answer.headers.get("set-cookie"); // at most one: the visitor's
    if (cookie !== null) response.setHeader("set-cookie", cookie);
    response.writeHead(answer.status);
    response.end(Buffer.from(await answer.arrayBuffer()));
  } catch (error) {
    context.error = error instanceof Error ? error.constructor.name : typeof error;
    if (response.headersSent) response.destroy();
    else refuse(request, response, context, { status: 500, code: "DOD061", reason: "" });
  }
}

/** The body of a request to a reserved path; null when it is larger than any that is answered there. */
async function bodyOf(request: IncomingMessage): Promise<Buffer | null> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > RESERVED_BYTES) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** With whole bodies and one value for each header: Remix 2 puts Fetch classes of its own in place of node's. */
function asRequest(request: IncomingMessage, body: Buffer): Request {
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headers))
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value.join(", ") : value);
  const method = request.method ?? "GET";
  const init = { method, headers, ...(method !== "GET" && method !== "HEAD" && { body }) };
  return new Request(`http://${request.headers.host ?? "localhost"}${request.url ?? "/"}`, init);
}

// -- the edge

let edgeKeys: { readonly stamp: string; readonly keys: readonly Buffer[] } = { stamp: "", keys: [] };
let checkedAtMs = -Infinity;
let keysLost = false;
/** Errors of a machine in need, in which the keys that were read before still count. */
const WANT = new Set(["EMFILE", "ENFILE", "ENOMEM", "EINTR", "EAGAIN", "EIO"]);

/** Whether a request without a key may go on: to ask for liveness or health, and everywhere where there is no key. */
function letsPass(request: IncomingMessage, path: string): boolean {
  const { edgeKeyFile, edgeKeys: told, healthPath } = runtime().settings;
  if (edgeKeyFile !== "") return path === LIVENESS_PATH;
  if (told.length === 0) return true;
  const asks = request.method === "GET" || request.method === "HEAD";
  return asks && (path === LIVENESS_PATH || (healthPath !== "" && path === healthPath));
}

/** Whether the request brings one valid edge key; the key is removed either way. */
function hasKey(request: IncomingMessage): boolean {
  const given: string[] = [];
  const { rawHeaders } = request;
  for (let index = rawHeaders.length - 2; index >= 0; index -= 2)
    if (rawHeaders[index]!.toLowerCase() === "x-edge-key") given.push(rawHeaders.splice(index, 2)[1]!);
  delete request.headers["x-edge-key"];
  const { edgeKeyFile, edgeKeys: told } = runtime().settings;
  if (given.length !== 1) return false;
  const key = Buffer.from(given[0]!, "latin1");
  if (edgeKeyFile === "") return isOneOf(key, told);
  // A new key counts from its first use; a key that was removed stops counting within a second.
  if (performance.now() - checkedAtMs >= 1000) {
    checkedAtMs = performance.now();
    loadKeys(edgeKeyFile);
  }
  return isOneOf(key, edgeKeys.keys) || (loadKeys(edgeKeyFile) && isOneOf(key, edgeKeys.keys));
}

function isOneOf(key: Buffer, keys: readonly Buffer[]): boolean {
  let found = false;
  for (const one of keys) found = (one.length === key.length && timingSafeEqual(one, key)) || found;
  return found;
}

/** True when there are other keys now; want of descriptors or memory says nothing about them. */
function loadKeys(file: string): boolean {
  let [stamp, lines, why] = ["", [] as string[], ""];
  try {
    const { mtimeMs, ctimeMs, ino, size } = statSync(file);
    stamp = `${mtimeMs} ${ctimeMs} ${ino} ${size}`;
    if (stamp === edgeKeys.stamp) return false;
    lines = readFileSync(file, "latin1").split("\n").map((line) => line.trim()).filter(isEdgeKey);
    if (lines.length === 0) why = `no line is one: ${KEY_FORM}`;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== undefined && WANT.has(code)) return false;
    [stamp, lines, why] = ["", [], code ?? String(error)];
  }
  edgeKeys = { stamp, keys: lines.map((line) => Buffer.from(line, "latin1")) };
  tellKeys(file, why);
  return lines.length > 0;
}

/** Say once that the gate is closed for everybody, and once that it is not any more. */
function tellKeys(file: string, why: string): void {
  if (keysLost === (why !== "")) return;
  keysLost = why !== "";
  const closed = `has no key any more (${why}): every request is refused until it has one`;
  process.stderr.write(`dodai: the file of the edge's key \`${file}\` ${keysLost ? closed : "has a key again"}\n`);
}

/** The client's network, truncated to /24 or /48; null when it is not wanted or not known. */
function networkOfClient(request: IncomingMessage, known: boolean, trusted: boolean): string | null {
  if (runtime().settings.sections.observability?.client_ip === "none") return null;
  // Cloudflare adds to what a client says in x-forwarded-for, and says who asks in a header of its own.
  const saidBy = trusted ? "x-forwarded-for" : "cf-connecting-ip";
  const forwarded = known ? one(request.headers[saidBy]) : undefined;
  const address = (forwarded?.split(",", 1)[0] ?? request.socket.remoteAddress ?? "").trim();
  return networkOf(address.replace(/^::ffff:(?=[0-9.]+$)/, ""));
}

export function networkOf(address: string): string | null {
  if (isIPv4(address)) return address.replace(/[0-9]+$/, "0");
  const bare = address.split("%", 1)[0]!;
  if (!isIPv6(bare)) return null;
  const [head = "", tail] = new URL(`http://[${bare}]`).hostname.slice(1, -1).split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const groups = tail === undefined ? left : [...left, ...Array<string>(8 - left.length - right.length).fill("0"), ...right];
  return new URL(`http://[${groups.slice(0, 3).join(":")}::]`).hostname.slice(1, -1);
}

function one(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}
