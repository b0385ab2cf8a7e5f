// CSRF tokens of the quiz: every form carries `await csrf.field(request)`, every action begins with
// `await csrf.verify(request)`, which throws 403 with the request id.

import { createCsrf } from "@dodai/remix/csrf.server";

import { sessionOf } from "./session.server";

export const csrf = createCsrf({
  // Stable for as long as somebody is signed in; the value of the cookie itself changes with every write.
  subject: async (request) => (await sessionOf(request)).get("user")?.user ?? null,
});
