// `observe()` around a real node server, and the interceptor between two real gRPC peers.

import { execFileSync } from "node:child_process";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request as httpRequest, type Server } from "node:http";
import { createServer as createTlsServer, request as tlsRequest } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import * as grpc from "@grpc/grpc-js";
import { afterEach, expect, test, vi } from "vitest";

import { createCsrf } from "../src/csrf.server.js";
import { parseIdentityKeys, verifyProof } from "../src/identity.js";
import { clientInterceptor, dependencyFetch, noteError, observe, requestId, setUser } from "../src/observability.server.js";
import { readSettings } from "../src/settings.js";
import { KEYS, type Lines, ORIGIN, start } from "./support.js";

let server: Server | undefined;
let written: Lines | undefined;

afterEach(() => {
  server?.close();
  server?.closeAllConnections();
  // The Python side checks every line that was written here against spec/line.
  if (process.env.LINES !== undefined && written !== undefined) appendFileSync(process.env.LINES, written.lines.join(""));
});

async function serve(handler: Parameters<typeof createServer>[1], environ: Record<string, string> = {}): Promise<{ url: string; lines: Lines }> {
  const { writer } = start(environ);
  written = writer;
  observe();
  server = createServer(handler!);
  await new Promise<void>((resolve) => server!.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, lines: writer };
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = Date.now() + 30_000;
  let held = await holds();
  while (!held && Date.now() < endMs) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    held = await holds();
  }
  expect(held).toBe(true);
}

test("every answer carries the id and has one line", async () => {
  const { url, lines } = await serve((request, response) => {
    setUser("u-1");
    response.statusCode = request.url === "/missing?x=1" ? 404 : 200;
    response.end(requestId());
  });
  const found = await fetch(`${url}/assets/app.js`);
  const missing = await fetch(`${url}/missing?x=1`, { headers: { "x-request-id": "client-id-1" } });
  expect(await found.text()).toBe(found.headers.get("x-request-id"));
  expect(missing.headers.get("x-request-id")).not.toBe("client-id-1");
  await until(() => lines.lines.length === 2);
  expect(lines.parsed).toMatchObject([
    { route: "/assets/*", status: 200, outcome: "ok", bytesOut: 32, userId: "u-1", clientNetwork: "127.0.0.0" },
    { route: "<unmatched>", path: "/missing", status: 404, clientRequestId: "client-id-1" },
  ]);
});

test("a stream that fails late is aborted, a client that leaves is gone", async () => {
  const { url, lines } = await serve((request, response) => {
    response.write("begun");
    if (request.url === "/late") setTimeout(() => response.destroy(new RangeError("secret words")), 20);
  });
  await expect(fetch(`${url}/late`).then((answer) => answer.text())).rejects.toThrow();
  await until(() => lines.lines.length === 1);
  await new Promise<void>((resolve) => {
    const client = httpRequest(`${url}/slow`, (answer) => answer.once("data", () => client.destroy()));
    client.once("close", resolve).once("error", () => undefined).end();
  });
  await until(() => lines.lines.length === 2);
  expect(lines.parsed).toMatchObject([{ outcome: "aborted", error: "RangeError" }, { outcome: "client_gone" }]);
  expect(lines.lines.join("")).not.toContain("secret words");
});

test("the type of an error is in the line, its message is not", async () => {
  const { url, lines } = await serve((_, response) => {
    noteError(new TypeError("hanako@example.com"));
    response.writeHead(500).end();
  });
  await fetch(url);
  await until(() => lines.lines.length === 1);
  expect(lines.parsed[0]).toMatchObject({ error: "TypeError", outcome: "server_error" });
  expect(lines.lines[0]).not.toContain("hanako");
});

test("with an edge key only the edge is served, its ids count, and the key does not reach the application", async () => {
  const file = join(mkdtempSync(join(tmpdir(), "edge-")), "key");
  writeFileSync(file, "edge-key-of-this-test\n");
  let seen: unknown;
  const { url, lines } = await serve((request, response) => {
    seen = [request.headers["x-edge-key"], request.rawHeaders.includes("x-edge-key")];
    response.end();
  }, { DODAI_EDGE_KEY_FILE: file });
  const refused = await fetch(url);
  expect([refused.status, ((await refused.json()) as { error: { code: string } }).error.code]).toEqual([403, "DOD556"]);
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  const id = "01a20a154cc271afb17c548fca6d98ca";
  const passed = await fetch(url, { headers: { "x-edge-key": "edge-key-of-this-test", "x-request-id": id } });
  expect([passed.status, passed.headers.get("x-request-id"), seen]).toEqual([200, id, [undefined, false]]);
  await until(() => lines.lines.length === 3);
  expect(lines.parsed[0]).toMatchObject({ code: "DOD556", reason: "edge_key_missing", outcome: "client_error" });
});

test("the key of a vendor's edge opens the gate and vouches for nothing else; its health checks need none", async () => {
  const { url, lines } = await serve((_, response) => response.end(), {
    DODAI_EDGE_KEY: "the-new-key-0123456789,the-old-key-0123456789",
    DODAI_HEALTH_PATH: "/readyz",
  });
  const headers = {
    "x-request-id": "client-chosen-1",
    "x-forwarded-for": "192.0.2.1, 203.0.113.9",
    "cf-connecting-ip": "203.0.113.9",
    "cf-ray": "8f00ba-NRT",
  };
  const status = async (more: Record<string, string>, path = "/", method = "GET") =>
    (await fetch(`${url}${path}`, { method, headers: { ...headers, ...more } })).status;
  expect(await status({ "x-edge-key": "the-new-key-0123456789" })).toBe(200);
  expect(await status({ "x-edge-key": "the-old-key-0123456789" })).toBe(200);
  expect([await status({}), await status({ "x-edge-key": "forged" })]).toEqual([403, 403]);
  expect([await status({}, "/readyz"), await status({}, "/readyz", "POST"), await status({}, "/healthz")]).toEqual([200, 403, 200]);
  await until(() => lines.lines.length === 7);
  const [first, , refused] = lines.parsed;
  expect(first).toMatchObject({ clientRequestId: "client-chosen-1", clientNetwork: "203.0.113.0", cfRay: "8f00ba-NRT" });
  expect(refused).toMatchObject({ code: "DOD556", clientNetwork: "127.0.0.0" });
  expect(refused).not.toHaveProperty("cfRay");
});

test("a variable that says no key is no open gate", () => {
  for (const value of ["", " , ", "k", "the-key-0123456789,k", "# a comment of a person"]) expect(() => readSettings({ DODAI_EDGE_KEY: value })).toThrow(/DODAI_EDGE_KEY/);
});

test("a list of origins may be written with spaces", () => {
  const { origins } = readSettings({ DODAI_PUBLIC_ORIGINS: "https://a.example, https://b.example ," });
  expect(origins).toEqual(["https://a.example", "https://b.example"]);
});

test("a line of a key file that is a comment, or could be guessed, opens nothing", async () => {
  const file = join(mkdtempSync(join(tmpdir(), "edge-")), "key");
  const comment = "#a-comment-in-the-file";
  writeFileSync(file, `${comment}\nk\n`);
  expect(() => readSettings({ DODAI_EDGE_KEY_FILE: file })).toThrow(/has no key/);
  writeFileSync(file, `${comment}\nk\nthe-key-0123456789\n`);
  const { url } = await serve((_, response) => response.end(), { DODAI_EDGE_KEY_FILE: file });
  const status = async (key: string) => (await fetch(url, { headers: { "x-edge-key": key } })).status;
  expect([await status(comment), await status("k"), await status("the-key-0123456789")]).toEqual([403, 403, 200]);
});

test("a new edge key counts from its first use, and a removed one stops counting", async () => {
  const file = join(mkdtempSync(join(tmpdir(), "edge-")), "key");
  writeFileSync(file, "the-old-key-0123456789\n");
  const { url } = await serve((_, response) => response.end(), { DODAI_EDGE_KEY_FILE: file });
  const status = async (key: string) => (await fetch(url, { headers: { "x-edge-key": key } })).status;
  expect([await status("the-old-key-0123456789"), await status("forged")]).toEqual([200, 403]);
  writeFileSync(file, "the-old-key-0123456789\nthe-new-key-0123456789\n");
  expect([await status("the-new-key-0123456789"), await status("the-old-key-0123456789")]).toEqual([200, 200]);
  writeFileSync(file, "the-new-key-0123456789\n");
  await until(async () => (await status("the-old-key-0123456789")) === 403);
  expect(await status("the-new-key-0123456789")).toBe(200);
}, 60_000);

test("a key file that lost its keys closes the gate, and one that has them again opens it", async () => {
  const file = join(mkdtempSync(join(tmpdir(), "edge-")), "key");
  writeFileSync(file, "the-key-0123456789\n");
  const { url } = await serve((_, response) => response.end(), { DODAI_EDGE_KEY_FILE: file });
  const status = async () => (await fetch(url, { headers: { "x-edge-key": "the-key-0123456789" } })).status;
  const told: string[] = [];
  const said = vi.spyOn(process.stderr, "write").mockImplementation((text) => told.push(String(text)) > 0);
  for (const lose of [() => writeFileSync(file, ""), () => rmSync(file)]) {
    expect(await status()).toBe(200);
    lose();
    await until(async () => (await status()) === 403);
    writeFileSync(file, "the-key-0123456789\n");
  }
  expect(await status()).toBe(200);
  said.mockRestore();
  expect(told.map((text) => text.includes("no key any more"))).toEqual([true, false, true, false]);
}, 60_000);

test("the reserved paths are answered without the application", async () => {
  const { url } = await serve(() => {
    throw new Error("the application must not be asked");
  });
  createCsrf();
  const fresh = await fetch(`${url}/-/dodai/csrf`, { headers: { "sec-fetch-site": "same-origin" } });
  const { token } = (await fresh.json()) as { token: string };
  const cookie = fresh.headers.getSetCookie()[0]!.split(";", 1)[0]!;
  const probe = (headers: Record<string, string>): Promise<Response> =>
    fetch(`${url}/-/dodai/probe`, { method: "POST", headers: { origin: ORIGIN, cookie, ...headers } });
  expect((await probe({ "x-csrf-token": token })).status).toBe(204);
  expect((await probe({})).status).toBe(403);
  expect((await probe({ "x-csrf-token": token, origin: "https://evil.example" })).status).toBe(403);
  expect((await fetch(`${url}/-/dodai/csrf`, { headers: { "sec-fetch-site": "cross-site" } })).status).toBe(403);
  expect((await fetch(`${url}/-/dodai/other`)).status).toBe(404);
});

test("a page of a trusted origin may read a fresh token, and no other one: the answer names its origin", async () => {
  const { url } = await serve((_request, response) => response.end("page"));
  const [blog, own] = ["https://blog.example.com", "https://example.com"];
  createCsrf({ origins: [ORIGIN, own], trustedOrigins: ["https://*.example.com"] });
  const ask = (origin: string, method = "GET", site = "same-site"): Promise<Response> =>
    fetch(`${url}/-/dodai/csrf`, { method, headers: { origin, "sec-fetch-site": site } });
  const fresh = await ask(blog);
  expect(fresh.headers.get("access-control-allow-origin")).toBe(blog);
  expect(fresh.headers.get("access-control-allow-credentials")).toBe("true");
  expect(fresh.headers.get("cross-origin-resource-policy")).toBe("cross-origin");
  expect([fresh.headers.get("vary"), fresh.headers.get("cache-control")]).toEqual(["Origin, Cookie", "no-store"]);
  const { token } = (await fresh.json()) as { token: string };
  const cookie = fresh.headers.getSetCookie()[0]!.split(";", 1)[0]!;
  const post = (headers: Record<string, string>): Promise<Response> =>
    fetch(`${url}/-/dodai/probe`, { method: "POST", headers: { origin: blog, "sec-fetch-site": "same-site", ...headers } });
  expect((await post({ cookie, "x-csrf-token": token })).status).toBe(204);
  expect((await post({ cookie })).status).toBe(403);
  const preflight = await ask(blog, "OPTIONS");
  expect([preflight.status, preflight.headers.getSetCookie()]).toEqual([204, []]);
  expect(preflight.headers.get("access-control-allow-methods")).toBe("GET");
  expect((await ask(own)).headers.get("access-control-allow-origin")).toBe(own);
  for (const origin of ["https://evil.example", "null", "https://evilexample.com", `${blog}:8443`, "http://blog.example.com"])
    for (const method of ["GET", "OPTIONS"]) {
      const answer = await ask(origin, method, "cross-site");
      expect([origin, answer.status, answer.headers.get("access-control-allow-origin")]).toEqual([origin, 403, null]);
      expect(answer.headers.getSetCookie()).toEqual([]);
    }
  const ours = await ask(ORIGIN, "GET", "same-origin");
  expect([ours.status, ours.headers.get("access-control-allow-origin"), ours.headers.get("vary")]).toEqual([200, null, "Origin, Cookie"]);
});

test("a server that speaks TLS itself is watched, too", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tls-"));
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const make = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "1", "-subj", "/CN=localhost"];
  execFileSync("openssl", make, { stdio: "ignore" });
  const { writer } = start();
  written = writer;
  observe();
  const secure = createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) }, (_request, response) => response.end("page"));
  await new Promise<void>((resolve) => secure.listen(0, "127.0.0.1", resolve));
  const { port } = secure.address() as AddressInfo;
  const id = await new Promise((resolve, reject) => {
    const asking = tlsRequest({ host: "127.0.0.1", port, rejectUnauthorized: false }, (answer) => {
      answer.resume();
      answer.once("end", () => resolve(answer.headers["x-request-id"]));
    });
    asking.once("error", reject).end();
  });
  await until(() => writer.lines.length === 1);
  expect(writer.parsed[0]).toMatchObject({ requestId: id, status: 200 });
  secure.close();
});

test("in mode framework no token of ours is handed out", async () => {
  const { url } = await serve((_request, response) => response.end("page"));
  createCsrf({ mode: "framework" });
  expect((await fetch(`${url}/-/dodai/csrf`, { headers: { "sec-fetch-site": "same-origin" } })).status).toBe(404);
});

const bytes = { serialize: (value: Buffer) => value, deserialize: (value: Buffer) => value };
const METHOD = { path: "/quiz.v1.Quiz/Get", requestStream: false, responseStream: false, requestSerialize: bytes.serialize, requestDeserialize: bytes.deserialize, responseSerialize: bytes.serialize, responseDeserialize: bytes.deserialize };

async function rpc(client: grpc.Client): Promise<number> {
  return new Promise((resolve) => {
    client.makeUnaryRequest(METHOD.path, bytes.serialize, bytes.deserialize, Buffer.alloc(0), (error) => resolve(error?.code ?? 0));
  });
}

test("an answer with our id says that the tier is up: UNAVAILABLE from behind it opens no breaker", async () => {
  const backend = new grpc.Server();
  backend.addService({ get: METHOD }, {
    get: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
      const trailing = new grpc.Metadata();
      trailing.set("x-request-id", String(call.metadata.get("x-request-id")[0]));
      done({ code: grpc.status.UNAVAILABLE, metadata: trailing }, null);
    },
  });
  const port = await new Promise<number>((resolve) => backend.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (_, found) => resolve(found)));
  const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), { interceptors: [clientInterceptor(grpc, { dependency: "database" })] });
  const { url, lines } = await serve((_, response) => {
    void rpc(client).then(() => response.end());
  }, { DODAI_SETTINGS: JSON.stringify({ dependency: { database: { breaker_failures: 1, breaker_reset: 60 } }, observability: { sample: 1 } }) });
  for (let index = 0; index < 3; index += 1) await fetch(url);
  await until(() => lines.parsed.filter((line) => line.type === "http").length === 3);
  expect(lines.parsed.filter((line) => line.type === "event")).toEqual([]);
  expect(lines.parsed.filter((line) => line.reason === "breaker_open")).toEqual([]);
  client.close();
  backend.forceShutdown();
});

test("a sampled request has a line for each call, also the quick ones", async () => {
  const backend = new grpc.Server();
  backend.addService({ get: METHOD }, { get: (_: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => done(null, Buffer.alloc(0)) });
  const port = await new Promise<number>((resolve) => backend.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (_, found) => resolve(found)));
  const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), { interceptors: [clientInterceptor(grpc, { dependency: "backend" })] });
  for (const [sample, count] of [[1, 1], [0, 0]] as const) {
    const { url, lines } = await serve((_, response) => {
      void rpc(client).then(() => response.end());
    }, { DODAI_SETTINGS: JSON.stringify({ observability: { sample } }) });
    await fetch(url);
    await until(() => lines.parsed.some((line) => line.type === "http"));
    expect(lines.parsed.filter((line) => line.type === "rpc_client")).toHaveLength(count);
    server!.close();
  }
  client.close();
  backend.forceShutdown();
});

test("a call carries id, user with proof and deadline; the breaker opens after failures in a row", async () => {
  const seen: { metadata: grpc.Metadata; deadline: number }[] = [];
  let code = 0;
  const backend = new grpc.Server();
  backend.addService({ get: METHOD }, {
    get: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
      seen.push({ metadata: call.metadata, deadline: Number(call.getDeadline()) });
      if (code === 0) done(null, Buffer.alloc(0));
      else done({ code }, null);
    },
  });
  const port = await new Promise<number>((resolve) => backend.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (_, found) => resolve(found)));
  let client: grpc.Client | undefined;
  const codes: number[] = [];
  const { url, lines } = await serve((_, response) => {
    setUser("花子");
    void rpc(client!).then((found) => {
      codes.push(found);
      response.end(requestId());
    });
  }, { DODAI_SETTINGS: JSON.stringify({ dependency: { backend: { deadline: 2, breaker_failures: 2, breaker_reset: 60 } } }) });
  client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), { interceptors: [clientInterceptor(grpc, { dependency: "backend" })] });
  const id = await (await fetch(url)).text();
  const { metadata, deadline } = seen[0]!;
  const get = (name: string): string => String(metadata.get(name)[0]);
  expect(get("x-request-id")).toBe(id);
  expect(decodeURIComponent(get("x-user-id"))).toBe("花子");
  const claim = { audience: "backend", requestId: id, userId: "花子" };
  expect(verifyProof(parseIdentityKeys(KEYS), get("x-identity-proof"), claim, Date.now() / 1000)).toBe(true);
  expect(deadline - Date.now()).toBeLessThanOrEqual(2000);
  code = grpc.status.UNAVAILABLE;
  for (let index = 0; index < 3; index += 1) await fetch(url);
  expect([codes, seen.length]).toEqual([[0, 14, 14, 14], 3]);
  await until(() => lines.parsed.filter((line) => line.type === "http").length === 4);
  const first = lines.parsed.find((line) => line.type === "http")!; // a slow call has a line of its own, before it
  expect(first).toMatchObject({ requestId: id, rpcCount: 1 });
  expect(get("traceparent")).toBe(`00-${String(first.traceId)}-${String(first.spanId).slice(0, 12)}0001-01`);
  const failed = { status: "UNAVAILABLE", dependency: "backend" };
  expect(lines.parsed.filter((line) => line.type === "rpc_client")).toMatchObject([failed, failed, { ...failed, reason: "breaker_open" }]);
  expect(lines.parsed.filter((line) => line.type === "event")).toMatchObject([{ name: "breaker_open", dependency: "backend" }]);
  expect(first.calls).toMatch(/^backend 1 0 \d+\.\d$/);
  expect(lines.parsed.filter((line) => line.type === "http").at(-1)).toMatchObject({ calls: expect.stringMatching(/^backend 1 1 /) as string, dependency: "backend" });
  client.close();
  backend.forceShutdown();
});

test("a call over HTTP is counted, bounded and refused while its dependency keeps failing; a foreign service learns nothing", async () => {
  const seen: Record<string, unknown>[] = [];
  const provider = createServer((request, response) => {
    seen.push(request.headers);
    if (request.url === "/never") return;
    response.writeHead(request.url === "/down" ? 503 : 200).end("answered");
  });
  await new Promise<void>((resolve) => provider.listen(0, "127.0.0.1", resolve));
  const base = `http://127.0.0.1:${(provider.address() as AddressInfo).port}`;
  const call = dependencyFetch({ dependency: "identity" });
  const answers: string[] = [];
  const { url, lines } = await serve((request, response) => {
    setUser("u-1");
    call(`${base}${request.url!}`)
      .then(async (answer) => `${answer.status} ${await answer.text()}`, (error: Error) => error.name)
      .then((said) => {
        answers.push(said);
        response.end();
      });
  }, { DODAI_SETTINGS: JSON.stringify({ dependency: { identity: { deadline: 0.2, breaker_failures: 2, breaker_reset: 60 } } }) });
  for (const path of ["/ok", "/never", "/down", "/ok"]) await fetch(`${url}${path}`);
  expect(answers).toEqual(["200 answered", "TimeoutError", "503 answered", "DependencyUnavailableError"]);
  expect(seen).toHaveLength(3);
  expect(Object.keys(seen[0]!).filter((name) => /^x-|traceparent/.test(name))).toEqual([]);
  const own = (): Record<string, unknown>[] => lines.parsed.filter((line) => line.userId === "u-1" && line.type === "http");
  await until(() => own().length === 4); // the provider's, which is served by this process as well, have no user
  const calls = lines.parsed.filter((line) => line.type === "http_client");
  expect(calls.map(({ outcome, status, reason, error }) => [outcome, status, reason ?? error])).toEqual([
    ["timeout", 0, "TimeoutError"],
    ["server_error", 503, undefined],
    ["server_error", 0, "breaker_open"],
  ]);
  expect(lines.parsed.filter((line) => line.type === "event")).toMatchObject([{ name: "breaker_open", dependency: "identity" }]);
  expect(own().at(-1)).toMatchObject({ dependency: "identity", httpCount: 1, calls: expect.stringMatching(/^identity 1 1 \d\.\d$/) });
  provider.closeAllConnections();
  provider.close();
});

test("a call to a service of ours carries id, user and proof", async () => {
  let headers: Record<string, unknown> = {};
  const own = createServer((request, response) => {
    headers = request.headers;
    response.end();
  });
  await new Promise<void>((resolve) => own.listen(0, "127.0.0.1", resolve));
  const call = dependencyFetch({ dependency: "search", audience: "search" });
  const { url } = await serve((_, response) => {
    setUser("花子");
    void call(`http://127.0.0.1:${(own.address() as AddressInfo).port}/`).then(() => response.end(requestId()));
  });
  const id = await (await fetch(url)).text();
  const claim = { audience: "search", requestId: id, userId: "花子" };
  expect(headers["x-request-id"]).toBe(id);
  expect(verifyProof(parseIdentityKeys(KEYS), String(headers["x-identity-proof"]), claim, Date.now() / 1000)).toBe(true);
  own.close();
});
