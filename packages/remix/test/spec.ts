// The vectors of spec/, which the Python side runs as well.

import { readFileSync } from "node:fs";

export function vectors<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../../spec/${name}.json`, import.meta.url), "utf8")) as T;
}
