// What a protection adds to a request in this process, CPU microseconds. `node csrf.mjs` alternates rounds of all peers;
// `node csrf.mjs PEER` is one process's first page and first post. Prints JSON.

import { randomBytes } from "node:crypto";

const ORIGIN = "https://app.example.com";
const FORM = "application/x-www-form-urlencoded";
const ROUNDS = 25;
Object.assign(process.env, {
  DODAI_CSRF_KEYS: `k001:${randomBytes(32).toString("base64url")}`,
  DODAI_PUBLIC_ORIGINS: ORIGIN,
  DODAI_STATE: "",
});

const request = (cookie, body, type = FORM) =>
  new Request(`${ORIGIN}/save`, {
    method: "POST",
    headers: { origin: ORIGIN, "sec-fetch-site": "same-origin", cookie, ...(type && { "content-type": type }) },
    body,
  });
const page = (cookie = "") => new Request(ORIGIN, { headers: cookie === "" ? {} : { cookie } });
const action = async (given) => new Response(String((await given.formData()).get("what")));

/** Each peer: a page with a token, and a post behind its check; `open` is a first visit. */
const PEERS = {
  none: async () => ({
    open: async () => ({ cookie: "", name: "x", token: "x" }),
    get: async ({ cookie }) => new Response(page(cookie).method),
    post: (given) => action(given),
  }),
  dodai: async () => {
    const { createCsrf } = await import(process.env.DODAI_PACKAGE);
    const csrf = createCsrf();
    const draw = async (given) => {
      let field;
      const answer = await csrf.middleware({ request: given, pattern: "/" }, async () => {
        field = await csrf.field();
        return new Response(field.value);
      });
      return { answer, field };
    };
    return {
      async open() {
        const { answer, field } = await draw(page());
        return { cookie: answer.headers.getSetCookie()[0].split(";", 1)[0], name: field.name, token: field.value };
      },
      get: async ({ cookie }) => (await draw(page(cookie))).answer,
      post: (given) => csrf.middleware({ request: given, pattern: "save" }, () => action(given)),
    };
  },
  "remix-utils": async () => {
    const { createCookie } = await import("react-router");
    const { CSRF } = await import("remix-utils/csrf/server");
    const options = { path: "/", httpOnly: true, sameSite: "lax", secrets: [randomBytes(32).toString("hex")] };
    const csrf = new CSRF({ cookie: createCookie("csrf", options), formDataKey: "csrf", secret: randomBytes(32).toString("hex") });
    return {
      async open() {
        const [token, set] = await csrf.commitToken(page());
        return { cookie: set.split(";", 1)[0], name: "csrf", token };
      },
      get: async ({ cookie }) => new Response((await csrf.commitToken(page(cookie)))[0]),
      async post(given) {
        await csrf.validate(given);
        return action(given);
      },
    };
  },
};

const form = ({ name, token }) => new URLSearchParams({ [name]: token, what: "tea" }).toString();
const upload = ({ name, token }) => {
  const data = new FormData();
  data.set(name, token);
  data.set("file", new Blob([Buffer.alloc(1024 * 1024, 7)]), "file.bin");
  return data;
};
const CASES = {
  "GET with token": { count: 400, of: (peer, visit) => () => peer.get(visit) },
  "POST form": {
    count: 400,
    of: (peer, visit) => ((body) => () => peer.post(request(visit.cookie, body)))(form(visit)),
  },
  "POST 1 MiB": {
    count: 10,
    of: (peer, visit) => ((body) => () => peer.post(request(visit.cookie, body, null)))(upload(visit)),
  },
};
const spent = (since) => {
  const { user, system } = process.cpuUsage(since);
  return user + system;
};

const [only] = process.argv.slice(2);
if (only !== undefined) {
  const loading = process.cpuUsage();
  const peer = await PEERS[only]();
  const loaded = spent(loading);
  const began = process.cpuUsage();
  const visit = await peer.open();
  const answer = await peer.post(request(visit.cookie, form(visit)));
  if (answer.status !== 200) throw new Error(`${only} answered ${answer.status}`);
  console.log(JSON.stringify({ load: loaded, first: spent(began) }));
} else {
  const measured = {};
  const peers = {};
  for (const [name, make] of Object.entries(PEERS)) {
    const peer = await make();
    peers[name] = { peer, visit: await peer.open() };
  }
  for (const [name, { count, of }] of Object.entries(CASES)) {
    const runs = Object.entries(peers).map(([who, { peer, visit }]) => [who, of(peer, visit)]);
    const rows = (measured[name] = Object.fromEntries(runs.map(([who]) => [who, []])));
    for (const [who, run] of runs) {
      const answer = await run();
      if (answer.status !== 200) throw new Error(`${name}: ${who} answered ${answer.status}`);
      for (let index = 0; index < count; index += 1) await run(); // warm
    }
    for (let round = 0; round < ROUNDS; round += 1)
      for (const [who, run] of runs) {
        const began = process.cpuUsage();
        for (let index = 0; index < count; index += 1) await run();
        rows[who].push(spent(began) / count);
      }
  }
  console.log(JSON.stringify(measured));
}
