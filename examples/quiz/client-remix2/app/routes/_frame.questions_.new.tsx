import { json, type LoaderFunctionArgs } from "@remix-run/node";
import { useLoaderData } from "@remix-run/react";

import { Editor } from "~/components/editor";
import type { Draft } from "~/services/backend.server";
import { signedIn } from "~/services/session.server";
import { langOf } from "~/services/words.server";

export async function loader({ request }: LoaderFunctionArgs) {
  await signedIn(request);
  const draft: Draft = { id: "0", lang: langOf(request), topic: "", prompt: "", choices: ["", "", "", ""], correct: 0, explanation: "" };
  return json({ draft });
}

export default function NewQuestion() {
  return <Editor {...useLoaderData<typeof loader>()} />;
}
