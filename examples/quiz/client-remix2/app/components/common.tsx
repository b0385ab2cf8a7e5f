// What every page uses: the words of the reader's language and the hidden field of every form.

import { useRouteLoaderData } from "@remix-run/react";

import type { loader } from "~/root";

export type Say = (key: string, values?: Record<string, string | number>) => string;

/** The function that turns a key of words.toml into a sentence. */
export function useSay(): Say {
  const words = useRouteLoaderData<typeof loader>("root")?.words ?? {};
  return (key, values = {}) =>
    (words[key] ?? key).replace(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? ""));
}

/** The hidden field of the CSRF token. */
export function CsrfField() {
  const csrf = useRouteLoaderData<typeof loader>("root")?.csrf;
  return csrf === undefined ? null : <input type="hidden" name={csrf.name} value={csrf.value} />;
}
