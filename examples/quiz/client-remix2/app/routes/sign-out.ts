import type { ActionFunctionArgs } from "@remix-run/node";

import { csrf } from "~/services/csrf.server";
import { end, seeOther, sessionOf } from "~/services/session.server";

export async function action({ request }: ActionFunctionArgs) {
  await csrf.verify(request);
  csrf.logout(request);
  return seeOther("/", { "set-cookie": await end(await sessionOf(request)) });
}
