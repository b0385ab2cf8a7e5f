import { json, type LoaderFunctionArgs } from "@remix-run/node";
import { useLoaderData } from "@remix-run/react";

import { Editor } from "~/components/editor";
import { ask, asResponse, type Question, questionOf } from "~/services/backend.server";
import { signedIn } from "~/services/session.server";

export async function loader({ request, params }: LoaderFunctionArgs) {
  await signedIn(request);
  const question = await ask<Question>("GetQuestion", { id: questionOf(params.question) }).catch((error) => {
    throw asResponse(error);
  });
  if (!question.mine) throw new Response(null, { status: 403 });
  const { id, lang, topic, prompt, choices, correct, explanation } = question;
  return json({ draft: { id, lang, topic, prompt, choices, correct, explanation } });
}

export default function Edit() {
  return <Editor {...useLoaderData<typeof loader>()} />;
}
