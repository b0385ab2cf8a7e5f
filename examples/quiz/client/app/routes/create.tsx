// `/questions` takes the form of `/questions/new`; there is no page to read here.

import { data } from "react-router";

import type { Route } from "./+types/create";
import { FormsOnly } from "~/components/common";
import { Editor } from "~/components/editor";
import { ask, InputError } from "~/services/backend.server";
import { csrf } from "~/services/csrf.server";
import { draftOf } from "~/services/page.server";
import { seeOther } from "~/services/session.server";

export async function action({ request }: Route.ActionArgs) {
  await csrf.verify(request);
  const draft = await draftOf(request);
  try {
    const { id } = await ask<{ id: string }>("CreateQuestion", draft);
    return seeOther(`/questions/${id}`);
  } catch (error) {
    if (error instanceof InputError) return data({ draft, problems: error.problems }, 422);
    throw error;
  }
}

export default function Create({ actionData }: Route.ComponentProps) {
  return actionData === undefined ? <FormsOnly /> : <Editor {...actionData} />;
}
