import type { ActionFunctionArgs } from "@remix-run/node";

import { csrf } from "~/services/csrf.server";
import { ownPath, seeOther } from "~/services/session.server";

const A_YEAR_S = 365 * 24 * 3600;

export async function action({ request }: ActionFunctionArgs) {
  await csrf.verify(request);
  const form = await request.formData();
  const lang = String(form.get("lang") ?? "");
  if (lang !== "en" && lang !== "ja") return new Response(null, { status: 422 });
  const cookie = `lang=${lang}; Path=/; Max-Age=${A_YEAR_S}; SameSite=Lax`;
  return seeOther(ownPath(String(form.get("back") ?? "")), { "set-cookie": cookie });
}
