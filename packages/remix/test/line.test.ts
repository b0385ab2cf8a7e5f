// The vectors of spec/line, spec/refusals.json, and what a line never carries.

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, test, vi } from "vitest";

import { CODES } from "../src/codes.js";
import { callSpanId, formatRequestId, isRequestId, parseDeadline, parseTraceparent, timeMsOf } from "../src/context.js";
import { networkOf } from "../src/http.js";
import { decodeUser, encodeUser, parseIdentityKeys, shownUser, sign, verifyProof } from "../src/identity.js";
import { dump, openWriter, redact } from "../src/line.js";
import { readSettings } from "../src/settings.js";
import { vectors } from "./spec.js";

interface IdentityVectors {
  keys: string;
  cases: {
    name: string;
    proof: string;
    audience: string;
    requestId: string;
    userId: string;
    nowS: number;
    valid: boolean;
  }[];
  shown: { name: string; keys: string; userId: string; shown: string }[];
}

interface RequestIdVectors {
  valid: string[];
  invalid: string[];
  minted: { nowMs: number; randomBits: string; id: string }[];
  times: { id: string; ms: number | null }[];
  callSpans: { span: string; call: number; callSpan: string }[];
}

const identity = vectors<IdentityVectors>("line/identity");
const ids = vectors<RequestIdVectors>("line/request_id");

test.each(identity.cases)("a proof: $name", ({ proof, audience, requestId, userId, nowS, valid }) => {
  expect(verifyProof(parseIdentityKeys(identity.keys), proof, { audience, requestId, userId }, nowS)).toBe(valid);
});

test.each(identity.shown)("a user in a line: $name", ({ keys, userId, shown }) => {
  expect(shownUser(parseIdentityKeys(keys), userId)).toBe(shown);
});

test("a proof that is signed here is valid at its audience alone", () => {
  const keys = parseIdentityKeys(identity.keys);
  const claim = { audience: "backend", requestId: "01a20a154cc271afb17c548fca6d98ca", userId: "花子" };
  const proof = sign(keys, claim, 1795465497);
  expect(verifyProof(keys, proof, claim, 1795465500)).toBe(true);
  expect(verifyProof(keys, proof, { ...claim, audience: "other" }, 1795465500)).toBe(false);
});

test.each(ids.valid)("an id: %j", (id) => expect(isRequestId(id)).toBe(true));
test.each(ids.invalid)("no id: %j", (id) => expect(isRequestId(id)).toBe(false));
test.each(ids.minted)("a minted id: $id", ({ nowMs, randomBits, id }) => {
  expect(formatRequestId(nowMs, BigInt(randomBits))).toBe(id);
});
test.each(ids.times)("the time of $id", ({ id, ms }) => expect(timeMsOf(id)).toBe(ms));
test.each(ids.callSpans)("the span of call $call", ({ span, call, callSpan }) => {
  expect(callSpanId(span, call)).toBe(callSpan);
});

test.each(vectors<{ value: string; parsed: string[] | null }[]>("line/traceparent"))("traceparent $value", (vector) => {
  const found = parseTraceparent(vector.value);
  expect(found && [found.traceId, found.parentSpanId, found.flags]).toEqual(vector.parsed);
});

test.each(vectors<{ value: string; leftS: number | null }[]>("line/deadline"))("deadline $value", ({ value, leftS }) => {
  expect(parseDeadline(value)).toBe(leftS);
});

test("what a client is told is what the Python side tells", () => {
  expect(CODES).toEqual(vectors<{ codes: object }>("refusals").codes);
});

test("a line has at most 4,096 bytes and is one line", () => {
  const line = dump({ ts: 1, type: "http", path: "花\n".repeat(3000), reason: "x" });
  expect(Buffer.byteLength(line)).toBeLessThanOrEqual(4096);
  expect(line.indexOf("\n")).toBe(line.length - 1);
});

const text = vectors<{ redact: [string, string][]; dump: { fields: Record<string, unknown>; line: string }[] }>("line/text");

test.each(text.redact)("a path loses what may be personal: %s", (path, kept) => expect(redact(path)).toBe(kept));
test.each(text.dump)("a line is written: $line", ({ fields, line }) => expect(dump(fields)).toBe(line));

test("a line that nothing makes short enough keeps what finds it", () => {
  const many = Object.fromEntries(Array.from({ length: 900 }, (_, index) => [`field${index}`, index]));
  expect(JSON.parse(dump({ ts: 1, requestId: "id", ...many, outcome: "ok" }))).toEqual({ ts: 1, requestId: "id", outcome: "ok" });
});

test("lines that could not be written are told where the next one is", () => {
  const state = join(mkdtempSync(join(tmpdir(), "lines-")), "state");
  writeFileSync(state, "a file where the folder should be");
  const writer = openWriter(readSettings({ DODAI_SERVICE: "web", DODAI_STATE: state }));
  const told: string[] = [];
  const spoken = vi.spyOn(process.stdout, "write").mockImplementation((line) => told.push(String(line)) > 0);
  writer.write("lost\n");
  writer.write("lost\n");
  spoken.mockRestore();
  expect(told.map((line) => JSON.parse(line) as object)).toMatchObject([{ type: "event", name: "lines_dropped", count: 1 }]);
  expect(writer.dropped).toBe(2);
  rmSync(state);
  vi.spyOn(performance, "now").mockReturnValue(performance.now() + 5000);
  writer.write('{"kept":1}\n');
  vi.restoreAllMocks();
  const [file] = readdirSync(join(state, "lines"));
  const kept = readFileSync(join(state, "lines", file!), "utf8").trim().split("\n");
  expect(kept.map((line) => JSON.parse(line) as object)).toMatchObject([{ kept: 1 }, { name: "lines_dropped", count: 2 }]);
});

test.each([
  ["203.0.113.77", "203.0.113.0"],
  ["2001:db8:1:2::5", "2001:db8:1::"],
  ["::1", "::"],
  ["fe80::1%eth0", "fe80::"],
  ["example.com", null],
])("the network of %s", (address, network) => expect(networkOf(address)).toBe(network));

test.each(["u-1", "花子", "a b/c", "x@y.example:1", "it's(1)*!"])("a user id travels: %s", (userId) => {
  expect(decodeUser(encodeUser(userId))).toBe(userId);
  expect(encodeUser(userId)).toMatch(/^[\x21-\x7e]+$/);
});
