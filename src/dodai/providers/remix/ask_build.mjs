// Sends hostile posts to every action of a server build, in a process that can write, start and connect to nothing.
//
// Read by ask_build.py and run with `node --permission --input-type=module --eval`, in the folder of the web tier, so that
// the framework is the project's own. The request is JSON on standard input; the answer is one line behind `mark`.

import { AsyncLocalStorage } from "node:async_hooks";
import { Socket as DatagramSocket } from "node:dgram";
import { readFileSync } from "node:fs";
import { Socket } from "node:net";
import { pathToFileURL } from "node:url";

const { framework, build: buildPath, mark, origin, field, token, cookie, skipped, timeoutMs } = JSON.parse(readFileSync(0, "utf8"));
const FORM = "application/x-www-form-urlencoded";
const EVIL = { origin: "https://attacker.example", "sec-fetch-site": "cross-site" };
const OURS = { origin, "sec-fetch-site": "same-origin" };
const altered = `${token.slice(0, 60)}${token[60] === "A" ? "B" : "A"}${token.slice(61)}`;

/** What a hostile page can make a browser send, and one post as a page of the application sends it. */
const CASES = {
  missing: { headers: OURS, body: "x=1" },
  tampered: { headers: { ...OURS, cookie }, body: `${field}=${altered}` },
  cross_site: { headers: { ...EVIL, cookie }, body: `${field}=${token}` },
  text_plain: { headers: { origin: EVIL.origin, "content-type": "text/plain" }, body: `${field}=${token}` },
  null_origin: { headers: { origin: "null", "sec-fetch-site": "cross-site" }, body: "x=1" },
  data_request: { headers: OURS, body: "x=1", isData: true },
  valid: { headers: { ...OURS, cookie }, body: `${field}=${token}` },
};
const ALONE = ["missing", "cross_site"];

// -- nothing gets out of here, and what tries to is noted for the request that tried

const asked = new AsyncLocalStorage();
const closed = (what) => {
  asked.getStore()?.effects.add(what);
  return Object.assign(new Error(`${what} is not possible while actions are audited`), { code: "ENETUNREACH" });
};
Socket.prototype.connect = function (...given) {
  const [options] = Array.isArray(given[0]) ? given[0] : given;
  const told = typeof options === "object" && options !== null ? (options.path ?? `${options.host ?? "localhost"}:${options.port}`) : options;
  const error = closed(`connect to ${told}`);
  process.nextTick(() => this.destroy(error));
  return this;
};
DatagramSocket.prototype.send = function () {
  throw closed("send a datagram");
};
process.kill = (pid) => {
  throw closed(`signal process ${pid}`);
};

// -- the build, with every action noting that it was entered

const build = await import(pathToFileURL(buildPath).href);
const given = build.default?.routes === undefined ? build : build.default;
const { createRequestHandler, RouterContextProvider } = await import(framework);
/** A refusal that an action throws is drawn by the framework as a page or a stream: its code is read where it is thrown. */
const watched = (action) => async (args) => {
  const store = asked.getStore() ?? {};
  store.entered = true;
  try {
    return await noted(store, await action(args));
  } catch (thrown) {
    throw await noted(store, thrown);
  }
};
const noted = async (store, answer) => {
  if (isResponse(answer) && !answer.bodyUsed) store.code = codeOf(await answer.clone().text());
  return answer;
};
const isResponse = (answer) => typeof answer?.status === "number" && typeof answer?.text === "function";
const routes = {};
for (const [id, route] of Object.entries(given.routes)) {
  const { action } = route.module;
  const module = action === undefined ? route.module : { ...route.module, action: watched(action) };
  routes[id] = { ...route, module };
}
const handle = createRequestHandler({ ...given, routes }, "production");

const patternOf = (route) => {
  const parts = [];
  for (let at = route; at !== undefined; at = given.routes[at.parentId])
    if (at.path) parts.unshift(at.path.replace(/^\/+|\/+$/g, ""));
  return `/${parts.join("/")}`;
};

/** The root's own name in data requests: another one since React Router 8. */
function rootOf(name) {
  const home = new URL(import.meta.resolve(name).replace(/^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+\/).*/, "$1package.json"));
  return name === "react-router" && Number.parseInt(JSON.parse(readFileSync(home, "utf8")).version, 10) >= 8 ? "/_" : "/_root";
}

const addressOf = (route, isData) => {
  const base = (given.basename ?? "/").replace(/\/+$/, "");
  const filled = patternOf(route).replace(/:[\w-]+\??/g, "1").replace(/\?(?=\/|$)/g, "").replace(/\*$/, "x");
  const index = route.index ? "?index" : "";
  if (!isData) return `${base}${filled}${index}`;
  const single = framework === "react-router" || given.future?.v3_singleFetch === true || given.future?.unstable_singleFetch === true;
  if (single) return `${base}${filled === "/" ? rootOf(framework) : filled}.data${index}`;
  return `${base}${filled}${index === "" ? "?" : "?index&"}_data=${encodeURIComponent(route.id)}`;
};

const requestOf = (route, { headers, body, isData = false }) =>
  new Request(`${origin}${addressOf(route, isData)}`, {
    method: "POST",
    headers: { host: new URL(origin).host, "content-type": FORM, accept: "application/json", ...headers },
    body,
  });

async function outcome(serve) {
  const store = { entered: false, code: "", effects: new Set() };
  const told = { status: 0, code: "", error: "", location: "" };
  let timer;
  const late = new Promise((resolve) => (timer = setTimeout(resolve, timeoutMs, "late")));
  try {
    const answer = await Promise.race([asked.run(store, async () => serve()).catch((thrown) => thrown), late]);
    if (answer === "late") told.error = "no answer in time";
    else if (isResponse(answer)) {
      told.status = answer.status;
      told.location = answer.headers.get("location") ?? "";
      told.code = codeOf(await Promise.race([answer.text(), late])) || (answer.status >= 400 ? store.code : "");
    } else if (answer instanceof Error) told.error = answer.constructor.name;
    else told.status = answer?.init?.status ?? 200;
  } catch (error) {
    told.error = error?.constructor?.name ?? typeof error;
  } finally {
    clearTimeout(timer);
  }
  return { ...told, entered: store.entered, effects: [...store.effects].slice(0, 3) };
}

function codeOf(text) {
  try {
    const { error, requestId } = JSON.parse(text);
    return typeof requestId === "string" && typeof error?.code === "string" ? error.code : "";
  } catch {
    return "";
  }
}

// From here on what an action leaves behind is no reason to stop asking the others.
const { exit } = process;
process.exit = () => {
  throw closed("end the process");
};
process.on("uncaughtException", () => undefined);
process.on("unhandledRejection", () => undefined);
const found = await Promise.all(
  Object.values(given.routes)
    .filter((route) => route.module.action !== undefined)
    .map(async (route) => {
      const told = { id: route.id, path: patternOf(route), served: {}, alone: {} };
      if (skipped.includes(told.path)) return told;
      for (const [name, one] of Object.entries(CASES)) told.served[name] = await outcome(() => handle(requestOf(route, one)));
      const context = RouterContextProvider === undefined ? {} : new RouterContextProvider();
      for (const name of ALONE)
        told.alone[name] = await outcome(() =>
          given.routes[route.id].module.action({ request: requestOf(route, CASES[name]), params: {}, context, url: new URL(origin) }),
        );
      return told;
    }),
);
process.stdout.write(`\n${mark}${JSON.stringify(found)}\n`, () => exit(0));
