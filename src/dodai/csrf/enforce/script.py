"""The script that keeps tokens of open pages fresh and adds them to fetch and HTMX requests.

Served at `/-/dodai/csrf?script`, so a content security policy of `script-src 'self'` allows it.
"""

from __future__ import annotations

REFRESH_SCRIPT = """\
(() => {
  "use strict";
  // This script is served from there, below whatever prefix a proxy has put in front.
  const own = document.currentScript;
  const endpoint = own && own.src ? new URL(own.src).pathname : "/-/dodai/csrf";
  let current = null;
  let pending = null;
  const meta = (name) => (document.querySelector(`meta[name="${name}"]`) || {}).content;
  const fetched = async () => {
    const response = await fetch(endpoint, {credentials: "same-origin", cache: "no-store"});
    if (!response.ok) throw new Error(`no fresh CSRF token: ${response.status}`);
    current = await response.json();
    for (const input of document.getElementsByName(current.field)) {
      if (input instanceof HTMLInputElement) input.value = current.token;
    }
    for (const each of document.querySelectorAll('meta[name="csrf-token"]')) each.content = current.token;
    return current;
  };
  // One request at a time: whoever asks while it runs gets its answer.
  const refresh = () => pending || (pending = fetched().finally(() => { pending = null; }));
  const quietly = () => { refresh().catch(() => undefined); };
  addEventListener("pageshow", (event) => {
    const entry = performance.getEntriesByType("navigation")[0];
    if (event.persisted || (entry && entry.type === "back_forward")) quietly();
  });
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "visible") quietly(); });
  const sameOrigin = (url) => new URL(url, location.href).origin === location.origin;
  const inPage = () => current || (meta("csrf-token") &&
    {token: meta("csrf-token"), header: meta("csrf-header") || "x-csrf-token"});
  document.addEventListener("htmx:configRequest", (event) => {
    const known = inPage();
    if (known && sameOrigin(event.detail.path)) event.detail.headers[known.header] = known.token;
  });
  window.dodaiFetch = async (target, init) => {
    const request = new Request(target, init);
    if (sameOrigin(request.url)) {
      if (pending) await pending.catch(() => undefined);
      const known = inPage() || await refresh();
      request.headers.set(known.header, known.token);
    }
    return fetch(request);
  };
})();
"""
