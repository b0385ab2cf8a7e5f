// The token field of a form, searched for while the body arrives, so that no more is read than is needed.

import type { TokenState } from "./decision.js";

/** Where a search stands. `found` carries the value. */
export type Outcome = "more" | "found" | "missing" | "duplicated" | "too_late" | "unreadable";

/** How much may be held back in front of the token, files included. */
const BUFFER_BYTES = 256 * 1024;
const HEADER_BYTES = 16 * 1024;
const PADDING_BYTES = 128;
const VALUE_BYTES = 1024;
const BOUNDARY = /^[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]$/;
const PARAMETER = /;[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^;"\s]*)[ \t]*/sy;

interface Search {
  state: Outcome;
  value: string;
  feed(chunk: Buffer, last: boolean): void;
}

/**
 * The state of the token field `field` in the body of `request`, or its value. The body stays readable for the
 * application: a clone is read, and only as far as needed.
 */
export async function findToken(
  request: Request,
  field: string,
  limits: { searchBytes: number; timeoutMs: number },
): Promise<{ state: Exclude<TokenState, "valid"> } | { value: string }> {
  const search = openSearch(request.headers.get("content-type"), field, limits.searchBytes);
  if (typeof search === "string") return { state: search };
  if (request.bodyUsed) return { state: "unreadable" };
  const reader = request.clone().body?.getReader();
  if (reader === undefined) return { state: "missing" };
  const untilMs = performance.now() + limits.timeoutMs;
  try {
    while (search.state === "more") {
      const piece = await within(reader.read(), untilMs - performance.now());
      if (piece === null) return { state: "too_slow" };
      search.feed(Buffer.from(piece.value ?? new Uint8Array()), piece.done);
      if (piece.done) break;
    }
  } catch {
    return { state: "disconnected" };
  } finally {
    void reader.cancel().catch(() => undefined);
  }
  if (search.state === "found") return { value: search.value };
  return { state: search.state === "more" ? "unreadable" : search.state };
}

/** The search for a body of this content type, or its outcome when no byte has to be read. */
export function openSearch(type: string | null, field: string, searchBytes: number): Search | "missing" | "unreadable" {
  if (type === null) return "missing";
  const semicolon = type.indexOf(";");
  const kind = (semicolon < 0 ? type : type.slice(0, semicolon)).trim().toLowerCase();
  if (kind === "application/x-www-form-urlencoded") return new UrlencodedSearch(field, searchBytes);
  if (kind !== "multipart/form-data") return "missing";
  const boundary = semicolon < 0 ? undefined : parseParameters(type.slice(semicolon))?.get("boundary");
  if (boundary === undefined || !BOUNDARY.test(boundary)) return "unreadable";
  return new MultipartSearch(Buffer.from(field), boundary, searchBytes);
}

/** The `; name=value` parameters of a header, names in lower case; null when malformed or a name stands twice. */
function parseParameters(header: string): Map<string, string> | null {
  const text = header.replace(/[ \t;]+$/, "");
  const found = new Map<string, string>();
  PARAMETER.lastIndex = 0;
  while (PARAMETER.lastIndex < text.length) {
    const match = PARAMETER.exec(text);
    const name = match?.[1]?.toLowerCase();
    if (match === null || name === undefined || found.has(name)) return null;
    const value = match[2]!;
    found.set(name, value.startsWith('"') ? value.slice(1, -1).replace(/\\(.)/gs, "$1") : value);
  }
  return found;
}

/** The first `limit` bytes of `name=value&name=value`. */
class UrlencodedSearch implements Search {
  state: Outcome = "more";
  value = "";
  private data: Buffer[] = [];
  private size = 0;

  constructor(
    private readonly field: string,
    private readonly limit: number,
  ) {}

  feed(chunk: Buffer, last: boolean): void {
    const cut = this.size + chunk.length > this.limit;
    this.data.push(chunk.subarray(0, this.limit - this.size));
    this.size += chunk.length;
    if (last || cut) this.read(Buffer.concat(this.data).toString("latin1"), cut);
  }

  private read(text: string, cut: boolean): void {
    const pairs = text.split("&");
    if (cut) pairs.pop();
    const found: string[] = [];
    for (const pair of pairs) {
      const equals = pair.indexOf("=");
      if (unquote(equals < 0 ? pair : pair.slice(0, equals)) === this.field)
        found.push(equals < 0 ? "" : pair.slice(equals + 1));
    }
    if (found.length === 1) {
      this.state = "found";
      this.value = unquote(found[0]!.slice(0, 3 * VALUE_BYTES));
    } else this.state = found.length > 1 ? "duplicated" : cut ? "too_late" : "missing";
  }
}

/** The parts of a `multipart/form-data` body (RFC 7578) up to the first file behind the token; a file is never it. */
class MultipartSearch implements Search {
  state: Outcome = "more";
  value = "";
  private readonly delimiter: Buffer;
  private data: Buffer = Buffer.alloc(0);
  private position = 0;
  private seen = 0;
  private part: "start" | "preamble" | "delimiter" | "headers" | "field" | "token" | "file" = "start";
  private readonly found: Buffer[] = [];

  constructor(
    private readonly field: Buffer,
    boundary: string,
    private left: number,
  ) {
    this.delimiter = Buffer.from(`\r\n--${boundary}`, "latin1");
  }

  feed(chunk: Buffer, last: boolean): void {
    this.data = this.position < this.data.length ? Buffer.concat([this.data.subarray(this.position), chunk]) : chunk;
    this.position = 0;
    this.seen += chunk.length;
    while (this.state === "more" && this.step(last));
    if (this.state === "more" && (this.left < 0 || this.seen > BUFFER_BYTES)) this.end("too_late");
    if (this.state === "more" && last) this.end("unreadable");
  }

  /** Consume one piece; false when more data is needed. */
  private step(last: boolean): boolean {
    if (this.part === "start") return this.start(last);
    if (this.part === "delimiter") return this.afterDelimiter();
    if (this.part === "headers") return this.headers();
    return this.content();
  }

  private start(last: boolean): boolean {
    const first = this.delimiter.subarray(2);
    if (this.data.length < first.length && !last) return false;
    if (this.data.subarray(0, first.length).equals(first)) {
      this.position = first.length;
      this.part = "delimiter";
    } else this.part = "preamble";
    return true;
  }

  private content(): boolean {
    const end = this.data.indexOf(this.delimiter, this.position);
    const stop = end >= 0 ? end : Math.max(this.position, this.data.length - this.delimiter.length + 1);
    const value = this.found.at(-1);
    if (this.part === "token" && value !== undefined && value.length <= VALUE_BYTES) {
      const piece = this.data.subarray(this.position, Math.min(stop, this.position + VALUE_BYTES + 1));
      this.found[this.found.length - 1] = Buffer.concat([value, piece]);
    }
    if (this.part !== "file") this.left -= stop - this.position;
    this.position = stop;
    if (end < 0 || this.left < 0) return false;
    this.position = end + this.delimiter.length;
    this.part = "delimiter";
    return true;
  }

  private afterDelimiter(): boolean {
    const rest = this.data.subarray(this.position, this.position + PADDING_BYTES);
    if (rest.length < 2) return false;
    if (rest.subarray(0, 2).equals(Buffer.from("--"))) {
      this.end("missing");
      return false;
    }
    const end = rest.indexOf("\r\n");
    if (/[^ \t\r]/.test((end >= 0 ? rest.subarray(0, end) : rest).toString("latin1"))) this.end("unreadable");
    else if (end < 0 && rest.length >= PADDING_BYTES) this.end("unreadable");
    if (end < 0 || this.state !== "more") return false;
    this.position += end;
    this.part = "headers";
    return true;
  }

  private headers(): boolean {
    const window = this.data.subarray(this.position, this.position + HEADER_BYTES);
    const end = window.indexOf("\r\n\r\n");
    if (end < 0) {
      if (window.length >= HEADER_BYTES) this.end("unreadable");
      return false;
    }
    const lines = window.subarray(0, end).toString("latin1").split("\r\n").slice(1);
    this.left -= end + 4;
    this.position += end + 4;
    if (lines.some((line) => /[\r\n]/.test(line))) {
      this.end("unreadable"); // some parsers end the headers at two of them: the value would be another one there
      return false;
    }
    return this.openPart(lines) && this.left >= 0;
  }

  private openPart(lines: readonly string[]): boolean {
    const disposition = dispositionOf(lines);
    if (disposition === null) this.end("unreadable");
    else if (disposition.isFile && this.found.length > 0) this.end("found");
    if (disposition === null || this.state !== "more") return false;
    this.part = disposition.isFile ? "file" : "field";
    if (!disposition.isFile && Buffer.from(disposition.name, "latin1").equals(this.field)) {
      this.part = "token";
      this.found.push(Buffer.alloc(0));
    }
    return true;
  }

  private end(outcome: Outcome): void {
    const complete = this.part === "token" ? this.found.slice(0, -1) : this.found;
    if (this.found.length > 1) this.state = "duplicated";
    else if (complete[0] !== undefined) {
      this.state = "found";
      this.value = complete[0].toString("latin1");
    } else this.state = outcome;
  }
}

/** Field name and kind by the headers of one part; null: they cannot be read. */
function dispositionOf(lines: readonly string[]): { name: string; isFile: boolean } | null {
  const found: string[] = [];
  for (const line of lines) {
    if (/^[ \t]/.test(line)) return null;
    const colon = line.indexOf(":");
    if (colon >= 0 && line.slice(0, colon).trim().toLowerCase() === "content-disposition")
      found.push(line.slice(colon + 1).trim());
  }
  if (found.length !== 1) return found.length > 1 ? null : { name: "", isFile: false };
  const text = found[0]!;
  const semicolon = text.indexOf(";");
  const kind = semicolon < 0 ? text : text.slice(0, semicolon);
  const parameters = parseParameters(semicolon < 0 ? "" : text.slice(semicolon));
  if (parameters === null || kind.trim().toLowerCase() !== "form-data") return null;
  return { name: parameters.get("name") ?? "", isFile: parameters.has("filename") || parameters.has("filename*") };
}

function unquote(text: string): string {
  const bytes = text
    .replaceAll("+", " ")
    .replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return bytes;
}

async function within<T>(promise: Promise<T>, ms: number): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), Math.max(0, ms));
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
