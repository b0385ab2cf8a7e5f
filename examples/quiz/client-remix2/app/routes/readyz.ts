import { json } from "@remix-run/node";

import { ask } from "~/services/backend.server";

/** Ready once the backend answers a question that only reads. */
export async function loader() {
  try {
    await ask("ListQuestions", { lang: "en", topic: "" });
    return json({ ready: true });
  } catch {
    return json({ ready: false }, { status: 503 });
  }
}
