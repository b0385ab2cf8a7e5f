// The headers every answer carries; scripts of the page are known by a number that is drawn for it.

import { randomBytes } from "node:crypto";

import { createContext, type MiddlewareFunction } from "react-router";

import { settings } from "./settings.server";

/** The number that the scripts of this page carry. */
export const nonce = createContext("");

export const headers: MiddlewareFunction<Response> = async ({ context }, next) => {
  const drawn = randomBytes(16).toString("base64url");
  context.set(nonce, drawn);
  const response = await next();
  const { issuer, release } = settings();
  const policy = {
    "default-src": "'none'",
    "script-src": `'self' 'nonce-${drawn}'`,
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    // Chromium applies this to where a form's redirect leads, too: signing in is a form.
    "form-action": `'self' ${new URL(issuer).origin}`,
  };
  const always = {
    "content-security-policy": Object.entries(policy).map((entry) => entry.join(" ")).join("; "),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "x-release": release,
  };
  for (const [name, value] of Object.entries(always)) if (!response.headers.has(name)) response.headers.set(name, value);
  if (!response.headers.has("cache-control")) response.headers.set("cache-control", "no-store");
  return response;
};
