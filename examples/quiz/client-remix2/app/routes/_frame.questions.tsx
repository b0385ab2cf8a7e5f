// `/questions` takes the form of `/questions/new`; there is no page to read here.

import { type ActionFunctionArgs, json } from "@remix-run/node";
import { useActionData } from "@remix-run/react";

import { Editor } from "~/components/editor";
import { ask, problemsIn } from "~/services/backend.server";
import { csrf } from "~/services/csrf.server";
import { draftOf } from "~/services/page.server";
import { seeOther, signedIn } from "~/services/session.server";

export async function action({ request }: ActionFunctionArgs) {
  await csrf.verify(request);
  await signedIn(request);
  const draft = await draftOf(request);
  try {
    const { id } = await ask<{ id: string }>("CreateQuestion", draft);
    return seeOther(`/questions/${id}`);
  } catch (error) {
    return json({ draft, problems: problemsIn(error) }, { status: 422 });
  }
}

export default function Create() {
  const data = useActionData<typeof action>();
  return data === undefined ? null : <Editor {...data} />;
}
