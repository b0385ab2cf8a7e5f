// `/questions` takes the form of `/questions/new`; there is no page to read here.

import type { ActionFunctionArgs } from "@remix-run/node";

import { ask, asResponse } from "~/services/backend.server";
import { csrf } from "~/services/csrf.server";
import { seeOther, signedIn } from "~/services/session.server";

export async function action({ request }: ActionFunctionArgs) {
  await csrf.verify(request);
  await signedIn(request);
  const form = await request.formData();
  const text = (name: string): string => String(form.get(name) ?? "");
  const correct = /^[1-4]$/.test(text("correct")) ? Number(text("correct")) : 0;
  const choices = [1, 2, 3, 4].map((n) => text(`choice${n}`));
  const [lang, topic, prompt, explanation] = ["lang", "topic", "prompt", "explanation"].map(text);
  try {
    const { id } = await ask<{ id: string }>("CreateQuestion", { lang, topic, prompt, choices, correct, explanation });
    return seeOther(`/questions/${id}`);
  } catch (error) {
    throw asResponse(error);
  }
}
