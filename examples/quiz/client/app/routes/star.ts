import { data } from "react-router";

import type { Route } from "./+types/star";
import { ask, questionOf } from "~/services/backend.server";
import { csrf } from "~/services/csrf.server";
import { jsonOf } from "~/services/page.server";

/** `{"starred": true}` in, the same out: what is said twice is true once. */
export async function action({ request, params }: Route.ActionArgs) {
  await csrf.verify(request);
  if (request.method !== "PUT") throw data(null, 405);
  const said = jsonOf(await request.text()) as { starred?: unknown } | null;
  if (typeof said?.starred !== "boolean") throw data(null, 422);
  const { starred } = await ask<{ starred: boolean }>("StarQuestion", {
    questionId: questionOf(params.question),
    starred: said.starred,
  });
  return Response.json({ starred });
}
