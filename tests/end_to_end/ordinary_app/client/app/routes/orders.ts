import { redirect, type ActionFunctionArgs } from "@remix-run/node";

import { call } from "../services/backend.server";
import { sessions } from "../services/session.server";

export async function action({ request }: ActionFunctionArgs) {
  const session = await sessions.getSession(request.headers.get("cookie"));
  if (!session.get("signedIn")) throw new Response("Sign in first", { status: 401 });
  await call("Place");
  session.set("placed", (session.get("placed") ?? 0) + 1);
  return redirect("/", { headers: { "set-cookie": await sessions.commitSession(session) } });
}
