import { isRouteErrorResponse } from "react-router";

import type { Route } from "./+types/next";
import { ask } from "~/services/backend.server";
import { seeOther } from "~/services/session.server";
import { langOf } from "~/services/words.server";

export async function loader({ request }: Route.LoaderArgs) {
  const after = new URL(request.url).searchParams.get("after") ?? "";
  const seen = /^[0-9]{1,18}$/.test(after) ? after : "0";
  const found = await ask<{ id: string }>("NextQuestion", { lang: langOf(request), after: seen }).catch((error: unknown) => {
    if (statusOf(error) === 404) return null;
    throw error;
  });
  return seeOther(found === null ? "/" : `/questions/${found.id}`);
}

/** The status of what `data(…)` made, or of a response. */
function statusOf(error: unknown): number | undefined {
  if (isRouteErrorResponse(error)) return error.status;
  return (error as { init?: { status?: number } | null }).init?.status;
}
