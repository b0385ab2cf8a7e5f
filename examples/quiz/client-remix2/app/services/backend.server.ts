// The backend as the pages see it. Ids, user and deadline travel in the metadata of every call.

import { resolve as resolvePath } from "node:path";

import { clientInterceptor } from "@dodai/remix/observability.server";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

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

/** The backend did not do what was asked. `problems` maps fields to words when the input was at fault. */
export class BackendError extends Error {
  constructor(
    readonly status: number,
    readonly problems: Problems,
  ) {
    super(`the backend answered ${status}`);
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
};
const PROTO = resolvePath("../contract/quiz.proto");
const CALL_TIMEOUT_MS = 5000;

type Call = (message: object, options: { deadline: number }, done: (error: grpc.ServiceError | null, answer: never) => void) => void;

let client: Record<string, Call> | undefined;
let problems: { decode(bytes: Uint8Array): { problems?: { field: string; what: string }[] } } | undefined;

/** The answer of one RPC; throws `BackendError`. */
export function ask<Answer>(method: string, message: object): Promise<Answer> {
  const stub = (client ??= connect());
  return new Promise((resolve, reject) => {
    stub[method]!(message, { deadline: Date.now() + CALL_TIMEOUT_MS }, (error, answer) => {
      if (error === null) resolve(answer);
      else reject(new BackendError(STATUS[error.code] ?? 500, problemsOf(error)));
    });
  });
}

/** What a page answers when the backend refuses: the status it means in HTTP. */
export function asResponse(error: unknown): Response {
  if (error instanceof BackendError) return new Response(null, { status: error.status });
  throw error;
}

/** What is wrong with the fields, to be shown beside them; throws what the page answers when it is something else. */
export function problemsIn(error: unknown): Problems {
  if (error instanceof BackendError && Object.keys(error.problems).length > 0) return error.problems;
  throw asResponse(error);
}

/** The id in the address of a question; throws 404 for what is none. */
export function questionOf(given: string | undefined): string {
  if (given === undefined || !/^[1-9][0-9]{0,17}$/.test(given)) throw new Response(null, { status: 404 });
  return given;
}

function connect(): Record<string, Call> {
  const definition = loadSync(PROTO, { defaults: true, longs: String, keepCase: false });
  const loaded = grpc.loadPackageDefinition(definition) as unknown as {
    quiz: { v1: { Quiz: new (...given: unknown[]) => Record<string, Call> } };
  };
  const found = definition["quiz.v1.Problems"] as { deserialize?: (bytes: Buffer) => object } | undefined;
  if (found?.deserialize !== undefined) problems = { decode: (bytes) => found.deserialize!(Buffer.from(bytes)) };
  return new loaded.quiz.v1.Quiz(settings().backend, grpc.credentials.createInsecure(), {
    interceptors: [clientInterceptor(grpc, { dependency: "backend" })],
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
  });
}

function problemsOf(error: grpc.ServiceError): Record<string, string> {
  const [bytes] = error.metadata?.get("quiz-problems-bin") ?? [];
  if (!(bytes instanceof Uint8Array)) return {};
  return Object.fromEntries((problems?.decode(bytes).problems ?? []).map(({ field, what }) => [field, what]));
}
