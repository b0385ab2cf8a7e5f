import type { LoaderFunctionArgs } from "@remix-run/node";

import { csrf } from "~/services/csrf.server";
import { arrive } from "~/services/identity.server";
import { ownPath, save, seeOther, sessionOf } from "~/services/session.server";

/** Back from the identity provider; `state` ties this request to the one that left. */
export async function loader({ request }: LoaderFunctionArgs) {
  const session = await sessionOf(request);
  const leaving = session.get("leaving");
  const visitor = await arrive(request, leaving);
  session.unset("leaving");
  session.set("user", visitor);
  csrf.login(request, visitor.user);
  return seeOther(ownPath(leaving?.back ?? ""), { "set-cookie": await save(session) });
}

// A page, so that what goes wrong is told on one.
export { FormsOnly as default } from "~/components/common";
