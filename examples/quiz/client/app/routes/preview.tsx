import type { Route } from "./+types/preview";
import { FormsOnly } from "~/components/common";
import { Editor } from "~/components/editor";
import { csrf } from "~/services/csrf.server";
import { draftOf } from "~/services/page.server";
import { signedIn } from "~/services/session.server";

/** How the question would look; nothing is stored. */
export async function action({ request, context }: Route.ActionArgs) {
  await csrf.verify(request);
  signedIn(context);
  return { draft: await draftOf(request) };
}

export default function Preview({ actionData }: Route.ComponentProps) {
  return actionData === undefined ? <FormsOnly /> : <Editor draft={actionData.draft} preview />;
}
