// Every vector of spec/csrf/decision.json.

import { expect, test } from "vitest";

import {
  carriesCredentials,
  configureOrigins,
  type Decision,
  decide,
  decideExempt,
  decideExemption,
  decideWebsocket,
  exemptionsOf,
  hasOverride,
  isUnsafe,
  judgeProvenance,
  type Mode,
  needsToken,
  toldAsOver,
  type TokenState,
} from "../src/decision.js";
import { vectors } from "./spec.js";

interface Vector {
  name: string;
  mode: Mode;
  method: string;
  headers: [string, string][];
  websocket: boolean;
  public: string[];
  trusted: string[];
  host: string;
  token: TokenState | null;
  anonymous: boolean;
  exemption: string | null;
  allow: boolean;
  status: number;
  reason: string;
}

const spec = vectors<{ defaults: Partial<Vector>; vectors: Vector[] }>("csrf/decision");

function judge(vector: Vector): Decision {
  const values = (name: string): string[] =>
    vector.headers.filter(([one]) => one === name).map(([, value]) => Buffer.from(value).toString("latin1"));
  const has = (name: string): boolean => values(name).length > 0;
  if (!vector.websocket && !isUnsafe(vector.method, has)) return { allow: true, reason: "safe", code: null, status: 0 };
  const exempt = vector.exemption !== null && !hasOverride(has) ? decideExempt(vector.exemption === "holds") : null;
  if (exempt?.allow) return exempt;
  const [fetchSite, origin, referer] = [values("sec-fetch-site"), values("origin"), values("referer")];
  const origins = configureOrigins(vector.public, vector.trusted);
  const judged = judgeProvenance({ fetchSite, origin, referer, host: vector.host }, origins);
  if (vector.websocket) return toldAsOver(decideWebsocket(judged), exempt);
  if (vector.token === null) expect(needsToken(vector.mode, judged)).toBe(false);
  const header = (name: string): string | null => (has(name) ? values(name).join(", ") : null);
  return toldAsOver(decide(vector.mode, judged, vector.token, vector.anonymous, carriesCredentials(header)), exempt);
}

test.each(spec.vectors.map((vector) => ({ ...spec.defaults, ...vector })))("$name", (vector) => {
  const decision = judge(vector);
  expect([decision.allow, decision.reason, decision.status]).toEqual([vector.allow, vector.reason, vector.status]);
  expect(decision.code === null).toBe(decision.allow);
});

test("there are at least 150 vectors", () => {
  expect(spec.vectors.length).toBeGreaterThanOrEqual(150);
});

interface ExemptionVectors {
  vectors: {
    name: string;
    exemptions: Parameters<typeof exemptionsOf>[0];
    route: string;
    service?: string;
    headers: [string, string][];
    today: string;
    answer: string | null;
  }[];
}

test.each(vectors<ExemptionVectors>("csrf/exemption").vectors)("an exemption: $name", (vector) => {
  const headers = new Headers(vector.headers);
  const decision = decideExemption(exemptionsOf(vector.exemptions, vector.service ?? "web"), vector.route, (name) => headers.get(name), vector.today);
  expect(decision?.reason ?? null).toBe(vector.answer);
});
