// Every vector of spec/csrf/token.json.

import { expect, test } from "vitest";

import { decodeNonce, encodeNonce, firstNonce, isAnonymous, issue, newNonce, parseKeyRing, verify, type Verdict } from "../src/token.js";
import { vectors } from "./spec.js";

interface TokenVectors {
  issue: { name: string; ring: string; nonce: string; subject: string; now: number; random: string; token: string }[];
  verify: {
    name: string;
    ring: string;
    token: string;
    nonce: string | null;
    subject: string;
    now: number;
    maxAge: number;
    verdict: Verdict;
  }[];
  nonce: {
    good: { text: string; hex: string; anonymous: boolean }[];
    bad: string[];
    made: { random: string; signedIn: boolean; now: number; text: string }[];
    first: { ring: string; subject: string; text: string }[];
  };
  ring: { good: [string, string, string[]][]; bad: [string, string][] };
}

const spec = vectors<TokenVectors>("csrf/token");

test.each(spec.issue)("a token is issued: $name", (vector) => {
  const { ring, subject, now: nowS, random } = vector;
  const nonce = decodeNonce(vector.nonce)!;
  expect(issue(parseKeyRing(ring), { nonce, subject, nowS, random: Buffer.from(random, "hex") })).toBe(vector.token);
});

test.each(spec.verify)("a token is judged: $name", (vector) => {
  const nonce = vector.nonce === null ? null : decodeNonce(vector.nonce);
  const { subject, now: nowS, maxAge: maxAgeS } = vector;
  expect(verify(parseKeyRing(vector.ring), vector.token, { nonce, subject, nowS, maxAgeS })).toBe(vector.verdict);
});

test.each(spec.nonce.good)("a cookie is read: $text", ({ text, hex, anonymous }) => {
  const nonce = decodeNonce(text)!;
  expect([nonce.toString("hex"), isAnonymous(nonce)]).toEqual([hex, anonymous]);
});

test.each(spec.nonce.made)("a cookie is made: $text", ({ random, signedIn, now, text }) => {
  expect(encodeNonce(newNonce(Buffer.from(random, "hex"), signedIn, now))).toBe(text);
});

test.each(spec.nonce.first)("the first cookie of $subject", ({ ring, subject, text }) => {
  expect(encodeNonce(firstNonce(parseKeyRing(ring), subject))).toBe(text);
});

test.each(spec.nonce.bad)("a foreign cookie is not read: %j", (text) => {
  expect(decodeNonce(text)).toBeNull();
});

test.each(spec.ring.good)("a key ring is read: %s", (_, text, kids) => {
  expect(parseKeyRing(text).map((key) => key.kid)).toEqual(kids);
});

test.each(spec.ring.bad)("a key ring is refused: %s", (_, text) => {
  expect(() => parseKeyRing(text)).toThrow("DOD180");
});
