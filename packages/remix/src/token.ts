// The CSRF token of spec/csrf: `d1.<kid4>.<hex seconds>.<base64url(pad32 ‖ pad32⊕HMAC-SHA256)>`, 103 characters.

import { createHash, createHmac, timingSafeEqual } from "node:crypto";

export type Verdict =
  | "valid"
  | "malformed"
  | "unknown_key"
  | "tampered"
  | "expired"
  | "future"
  | "foreign"
  | "foreign_anonymous";

/** One key of the ring, with a subkey for each purpose. */
interface Key {
  readonly kid: string;
  readonly mac: Buffer;
  readonly pad: Buffer;
  readonly bind: Buffer;
}

/** The keys that verify; the first one signs. */
export type KeyRing = readonly Key[];

/** A setting that cannot be used; thrown while the application starts. The message never contains a key. */
export class SettingError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly fix: string,
  ) {
    super(`${code}: ${message}\nfix: ${fix}`);
    this.name = "SettingError";
  }
}

export interface Visiting {
  /** The bytes of the visitor's cookie; null without one. */
  readonly nonce: Buffer | null;
  readonly subject: string;
}

const TOKEN = /^d1\.([A-Za-z0-9]{4})\.([0-9a-f]{8})\.([A-Za-z0-9_-]{85}[AQgw])$/;
const NONCE = /^[A-Za-z0-9_-]{21}[AQgw]$/;
const KID = /^[A-Za-z0-9]{4}$/;
const NAME = /^[A-Za-z0-9_-]{1,64}$/;
const NONCE_BYTES = 16;
const KEY_BYTES = 32;
const KEY_VARIETY = 12;
const CLOCK_SKEW_S = 60;
const GRACE_S = 300;
const SIGNED_IN = 0x80;
const MAC_DOMAIN = Buffer.from("dodai/csrf/1\0\0\0\x10", "latin1");

/**
 * The ring written as `kid:base64url,kid:base64url`, the signing key first. Throws DOD180 when an entry cannot be read,
 * a key is shorter than 32 bytes or visibly not random, or two ids are alike.
 */
export function parseKeyRing(text: string): KeyRing {
  const keys: Key[] = [];
  const entries = text.split(",").map((part) => part.trim()).filter(Boolean);
  for (const [index, entry] of entries.entries()) {
    const colon = entry.indexOf(":");
    const kid = colon < 0 ? entry : entry.slice(0, colon);
    const secret = colon < 0 ? null : decodeBase64url(entry.slice(colon + 1));
    if (!NAME.test(kid) || secret === null) throw malformedRing(`entry ${index + 1} is not \`kid:base64url\``);
    if (secret.length < KEY_BYTES)
      throw malformedRing(`key \`${kid}\` has ${secret.length} bytes, at least ${KEY_BYTES} are needed`);
    if (new Set(secret).size < KEY_VARIETY)
      throw malformedRing(`key \`${kid}\` is not random: it has only ${new Set(secret).size} different bytes`);
    const key = derive(kid, secret);
    if (keys.some((other) => other.kid === key.kid)) throw malformedRing(`key id \`${kid}\` stands twice`);
    keys.push(key);
  }
  if (keys.length === 0) throw malformedRing("the ring is empty");
  return keys;
}

/** Sixteen bytes for the cookie: one bit for "`login()` was called", 95 random ones, and when it was made. */
export function newNonce(random: Buffer, signedIn: boolean, nowS: number): Buffer {
  const nonce = Buffer.from(random.subarray(0, NONCE_BYTES));
  nonce[0] = signedIn ? nonce[0]! | SIGNED_IN : nonce[0]! & ~SIGNED_IN;
  nonce.writeUInt32BE(nowS >>> 0, 12);
  return nonce;
}

/** The nonce of a visitor who has a subject but no cookie yet: always the same, so that two tabs agree. */
export function firstNonce(ring: KeyRing, subject: string): Buffer {
  const nonce = hmac(ring[0]!.bind, Buffer.from(`first nonce${subject}`)).subarray(0, NONCE_BYTES);
  nonce[0] = nonce[0]! | SIGNED_IN;
  return nonce;
}

/** True when `token`, which has the form of one, was issued within five minutes of the making of `nonce`. */
export function isContemporary(token: string, nonce: Buffer): boolean {
  return Math.abs(Number.parseInt(token.slice(8, 16), 16) - nonce.readUInt32BE(12)) <= GRACE_S;
}

export function isAnonymous(nonce: Buffer): boolean {
  return (nonce[0]! & SIGNED_IN) === 0;
}

export function encodeNonce(nonce: Buffer): string {
  return nonce.toString("base64url");
}

/** The nonce in a cookie value, or null when the value is not one of ours. */
export function decodeNonce(text: string): Buffer | null {
  return NONCE.test(text) ? Buffer.from(text, "base64url") : null;
}

/** A new token; `random` is sixteen fresh random bytes, `nowS` seconds since 1970. */
export function issue(
  ring: KeyRing,
  visiting: { nonce: Buffer; subject: string; nowS: number; random: Buffer },
): string {
  const key = ring[0]!;
  const binding = bind(key, visiting.nonce, visiting.subject);
  const time = (visiting.nowS >>> 0).toString(16).padStart(8, "0");
  const random = visiting.random.subarray(0, 16);
  const pad = Buffer.concat([random, xor(binding, hmac(key.pad, random).subarray(0, 16))]);
  const body = Buffer.concat([pad, xor(pad, macOf(key, binding, time))]);
  return `d1.${key.kid}.${time}.${body.toString("base64url")}`;
}

/** What `token` is worth for a visitor with this nonce and subject. */
export function verify(
  ring: KeyRing,
  token: string,
  visiting: Visiting & { nowS: number; maxAgeS: number },
): Verdict {
  const match = TOKEN.exec(token);
  if (match === null) return "malformed";
  const [, kid, time, encoded] = match as unknown as [string, string, string, string];
  const key = ring.find((one) => one.kid === kid);
  if (key === undefined) return "unknown_key";
  const body = Buffer.from(encoded, "base64url");
  const pad = body.subarray(0, 32);
  const mac = xor(pad, body.subarray(32));
  const binding = xor(pad.subarray(16), hmac(key.pad, pad.subarray(0, 16)).subarray(0, 16));
  if (!timingSafeEqual(mac, macOf(key, binding, time))) return "tampered";
  const ageS = visiting.nowS - Number.parseInt(time, 16);
  if (ageS > visiting.maxAgeS) return "expired";
  if (ageS < -CLOCK_SKEW_S) return "future";
  if (visiting.nonce !== null && timingSafeEqual(binding, bind(key, visiting.nonce, visiting.subject))) return "valid";
  return binding[0]! & SIGNED_IN ? "foreign" : "foreign_anonymous";
}

/** The bytes of unpadded or padded base64url, or null. */
export function decodeBase64url(text: string): Buffer | null {
  const bare = text.replace(/=+$/, "");
  return /^[A-Za-z0-9_-]+$/.test(bare) && bare.length % 4 !== 1 ? Buffer.from(bare, "base64url") : null;
}

function derive(kid: string, secret: Buffer): Key {
  const short = KID.test(kid) ? kid : createHash("sha256").update(kid).digest("hex").slice(0, 4);
  const subkey = (purpose: string): Buffer => hmac(secret, Buffer.from(`dodai csrf v1 ${purpose}`));
  return { kid: short, mac: subkey("mac"), pad: subkey("pad"), bind: subkey("bind") };
}

function bind(key: Key, nonce: Buffer, subject: string): Buffer {
  const binding = hmac(key.bind, Buffer.concat([Buffer.of(nonce.length), nonce, Buffer.from(subject)])).subarray(0, 16);
  const anonymous = subject === "" && isAnonymous(nonce);
  binding[0] = anonymous ? binding[0]! & ~SIGNED_IN : binding[0]! | SIGNED_IN;
  return binding;
}

function macOf(key: Key, binding: Buffer, time: string): Buffer {
  return hmac(key.mac, Buffer.concat([MAC_DOMAIN, binding, Buffer.from(time)]));
}

function hmac(key: Buffer, message: Buffer): Buffer {
  return createHmac("sha256", key).update(message).digest();
}

function xor(left: Buffer, right: Buffer): Buffer {
  return Buffer.from(left.map((byte, index) => byte ^ right[index]!));
}

function malformedRing(message: string): SettingError {
  return new SettingError(
    "DOD180",
    `CSRF key ring: ${message}`,
    "set `DODAI_CSRF_KEYS` to `kid:base64url` of 32 random bytes, for example `k001:` and `openssl rand -base64 32`",
  );
}
