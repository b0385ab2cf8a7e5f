import { data } from "react-router";

import type { Route } from "./+types/edit";
import { Editor } from "~/components/editor";
import { ask, type Question, questionOf } from "~/services/backend.server";
import { signedIn } from "~/services/session.server";

export async function loader({ params, context }: Route.LoaderArgs) {
  const question = await ask<Question>("GetQuestion", { id: questionOf(params.question) });
  if (!question.mine) {
    signedIn(context);
    throw data(null, 403);
  }
  const { id, lang, topic, prompt, choices, correct, explanation } = question;
  return { draft: { id, lang, topic, prompt, choices, correct, explanation } };
}

export default function Edit({ loaderData }: Route.ComponentProps) {
  return <Editor draft={loaderData.draft} />;
}
