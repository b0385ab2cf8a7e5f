// Every action, with the right token, without one and with an altered one. The CSRF service is the real one: an action
// whose check is taken away turns these red, for that route.

import { createHmac } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";

import { beforeAll, expect, test } from "vitest";

import { csrf } from "~/services/csrf.server";
import { save, sessionOf } from "~/services/session.server";
import { isSigned } from "~/services/signature.server";

const ORIGIN = "https://quiz.example.com";
const FORM = "application/x-www-form-urlencoded";

type Action = (args: { request: Request; params: Record<string, string>; context: object }) => Promise<Response>;

/** `[[csrf.exemption]]` of dodai.toml: a signature instead of a token. */
const EXEMPT = ["webhooks.review.ts"];

/** The actions by the name of their file: whoever adds one is in the list. */
const all = readdirSync("app/routes").filter((name) =>
  /export (?:async )?function action\b|export const action\b|export \{[^}]*\baction\b/.test(readFileSync(`app/routes/${name}`, "utf8")),
);

const files = all.filter((name) => !EXEMPT.includes(name));

let cookie: string;
let token: string;

beforeAll(async () => {
  const session = await sessionOf(new Request(ORIGIN));
  session.set("user", { user: "hanako", name: "Hanako" });
  const signedIn = (await save(session)).split(";", 1)[0]!;
  const issued = await csrf.issue(new Request(ORIGIN, { headers: { cookie: signedIn } }));
  cookie = `${signedIn}; ${issued.setCookie!.split(";", 1)[0]!}`;
  token = issued.value;
});

/** What an action answers; `null` when it went past the check and failed behind it, where no backend is. */
async function send(file: string, body: string, headers: Record<string, string> = {}): Promise<Response | null> {
  const { action } = (await import(/* @vite-ignore */ `../app/routes/${file}`)) as { action: Action };
  const request = new Request(`${ORIGIN}/here`, {
    method: "POST",
    headers: { "content-type": FORM, origin: ORIGIN, "sec-fetch-site": "same-origin", cookie, ...headers },
    body,
  });
  try {
    return await action({ request, params: { question: "1" }, context: {} });
  } catch (thrown) {
    return thrown instanceof Response ? thrown : null;
  }
}

async function refusal(response: Response | null): Promise<unknown> {
  expect(response?.status).toBe(403);
  const id = response!.headers.get("x-request-id");
  const body = (await response!.json()) as { error: { code: string }; requestId: string };
  expect(id).toMatch(/^[0-9a-f]{32}$/);
  expect(body.requestId).toBe(id);
  return body.error.code;
}

const altered = (text: string): string => text.slice(0, 50) + (text[50] === "A" ? "B" : "A") + text.slice(51);

test("every action is in the list, and all but the exempt ones are checked", () => {
  expect(files.length).toBeGreaterThanOrEqual(9);
  expect(EXEMPT.every((name) => all.includes(name))).toBe(true);
});

test("the webhook of the review desk is believed for its signature alone, and for five minutes", () => {
  const [body, key, nowS] = ['{"report":7}', "desk", 1_795_000_000];
  const sign = (at: number): string => `t=${at},v1=${createHmac("sha256", key).update(`${at}.${body}`).digest("hex")}`;
  expect(isSigned(body, sign(nowS), ["new", key], nowS)).toBe(true);
  expect(isSigned(`${body} `, sign(nowS), [key], nowS)).toBe(false);
  expect(isSigned(body, sign(nowS - 301), [key], nowS)).toBe(false);
  expect(isSigned(body, sign(nowS), ["other"], nowS)).toBe(false);
  expect(isSigned(body, "", [key], nowS)).toBe(false);
});

test.each(files)("%s: the right token passes the check", async (file) => {
  const answer = await send(file, `csrf_token=${token}&lang=ja&choice=1&intent=other`);
  expect(answer?.status).not.toBe(403);
});

test.each(files)("%s: without a token it is refused with 403 and the request id", async (file) => {
  expect(await refusal(await send(file, "lang=ja&choice=1&intent=name"))).toBe("DOD151");
});

test.each(files)("%s: an altered token is refused with 403 and the request id", async (file) => {
  expect(await refusal(await send(file, `csrf_token=${altered(token)}&lang=ja&choice=1`))).toBe("DOD152");
});

test.each(files)("%s: text/plain is refused and not a 500", async (file) => {
  expect(await refusal(await send(file, `csrf_token=${token}`, { "content-type": "text/plain" }))).toBe("DOD151");
});

test.each(files)("%s: a page of another site is refused even with the right token", async (file) => {
  const headers = { origin: "https://evil.example", "sec-fetch-site": "cross-site" };
  expect(await refusal(await send(file, `csrf_token=${token}`, headers))).toBe("DOD150");
});

test.each(files)("%s: the token of another session is refused", async (file) => {
  const stranger = await csrf.issue(new Request(ORIGIN));
  expect(await refusal(await send(file, `csrf_token=${stranger.value}`))).toBe("DOD154");
});
