import { data } from "react-router";

import type { Route } from "./+types/answer";
import { FormsOnly } from "~/components/common";
import { QuestionPage } from "~/components/question";
import { ask, type Question, questionOf, type Verdict } from "~/services/backend.server";
import { csrf } from "~/services/csrf.server";

/** The verdict itself rather than a redirect to it: the same form again gets the same verdict (`attempt`). */
export async function action({ request, params }: Route.ActionArgs) {
  await csrf.verify(request);
  const questionId = questionOf(params.question);
  const form = await request.formData();
  const [choice, attempt] = [String(form.get("choice") ?? ""), String(form.get("attempt") ?? "")];
  if (!/^[1-4]$/.test(choice)) {
    const { correct: _, explanation: __, ...question } = await ask<Question>("GetQuestion", { id: questionId });
    return data({ question, attempt, answer: null, problem: "choice" }, 422);
  }
  const { question, position, right } = await ask<Verdict>("AnswerQuestion", { attempt, questionId, position: Number(choice) });
  return data({ question, attempt, answer: { position, right }, problem: undefined }, 200);
}

export default function Answer({ actionData }: Route.ComponentProps) {
  return actionData === undefined ? <FormsOnly /> : <QuestionPage {...actionData} />;
}
