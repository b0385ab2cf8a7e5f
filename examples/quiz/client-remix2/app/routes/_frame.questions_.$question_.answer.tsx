import { type ActionFunctionArgs, json } from "@remix-run/node";
import { useActionData } from "@remix-run/react";

import { Ask, Outcome } from "~/components/question";
import { ask, asResponse, type Question, questionOf, type Verdict } from "~/services/backend.server";
import { csrf } from "~/services/csrf.server";
import { visitorOf } from "~/services/session.server";

/** The verdict itself rather than a redirect to it: the same form again gets the same verdict (`attempt`). */
export async function action({ request, params }: ActionFunctionArgs) {
  await csrf.verify(request);
  await visitorOf(request);
  const questionId = questionOf(params.question);
  const form = await request.formData();
  const [choice, attempt] = [String(form.get("choice") ?? ""), String(form.get("attempt") ?? "")];
  const refused = (error: unknown): never => {
    throw asResponse(error);
  };
  if (!/^[1-4]$/.test(choice)) {
    const question = await ask<Question>("GetQuestion", { id: questionId }).catch(refused);
    return json({ question, attempt, verdict: null }, { status: 422 });
  }
  const verdict = await ask<Verdict>("AnswerQuestion", { attempt, questionId, position: Number(choice) }).catch(refused);
  return json({ question: verdict.question, attempt, verdict });
}

export default function AnswerPage() {
  const data = useActionData<typeof action>();
  if (data === undefined) return null;
  if (data.verdict === null) return <Ask question={data.question} attempt={data.attempt} problem="choice" />;
  return <Outcome question={data.question} position={data.verdict.position} right={data.verdict.right} />;
}
