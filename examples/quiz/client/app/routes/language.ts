import { data } from "react-router";

import type { Route } from "./+types/language";
import { csrf } from "~/services/csrf.server";
import { ownPath, seeOther } from "~/services/session.server";

const A_YEAR_S = 365 * 24 * 3600;

export async function action({ request }: Route.ActionArgs) {
  await csrf.verify(request);
  const form = await request.formData();
  const lang = String(form.get("lang") ?? "");
  if (lang !== "en" && lang !== "ja") throw data(null, 422);
  const cookie = `lang=${lang}; Path=/; Max-Age=${A_YEAR_S}; SameSite=Lax`;
  return seeOther(ownPath(String(form.get("back") ?? "")), { "set-cookie": cookie });
}

// A page, so that what goes wrong is told on one.
export { FormsOnly as default } from "~/components/common";
