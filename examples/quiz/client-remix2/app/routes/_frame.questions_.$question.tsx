import { randomUUID } from "node:crypto";

import { type ActionFunctionArgs, json, type LoaderFunctionArgs } from "@remix-run/node";
import { useActionData, useLoaderData } from "@remix-run/react";

import { Editor } from "~/components/editor";
import { Ask, Marks } from "~/components/question";
import { ask, asResponse, problemsIn, type Question, questionOf } from "~/services/backend.server";
import { csrf } from "~/services/csrf.server";
import { draftOf } from "~/services/page.server";
import { seeOther, signedIn, visitorOf } from "~/services/session.server";

export async function loader({ request, params }: LoaderFunctionArgs) {
  await visitorOf(request);
  const id = questionOf(params.question);
  const question = await ask<Question>("GetQuestion", { id }).catch((error) => {
    throw asResponse(error);
  });
  const { lang, topic, prompt, choices, mine, starred } = question;
  return json({ question: { id: question.id, lang, topic, prompt, choices, mine, starred }, attempt: randomUUID() });
}

/** One form, two buttons: `intent` says whether the question is saved or deleted. */
export async function action({ request, params }: ActionFunctionArgs) {
  await csrf.verify(request);
  await signedIn(request);
  const id = questionOf(params.question);
  const intent = request.method === "DELETE" ? "delete" : (await request.clone().formData()).get("intent");
  const draft = intent === "save" ? await draftOf(request, id) : null;
  try {
    if (intent === "delete") {
      await ask("DeleteQuestion", { id });
      return seeOther("/me");
    }
    if (draft === null) throw new Response(null, { status: 422 });
    await ask("UpdateQuestion", draft);
    return seeOther(`/questions/${id}`);
  } catch (error) {
    if (draft === null) throw error instanceof Response ? error : asResponse(error);
    return json({ draft, problems: problemsIn(error) }, { status: 422 });
  }
}

export default function QuestionPage() {
  const { question, attempt } = useLoaderData<typeof loader>();
  const changed = useActionData<typeof action>();
  if (changed !== undefined) return <Editor {...changed} />;
  return (
    <article className="narrow">
      <Ask question={question} attempt={attempt} />
      <Marks key={question.id} question={question} />
    </article>
  );
}
