// The root middleware of React Router and `verify`, with requests as browsers and attackers send them.

import { beforeEach, expect, test, vi } from "vitest";

import { createCsrf, type Csrf, type CsrfOptions } from "../src/csrf.server.js";
import { RequestContext, within } from "../src/context.js";
import { KEYS, NEXT_KEYS, open, ORIGIN, type Page, post, start } from "./support.js";

let csrf: Csrf;
let page: Page;

beforeEach(async () => {
  start();
  csrf = createCsrf();
  page = await open(csrf);
});

/** The answer to a request, and whether the action behind the middleware ran and what it read. */
async function send(request: Request, guard: Csrf = csrf, pattern = "save"): Promise<{ status: number; code: string; ran: boolean; read: string }> {
  let ran = false;
  let read = "";
  const response = await guard.middleware({ request, pattern }, async () => {
    ran = true;
    read = await request.text();
    return new Response("done");
  });
  const text = await response.text();
  const code = ran ? "" : (JSON.parse(text) as { error: { code: string } }).error.code;
  return { status: response.status, code, ran, read };
}

const withToken = (): Record<string, string> => ({ [page.field.name]: page.field.value, answer: "3" });
const tampered = (token: string): string => token.slice(0, 40) + (token[40] === "A" ? "B" : "A") + token.slice(41);

test("the right token passes and the action reads its form", async () => {
  const sent = await send(post({ fields: withToken(), cookie: page.cookie }));
  expect(sent).toMatchObject({ status: 200, ran: true });
  expect(new URLSearchParams(sent.read).get("answer")).toBe("3");
});

test.each([
  ["missing", () => post({ cookie: page.cookie }), 403, "DOD151"],
  ["tampered", () => post({ fields: { csrf_token: tampered(page.field.value) }, cookie: page.cookie }), 403, "DOD152"],
  ["of another origin", () => post({ fields: withToken(), cookie: page.cookie, headers: { origin: "https://evil.example", "sec-fetch-site": "cross-site" } }), 403, "DOD150"],
  ["of another origin, from an old browser", () => new Request("http://10.0.0.5/save", { method: "POST", headers: { origin: "https://evil.example", cookie: page.cookie }, body: new URLSearchParams(withToken()) }), 403, "DOD150"],
  ["text/plain", () => post({ body: "csrf_token=x", cookie: page.cookie, headers: { "content-type": "text/plain" } }), 403, "DOD151"],
  ["JSON without a header", () => post({ body: "{}", cookie: page.cookie, headers: { "content-type": "application/json" } }), 403, "DOD151"],
  ["the token twice", () => post({ body: `csrf_token=${page.field.value}&csrf_token=${page.field.value}`, cookie: page.cookie, headers: { "content-type": "application/x-www-form-urlencoded" } }), 403, "DOD158"],
  ["the cookie twice", () => post({ fields: withToken(), cookie: `${page.cookie}; ${page.cookie}` }), 403, "DOD158"],
  ["headers of a part that end elsewhere for others", () => post({ body: `--b\r\nContent-Disposition: form-data; name="csrf_token"\r\n\nx: y\r\n\r\n${page.field.value}\r\n--b--\r\n`, cookie: page.cookie, headers: { "content-type": "multipart/form-data; boundary=b" } }), 400, "DOD156"],
  ["a form behind a broken boundary", () => post({ body: "x", cookie: page.cookie, headers: { "content-type": "multipart/form-data" } }), 400, "DOD156"],
])("refused, and the action does not run: %s", async (_, request, status, code) => {
  expect(await send(request())).toMatchObject({ status, code, ran: false });
});

test("the token in the header passes", async () => {
  const headers = { "content-type": "application/json", "x-csrf-token": page.field.value };
  expect((await send(post({ body: "{}", cookie: page.cookie, headers }))).ran).toBe(true);
});

test("a multipart form passes and its file stays whole", async () => {
  const form = new FormData();
  form.set("csrf_token", page.field.value);
  form.set("file", new Blob([new Uint8Array(300_000).fill(7)]), "big.bin");
  const sent = await send(post({ body: form, cookie: page.cookie }));
  expect(sent.ran).toBe(true);
  expect(sent.read.length).toBeGreaterThan(300_000);
});

test("a token behind a large file is refused with its own code", async () => {
  const form = new FormData();
  form.set("file", new Blob([new Uint8Array(300_000).fill(7)]), "big.bin");
  form.set("csrf_token", page.field.value);
  expect(await send(post({ body: form, cookie: page.cookie }))).toMatchObject({ code: "DOD155", ran: false });
});

test("a token of another session is refused", async () => {
  let field = page.field;
  const request = new Request(ORIGIN, { headers: { cookie: page.cookie } });
  const response = await csrf.middleware({ request, pattern: "/" }, async () => {
    csrf.login(request, "hanako");
    field = await csrf.field();
    return new Response();
  });
  const other = await open(csrf);
  const cookie = response.headers.getSetCookie()[0]!.split(";", 1)[0]!;
  expect(cookie).not.toBe(page.cookie);
  expect(await send(post({ fields: { csrf_token: field.value }, cookie: other.cookie }))).toMatchObject({ code: "DOD154" });
  expect(await send(post({ fields: withToken(), cookie }))).toMatchObject({ code: "DOD154", ran: false });
});

test("two tabs that were opened at once on the first visit both work", async () => {
  const second = await open(csrf);
  expect((await send(post({ fields: withToken(), cookie: second.cookie }))).ran).toBe(true);
  const old = { "sec-fetch-site": "none" };
  expect((await send(post({ fields: withToken(), cookie: second.cookie, headers: old }))).code).toBe("DOD154");
});

test("a tab that was opened long before the cookie was made is refused", async () => {
  const early = await open(createCsrf({ now: () => Date.now() - 301_000 }));
  expect(await send(post({ fields: { csrf_token: early.field.value }, cookie: page.cookie }))).toMatchObject({ code: "DOD154" });
});

test("two tabs opened at once by somebody with a session agree about the cookie", async () => {
  const named = createCsrf({ sessionCookie: "sid" });
  const [first, second] = [await open(named, "sid=s1"), await open(named, "sid=s1")];
  const cookie = `sid=s1; ${second.cookie.replace("sid=s1; ", "")}`;
  expect(first.cookie).toBe(second.cookie);
  expect((await send(post({ fields: { csrf_token: first.field.value }, cookie }), named)).ran).toBe(true);
  expect(await send(post({ fields: { csrf_token: first.field.value }, cookie: cookie.replace("s1", "s2") }), named)).toMatchObject({ code: "DOD154" });
});

test("a page from before the session cookie came still posts", async () => {
  const named = createCsrf({ sessionCookie: "sid" });
  const before = await open(named);
  expect((await send(post({ fields: { csrf_token: before.field.value }, cookie: `sid=s1; ${before.cookie}` }), named)).ran).toBe(true);
});

test("without a public origin an http page is not the https site", async () => {
  const open_ = createCsrf({ origins: [] });
  const first = await open(open_);
  const from = (origin: string): Request =>
    new Request("http://10.0.0.5/save", {
      method: "POST",
      headers: { host: "app.example.com", origin, "x-forwarded-proto": "https", cookie: first.cookie },
      body: new URLSearchParams({ csrf_token: first.field.value }),
    });
  expect((await send(from(ORIGIN), open_)).ran).toBe(true);
  expect(await send(from("http://app.example.com"), open_)).toMatchObject({ code: "DOD150" });
});

test("a rotation of the key refuses nobody, and a dropped key is refused", async () => {
  const rotated = createCsrf({ keys: NEXT_KEYS });
  expect((await send(post({ fields: withToken(), cookie: page.cookie }), rotated)).ran).toBe(true);
  const dropped = createCsrf({ keys: NEXT_KEYS.replace(`,${KEYS}`, "") });
  expect(await send(post({ fields: withToken(), cookie: page.cookie }), dropped)).toMatchObject({ code: "DOD152" });
});

test("a token past its life is refused", async () => {
  const later = createCsrf({ now: () => Date.now() + 86_402_000 });
  expect(await send(post({ fields: withToken(), cookie: page.cookie }), later)).toMatchObject({ code: "DOD153" });
});

test("the subject binds a token, and a subject that cannot be read is a refusal", async () => {
  const named = (subject: CsrfOptions["subject"]): Csrf => createCsrf({ subject: subject! });
  const own = await open(named(() => "u-1"));
  const form = post({ fields: { csrf_token: own.field.value }, cookie: own.cookie });
  expect((await send(form.clone() as Request, named(() => Promise.resolve("u-1")))).ran).toBe(true);
  expect(await send(form.clone() as Request, named(() => "u-2"))).toMatchObject({ code: "DOD154" });
  const broken = named(() => {
    throw new Error("no session");
  });
  expect(await send(form, broken)).toMatchObject({ status: 400, code: "DOD156" });
});

test("an exemption holds for its route alone, until its day, and not under a method override", async () => {
  const exempt = (expires: string): Csrf =>
    createCsrf({ exemptions: [{ route: "POST /webhooks/review", expires }] });
  expect((await send(post(), exempt("2999-12-31"), "webhooks/review")).ran).toBe(true);
  expect(await send(post(), exempt("2999-12-31"), "webhooks/other")).toMatchObject({ code: "DOD151" });
  expect(await send(post(), exempt("2001-01-01"), "webhooks/review")).toMatchObject({ code: "DOD159" });
  expect(await send(post(), exempt("31.12.2999"), "webhooks/review")).toMatchObject({ code: "DOD159" });
  const override = post({ headers: { "x-http-method-override": "DELETE" } });
  expect(await send(override, exempt("2999-12-31"), "webhooks/review")).toMatchObject({ code: "DOD151" });
});

test("an exemption of another service does not hold in this one", async () => {
  const exempt = (service: string): Csrf =>
    createCsrf({ exemptions: [{ route: "POST /webhooks/review", service }] });
  expect((await send(post(), exempt("web"), "webhooks/review")).ran).toBe(true);
  expect(await send(post(), exempt("admin"), "webhooks/review")).toMatchObject({ code: "DOD151" });
});

test.each([
  [{ origin: "https://evil.example", "sec-fetch-site": "cross-site" }, { origin: "https://evil.example", fetchSite: "cross-site" }],
  [{ origin: "null", "sec-fetch-site": "cross-site" }, { origin: "null" }],
  [{ origin: "https://a.example/<b>\tc", "sec-fetch-site": "anything at all" }, { origin: "invalid", fetchSite: "invalid" }],
])("the line of a refusal says where the request claims to come from, never a client's own text: %j", async (headers, told) => {
  const context = RequestContext.fresh();
  await within(context, () => send(post({ headers })));
  expect(context.extra).toMatchObject(told);
});

test("a refusal carries the request id in header and body, as HTML where a page is wanted", async () => {
  const headers = { accept: "text/html,*/*;q=0.8", "accept-language": "ja" };
  const response = await csrf.middleware({ request: post({ headers }), pattern: "save" }, async () => new Response());
  const id = response.headers.get("x-request-id")!;
  const body = await response.text();
  expect(id).toMatch(/^[0-9a-f]{32}$/);
  expect(body).toContain(id);
  expect(body).toContain('lang="ja"');
  expect(response.headers.get("cache-control")).toBe("no-store");
});

test("mode report refuses nothing, and that is said when it starts", async () => {
  const told: string[] = [];
  const said = vi.spyOn(process.stderr, "write").mockImplementation((text) => told.push(String(text)) > 0);
  const csrf = createCsrf({ mode: "report" });
  said.mockRestore();
  expect(told.join("")).toContain("forged requests to this process reach the application");
  expect((await send(post(), csrf)).ran).toBe(true);
});

test("mode framework refuses what comes from elsewhere, asks for no token of ours, and makes none", async () => {
  const framework = createCsrf({ mode: "framework" });
  expect((await send(post(), framework)).ran).toBe(true);
  const foreign = post({ headers: { origin: "https://evil.example", "sec-fetch-site": "cross-site" } });
  expect(await send(foreign, framework)).toMatchObject({ status: 403, code: "DOD150" });
  await expect(framework.issue(new Request(ORIGIN))).rejects.toThrow("DOD183");
});

test("rendering a token sets the cookie once and keeps the page out of shared caches", async () => {
  const request = new Request(ORIGIN);
  const response = await csrf.middleware({ request, pattern: "/" }, async () => {
    await csrf.field();
    await csrf.field();
    return new Response("", { headers: { "cache-control": "public, max-age=60, s-maxage=600" } });
  });
  expect(response.headers.getSetCookie()).toEqual([
    expect.stringMatching(/^__Host-dodai-csrf=[A-Za-z0-9_-]{22}; Path=\/; Secure; HttpOnly; SameSite=Lax$/),
  ]);
  expect(response.headers.get("cache-control")).toBe("private, max-age=60");
  expect(response.headers.get("vary")).toBe("Cookie");
  const again = await csrf.middleware({ request: new Request(ORIGIN), pattern: "/" }, async () => new Response());
  expect(again.headers.getSetCookie()).toEqual([]);
});

test("plain http on this machine gets a cookie without Secure", async () => {
  const local = await open(createCsrf({ origins: ["http://127.0.0.1:8080"] }));
  expect(local.cookie).toMatch(/^dodai-csrf=/);
});

test("verify throws the refusal, for an action that asks for itself", async () => {
  await expect(csrf.verify(post({ fields: withToken(), cookie: page.cookie }))).resolves.toBeUndefined();
  await expect(csrf.verify(post({ cookie: page.cookie }))).rejects.toMatchObject({ status: 403 });
});

test("an application without a usable key or with a bad origin does not start", () => {
  expect(() => createCsrf({ keys: "" })).toThrow("DOD180");
  expect(() => createCsrf({ keys: `k001:${"A".repeat(43)}` })).toThrow("not random");
  expect(() => createCsrf({ origins: ["app.example.com"] })).toThrow("DOD181");
  expect(() => createCsrf({ origins: [], mode: "either" })).toThrow("DOD184");
});
