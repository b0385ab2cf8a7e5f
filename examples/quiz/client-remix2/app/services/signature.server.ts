import { createHmac, timingSafeEqual } from "node:crypto";

const TOLERANCE_S = 300;

/**
 * Whether `t=SECONDS,v1=HEX` is HMAC-SHA256 over `SECONDS.BODY` by one of the keys, at most five minutes old. The time is
 * under the signature, so that a request that was overheard cannot be sent again later.
 */
export function isSigned(body: string, signature: string, keys: readonly string[], nowS: number): boolean {
  const match = /^t=([0-9]{1,12}),v1=([0-9a-f]{64})$/.exec(signature);
  if (match === null || Math.abs(nowS - Number(match[1])) > TOLERANCE_S) return false;
  const given = Buffer.from(match[2]!, "hex");
  return keys.some((key) => timingSafeEqual(createHmac("sha256", key).update(`${match[1]}.${body}`).digest(), given));
}
