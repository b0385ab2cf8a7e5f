// What every page uses: the words of the reader's language and the hidden field of every form.

import { Link, useRouteLoaderData } from "@remix-run/react";

import type { loader } from "~/root";

export type Say = (key: string, values?: Record<string, string | number>) => string;

/** The function that turns a key of words.toml into a sentence. */
export function useSay(): Say {
  const words = useRouteLoaderData<typeof loader>("root")?.words ?? {};
  return (key, values = {}) =>
    (words[key] ?? key).replace(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? ""));
}

export function useVisitor() {
  return useRouteLoaderData<typeof loader>("root")?.visitor ?? null;
}

/** The token, for a request that a script makes. */
export function useCsrfToken(): string {
  return useRouteLoaderData<typeof loader>("root")?.csrf.value ?? "";
}

/** The hidden field of the CSRF token. */
export function CsrfField() {
  const csrf = useRouteLoaderData<typeof loader>("root")?.csrf;
  return csrf === undefined ? null : <input type="hidden" name={csrf.name} value={csrf.value} />;
}

/** For an address that takes forms and has no page of its own. */
export function FormsOnly() {
  const say = useSay();
  return (
    <p className="narrow actions">
      <Link className="button" to="/">
        {say("error-home")}
      </Link>
    </p>
  );
}

/** The page to come back to: an address that only takes forms leads to the page its form stands on. */
export function pageOf(path: string): string {
  if (path === "/questions" || path === "/questions/preview") return "/questions/new";
  return path.replace(/\/(?:answer|report)$/, "");
}
