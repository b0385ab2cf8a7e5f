import type { Route } from "./+types/report";
import { ask, questionOf } from "~/services/backend.server";
import { csrf } from "~/services/csrf.server";
import { seeOther } from "~/services/session.server";

export async function action({ request, params }: Route.ActionArgs) {
  await csrf.verify(request);
  const questionId = questionOf(params.question);
  const reason = String((await request.formData()).get("reason") ?? "");
  await ask("ReportQuestion", { questionId, reason });
  return seeOther(`/questions/${questionId}`);
}

// A page, so that what goes wrong is told on one.
export { FormsOnly as default } from "~/components/common";
