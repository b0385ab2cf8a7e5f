import { randomUUID } from "node:crypto";

import { json, type LoaderFunctionArgs } from "@remix-run/node";
import { useLoaderData } from "@remix-run/react";

import { Ask } from "~/components/question";
import { ask, asResponse, type Question, questionOf } from "~/services/backend.server";
import { visitorOf } from "~/services/session.server";

export async function loader({ request, params }: LoaderFunctionArgs) {
  await visitorOf(request);
  const id = questionOf(params.question);
  const question = await ask<Question>("GetQuestion", { id }).catch((error) => {
    throw asResponse(error);
  });
  const { lang, topic, prompt, choices } = question;
  return json({ question: { id: question.id, lang, topic, prompt, choices }, attempt: randomUUID() });
}

export default function QuestionPage() {
  const { question, attempt } = useLoaderData<typeof loader>();
  return <Ask question={question} attempt={attempt} />;
}
