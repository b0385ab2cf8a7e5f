import { isServing } from "~/services/backend.server";
import { settings } from "~/services/settings.server";

/** Ready: the backend serves. Without the identity provider nobody can sign in, and everything else works. */
export async function loader() {
  const ready = await isServing();
  const dependencies = { backend: ready ? "ok" : "does not serve" };
  return Response.json({ ready, version: settings().release, dependencies }, { status: ready ? 200 : 503 });
}
