import type { LoaderFunctionArgs } from "@remix-run/node";

import { ask, BackendError } from "~/services/backend.server";
import { seeOther, visitorOf } from "~/services/session.server";
import { langOf } from "~/services/words.server";

export async function loader({ request }: LoaderFunctionArgs) {
  await visitorOf(request);
  const after = new URL(request.url).searchParams.get("after") ?? "";
  const seen = /^[0-9]{1,18}$/.test(after) ? after : "0";
  try {
    const { id } = await ask<{ id: string }>("NextQuestion", { lang: langOf(request), after: seen });
    return seeOther(`/questions/${id}`);
  } catch (error) {
    if (error instanceof BackendError && error.status === 404) return seeOther("/");
    throw error;
  }
}
