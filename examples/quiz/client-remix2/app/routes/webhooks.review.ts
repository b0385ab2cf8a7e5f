// What the review desk tells us. It has no cookies, so no CSRF token: its signature stands in for it, and dodai.toml
// says so (`[[csrf.exemption]]`).

import { type ActionFunctionArgs, json } from "@remix-run/node";

import { ask, asResponse } from "~/services/backend.server";
import { jsonOf } from "~/services/page.server";
import { settings } from "~/services/settings.server";
import { isSigned } from "~/services/signature.server";

/** The review desk decided about a report: `{"report": 7, "decision": "keep" | "withdraw"}`; idempotent. */
export async function action({ request }: ActionFunctionArgs) {
  const body = await request.text();
  const signature = request.headers.get("x-signature") ?? "";
  if (!isSigned(body, signature, settings().webhookKeys, Date.now() / 1000)) throw new Response(null, { status: 401 });
  const said = jsonOf(body) as { report?: unknown; decision?: unknown } | null;
  const { report, decision } = said ?? {};
  if (!Number.isSafeInteger(report) || (report as number) < 1 || typeof decision !== "string")
    throw new Response(null, { status: 422 });
  await ask("DecideReport", { reportId: report, decision }).catch((error: unknown) => {
    throw asResponse(error);
  });
  return json({ report, decision });
}
