import type { ActionFunctionArgs } from "@remix-run/node";

import { ask, asResponse, questionOf } from "~/services/backend.server";
import { csrf } from "~/services/csrf.server";
import { seeOther, visitorOf } from "~/services/session.server";

export async function action({ request, params }: ActionFunctionArgs) {
  await csrf.verify(request);
  await visitorOf(request);
  const questionId = questionOf(params.question);
  const reason = String((await request.formData()).get("reason") ?? "");
  await ask("ReportQuestion", { questionId, reason }).catch((error: unknown) => {
    throw asResponse(error);
  });
  return seeOther(`/questions/${questionId}`);
}

// A page, so that what goes wrong is told on one.
export { FormsOnly as default } from "~/components/common";
