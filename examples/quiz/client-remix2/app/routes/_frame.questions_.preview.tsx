import { type ActionFunctionArgs, json } from "@remix-run/node";
import { useActionData } from "@remix-run/react";

import { Editor } from "~/components/editor";
import { csrf } from "~/services/csrf.server";
import { draftOf } from "~/services/page.server";
import { signedIn } from "~/services/session.server";

/** How the question would look; nothing is stored. */
export async function action({ request }: ActionFunctionArgs) {
  await csrf.verify(request);
  await signedIn(request);
  return json({ draft: await draftOf(request) });
}

export default function Preview() {
  const data = useActionData<typeof action>();
  return data === undefined ? null : <Editor {...data} preview />;
}
