// Who is calling: the proof that travels with the request id and the user id between tiers (spec/line/identity.json).

import { createHmac, timingSafeEqual } from "node:crypto";

import { decodeBase64url, SettingError } from "./token.js";

export const PROOF_HEADER = "x-identity-proof";
export const USER_HEADER = "x-user-id";
const LIFETIME_S = 60;
const CLOCK_SKEW_S = 5;
const MIN_KEY_BYTES = 16;
const MAX_USER_CHARS = 128;
const DOMAIN = "dodai identity v1";
const DOMAINS: Record<string, string> = { "1": DOMAIN, "2": "dodai identity v2" };
const KEY_ID = /^[A-Za-z0-9_-]{1,16}$/;
const PROOF = /^p([12])\.([A-Za-z0-9_-]{1,16})\.([0-9a-f]{8,10})\.([A-Za-z0-9_-]{43})$/;

/** Signing keys by id; the first one signs, all of them verify. */
export type IdentityKeys = readonly { readonly id: string; readonly key: Buffer }[];

/** What a proof is about. One of version 2 names no request; version 1, which does, is still believed. */
export interface Claim {
  readonly audience: string;
  readonly requestId: string;
  readonly userId: string;
}

/** The ring written as `kid:base64url,kid:base64url`; throws DOD480, without the key, when malformed. */
export function parseIdentityKeys(text: string): IdentityKeys {
  const keys: { id: string; key: Buffer }[] = [];
  for (const item of text.split(",").map((part) => part.trim()).filter(Boolean)) {
    const colon = item.indexOf(":");
    const id = colon < 0 ? item : item.slice(0, colon);
    const secret = colon < 0 ? null : decodeBase64url(item.slice(colon + 1));
    if (!KEY_ID.test(id)) throw unusable("a key id has 1 to 16 letters, digits, `-` or `_`, then `:`");
    if (secret === null) throw unusable(`the key \`${id}\` is not base64url`);
    if (secret.length < MIN_KEY_BYTES) throw unusable(`the key \`${id}\` is shorter than ${MIN_KEY_BYTES} bytes`);
    if (keys.some((key) => key.id === id)) throw unusable(`the key id \`${id}\` is used twice`);
    keys.push({ id, key: createHmac("sha256", secret).update(DOMAIN).digest() });
  }
  return keys;
}

/** `p2.<kid>.<hex expiry>.<base64url HMAC-SHA256>`, valid for 60 seconds at the audience only. */
export function sign(keys: IdentityKeys, claim: Omit<Claim, "requestId">, nowS: number): string {
  const expiry = (Math.floor(nowS) + LIFETIME_S).toString(16).padStart(8, "0");
  const { id, key } = keys[0]!;
  return `p2.${id}.${expiry}.${macOf(key, "2", [claim.audience, claim.userId, expiry]).toString("base64url")}`;
}

/** True when `proof` was made by a holder of the ring for exactly this claim and has not expired. */
export function verifyProof(keys: IdentityKeys, proof: string, claim: Claim, nowS: number): boolean {
  const match = PROOF.exec(proof);
  if (match === null) return false;
  const [, version, id, expiry, mac] = match as unknown as [string, string, string, string, string];
  const found = keys.find((key) => key.id === id);
  const remaining = Number.parseInt(expiry, 16) - nowS;
  if (found === undefined || remaining < -CLOCK_SKEW_S || remaining > LIFETIME_S + CLOCK_SKEW_S) return false;
  const request = version === "1" ? [claim.requestId] : [];
  const about = [claim.audience, ...request, claim.userId, expiry];
  const expected = macOf(found.key, version, about).toString("base64url");
  return timingSafeEqual(Buffer.from(mac), Buffer.from(expected));
}

/** The user as lines show it under `user_id = "hmac"`: 16 hex digits under the oldest key, whose id sorts first. */
export function shownUser(keys: IdentityKeys, userId: string): string {
  const oldest = keys.reduce((first, key) => (key.id < first.id ? key : first));
  return createHmac("sha256", oldest.key).update(`line user ${userId}`).digest("hex").slice(0, 16);
}

/** `userId` as a header or metadata value: percent-encoded, so that any alphabet travels. */
export function encodeUser(userId: string): string {
  return encodeURIComponent(userId)
    .replace(/%40/g, "@")
    .replace(/%3A/g, ":")
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** The user id of a header or metadata value, at most 128 characters; empty when it cannot be read. */
export function decodeUser(value: string): string {
  try {
    return [...decodeURIComponent(value.slice(0, MAX_USER_CHARS * 12))].slice(0, MAX_USER_CHARS).join("");
  } catch {
    return "";
  }
}

function macOf(key: Buffer, version: string, about: readonly string[]): Buffer {
  const mac = createHmac("sha256", key);
  for (const part of [DOMAINS[version]!, ...about]) {
    const bytes = Buffer.from(part);
    const size = Buffer.alloc(4);
    size.writeUInt32BE(bytes.length);
    mac.update(size).update(bytes);
  }
  return mac.digest();
}

function unusable(what: string): SettingError {
  return new SettingError(
    "DOD480",
    `\`DODAI_IDENTITY_KEYS\`: ${what}`,
    "correct `DODAI_IDENTITY_KEYS` and start the service again",
  );
}
