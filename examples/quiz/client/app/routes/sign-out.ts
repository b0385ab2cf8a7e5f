import type { Route } from "./+types/sign-out";
import { csrf } from "~/services/csrf.server";
import { end, seeOther, sessionOf } from "~/services/session.server";

export async function action({ request }: Route.ActionArgs) {
  await csrf.verify(request);
  csrf.logout(request);
  return seeOther("/", { "set-cookie": await end(await sessionOf(request)) });
}
