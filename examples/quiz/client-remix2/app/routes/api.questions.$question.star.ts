import { type ActionFunctionArgs, json } from "@remix-run/node";

import { ask, asResponse, questionOf } from "~/services/backend.server";
import { csrf } from "~/services/csrf.server";
import { jsonOf } from "~/services/page.server";
import { visitorOf } from "~/services/session.server";

/** `{"starred": true}` in, the same out: what is said twice is true once. */
export async function action({ request, params }: ActionFunctionArgs) {
  await csrf.verify(request);
  await visitorOf(request);
  if (request.method !== "PUT") throw new Response(null, { status: 405 });
  const said = jsonOf(await request.text()) as { starred?: unknown } | null;
  if (typeof said?.starred !== "boolean") throw new Response(null, { status: 422 });
  const sent = { questionId: questionOf(params.question), starred: said.starred };
  const { starred } = await ask<{ starred: boolean }>("StarQuestion", sent).catch((error: unknown) => {
    throw asResponse(error);
  });
  return json({ starred });
}
