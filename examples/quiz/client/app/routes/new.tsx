import type { Route } from "./+types/new";
import { Editor } from "~/components/editor";
import type { Draft } from "~/services/backend.server";
import { signedIn } from "~/services/session.server";
import { langOf } from "~/services/words.server";

export function loader({ request, context }: Route.LoaderArgs) {
  signedIn(context);
  const draft: Draft = { id: "0", lang: langOf(request), topic: "", prompt: "", choices: ["", "", "", ""], correct: 0, explanation: "" };
  return { draft };
}

export default function New({ loaderData }: Route.ComponentProps) {
  return <Editor draft={loaderData.draft} />;
}
