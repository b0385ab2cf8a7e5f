// What the review desk tells us. It has no cookies, so no CSRF token: its signature stands in for it, and dodai.toml
// says so (`[[csrf.exemption]]`).

import { createHmac, timingSafeEqual } from "node:crypto";

import { data } from "react-router";

import type { Route } from "./+types/review";
import { ask } from "~/services/backend.server";
import { jsonOf } from "~/services/page.server";
import { settings } from "~/services/settings.server";

const TOLERANCE_S = 300;

/** The review desk decided about a report: `{"report": 7, "decision": "keep" | "withdraw"}`; idempotent. */
export async function action({ request }: Route.ActionArgs) {
  const body = await request.text();
  if (!isSigned(body, request.headers.get("x-signature") ?? "", settings().webhookKeys, Date.now() / 1000)) throw data(null, 401);
  const said = jsonOf(body) as { report?: unknown; decision?: unknown } | null;
  const { report, decision } = said ?? {};
  if (!Number.isSafeInteger(report) || (report as number) < 1 || typeof decision !== "string") throw data(null, 422);
  await ask("DecideReport", { reportId: report, decision });
  return Response.json({ report, decision });
}

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
