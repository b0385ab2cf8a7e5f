// The server build as `remix-serve` wants it, with every action behind the check, also one that forgets to ask.

import { observe } from "@dodai/remix/observability.server";
import * as build from "@remix-run/dev/server-build";

import { csrf } from "./app/services/csrf.server";

observe();
const wrapped = csrf.wrapBuild(build);

export * from "@remix-run/dev/server-build";
export const entry = wrapped.entry;
export const routes = wrapped.routes;
