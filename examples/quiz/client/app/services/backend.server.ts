// The backend as the pages see it. Ids, user and deadline travel in the metadata of every call.

import { resolve as resolvePath } from "node:path";

import { clientInterceptor } from "@dodai/remix/observability.server";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

import { data } from "react-router";

import { settings } from "./settings.server";

export interface Question {
  readonly id: string;
  readonly lang: string;
  readonly topic: string;
  readonly prompt: string;
  readonly choices: readonly string[];
  readonly mine: boolean;
  readonly starred: boolean;
  readonly answered: number;
  readonly answeredRight: number;
  readonly correct: number;
  readonly explanation: string;
}

export interface Verdict {
  readonly question: Question;
  readonly position: number;
  readonly right: boolean;
}

export interface Draft {
  readonly id: string;
  readonly lang: string;
  readonly topic: string;
  readonly prompt: string;
  readonly choices: readonly string[];
  readonly correct: number;
  readonly explanation: string;
}

export interface MyPage {
  readonly name: string;
  readonly answered: number;
  readonly right: number;
  readonly past: readonly { questionId: string; prompt: string; right: boolean; deleted: boolean; answeredAt: string }[];
  readonly mine: readonly Question[];
  readonly starred: readonly Question[];
  readonly days: readonly { date: string; answered: number; right: number }[];
}

/** What is wrong with each field of what was sent, in the words of the backend's rules. */
export type Problems = Readonly<Record<string, string>>;

/** The input was at fault; the page shows the form again. */
export class InputError extends Error {
  constructor(readonly problems: Problems) {
    super("the backend refused what was sent");
  }
}

const STATUS: Readonly<Record<number, number>> = {
  [grpc.status.INVALID_ARGUMENT]: 422,
  [grpc.status.OUT_OF_RANGE]: 422,
  [grpc.status.UNAUTHENTICATED]: 401,
  [grpc.status.PERMISSION_DENIED]: 403,
  [grpc.status.NOT_FOUND]: 404,
  [grpc.status.ALREADY_EXISTS]: 409,
  [grpc.status.FAILED_PRECONDITION]: 409,
  [grpc.status.ABORTED]: 409,
  [grpc.status.RESOURCE_EXHAUSTED]: 503,
  [grpc.status.UNAVAILABLE]: 503,
  [grpc.status.CANCELLED]: 503,
  [grpc.status.DEADLINE_EXCEEDED]: 504,
  [grpc.status.UNIMPLEMENTED]: 501,
};
const PROTO = resolvePath("../contract/quiz.proto");
const CALL_TIMEOUT_MS = 5000;
const LOOK_TIMEOUT_MS = 1500;
const LARGEST_ID = 2n ** 63n - 1n;
const SERVING = "0801"; // `HealthCheckResponse { status: SERVING }`, as bytes

type Call = (message: object, options: { deadline: number }, done: (error: grpc.ServiceError | null, answer: never) => void) => void;

let client: (grpc.Client & Record<string, Call>) | undefined;
let problems: { decode(bytes: Uint8Array): { problems?: { field: string; what: string }[] } } | undefined;

/** The answer of one RPC; throws `InputError`, or the status that the page answers with. */
export function ask<Answer>(method: string, message: object): Promise<Answer> {
  const stub = (client ??= connect());
  return new Promise((resolve, reject) => {
    stub[method]!(message, { deadline: Date.now() + CALL_TIMEOUT_MS }, (error, answer) => {
      if (error === null) resolve(answer);
      else reject(refusal(error));
    });
  });
}

/** Whether the backend says it can do its work; false too when it says nothing in time. Its own protocol is gRPC health. */
export function isServing(): Promise<boolean> {
  const bytes = (value: Buffer): Buffer => value;
  const deadline = Date.now() + LOOK_TIMEOUT_MS;
  return new Promise((resolve) => {
    (client ??= connect()).makeUnaryRequest("/grpc.health.v1.Health/Check", bytes, bytes, Buffer.alloc(0), { deadline }, (error, answer) =>
      resolve(error === null && answer?.toString("hex") === SERVING),
    );
  });
}

/** The id in the address of a question; a number that no question can have is a page that does not exist. */
export function questionOf(given: string | undefined): string {
  if (given === undefined || !/^[0-9]{1,19}$/.test(given) || BigInt(given) > LARGEST_ID) throw data(null, 404);
  return given;
}

function connect(): grpc.Client & Record<string, Call> {
  const definition = loadSync(PROTO, { defaults: true, longs: String, keepCase: false });
  const loaded = grpc.loadPackageDefinition(definition) as unknown as {
    quiz: { v1: { Quiz: new (...given: unknown[]) => grpc.Client & Record<string, Call> } };
  };
  const found = definition["quiz.v1.Problems"] as { deserialize?: (bytes: Buffer) => object } | undefined;
  if (found?.deserialize !== undefined) problems = { decode: (bytes) => found.deserialize!(Buffer.from(bytes)) };
  return new loaded.quiz.v1.Quiz(settings().backend, grpc.credentials.createInsecure(), {
    interceptors: [clientInterceptor(grpc, { dependency: "backend" })],
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
  });
}

function refusal(error: grpc.ServiceError): unknown {
  const found = problemsOf(error);
  const status = STATUS[error.code] ?? 500;
  if (Object.keys(found).length > 0) return new InputError(found);
  return data(null, { status, ...((status === 503 || status === 504) && { headers: { "retry-after": "2" } }) });
}

function problemsOf(error: grpc.ServiceError): Record<string, string> {
  const [bytes] = error.metadata?.get("quiz-problems-bin") ?? [];
  if (!(bytes instanceof Uint8Array)) return {};
  return Object.fromEntries((problems?.decode(bytes).problems ?? []).map(({ field, what }) => [field, what]));
}
