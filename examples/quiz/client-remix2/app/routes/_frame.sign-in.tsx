import { type ActionFunctionArgs, redirect } from "@remix-run/node";

import { csrf } from "~/services/csrf.server";
import { leave } from "~/services/identity.server";
import { ownPath, save, sessionOf } from "~/services/session.server";

/** Off to the identity provider. A form rather than a link: nobody else's page can start it for the visitor. */
export async function action({ request }: ActionFunctionArgs) {
  await csrf.verify(request);
  const form = await request.formData();
  const back = ownPath(String(form.get("back") ?? ""));
  const { url, leaving } = await leave(request, back, String(form.get("login_hint") ?? ""));
  const session = await sessionOf(request);
  session.set("leaving", leaving);
  return redirect(url, { headers: { "set-cookie": await save(session) } });
}

// A page, so that what goes wrong is told on one.
export { FormsOnly as default } from "~/components/common";
