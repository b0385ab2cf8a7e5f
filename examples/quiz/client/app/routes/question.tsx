import { randomUUID } from "node:crypto";

import { data } from "react-router";

import type { Route } from "./+types/question";
import { Editor } from "~/components/editor";
import { QuestionPage } from "~/components/question";
import { ask, InputError, type Question, questionOf } from "~/services/backend.server";
import { csrf } from "~/services/csrf.server";
import { draftOf } from "~/services/page.server";
import { seeOther } from "~/services/session.server";

export async function loader({ params }: Route.LoaderArgs) {
  const { correct: _, explanation: __, ...question } = await ask<Question>("GetQuestion", { id: questionOf(params.question) });
  return { question, attempt: randomUUID() };
}

/** One form, two buttons: `intent` says whether the question is saved or deleted. */
export async function action({ request, params }: Route.ActionArgs) {
  await csrf.verify(request);
  const id = questionOf(params.question);
  const intent = request.method === "DELETE" ? "delete" : (await request.clone().formData()).get("intent");
  if (intent === "delete") {
    await ask("DeleteQuestion", { id });
    return seeOther("/me");
  }
  if (intent !== "save") throw data(null, 422);
  const draft = await draftOf(request, id);
  try {
    await ask("UpdateQuestion", draft);
  } catch (error) {
    if (error instanceof InputError) return data({ draft, problems: error.problems }, 422);
    throw error;
  }
  return seeOther(`/questions/${id}`);
}

export default function OneQuestion({ loaderData, actionData }: Route.ComponentProps) {
  return actionData === undefined ? <QuestionPage key={loaderData.question.id} {...loaderData} /> : <Editor {...actionData} />;
}
