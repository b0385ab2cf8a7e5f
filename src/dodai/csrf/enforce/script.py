"""The script that keeps tokens of open pages fresh and adds them to fetch and HTMX requests.

Served at `/-/dodai/csrf?script`, so a content security policy of `script-src 'self'` allows it.
"""

from __future__ import annotations

REFRESH_SCRIPT = """\
(() => {
  "use strict";
  const url = "/-/dodai/csrf";
  let current = null;
  let asked = 0;
  const refresh = async () => {
    if (Date.now() - asked < 1000) return current;
    asked = Date.now();
    const response = await fetch(url, {credentials: "same-origin", cache: "no-store"});
    if (!response.ok) return current;
    current = await response.json();
    for (const input of document.getElementsByName(current.field)) {
      if (input instanceof HTMLInputElement) input.value = current.token;
    }
    for (const meta of document.querySelectorAll('meta[name="csrf-token"]')) meta.content = current.token;
    return current;
  };
  const quietly = () => { refresh().catch(() => undefined); };
  addEventListener("pageshow", (event) => {
    const entry = performance.getEntriesByType("navigation")[0];
    if (event.persisted || (entry && entry.type === "back_forward")) quietly();
  });
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "visible") quietly(); });
  const sameOrigin = (target) => new URL(target, location.href).origin === location.origin;
  const ready = async () => current || {
    token: (document.querySelector('meta[name="csrf-token"]') || {}).content,
    header: (document.querySelector('meta[name="csrf-header"]') || {}).content || "x-csrf-token",
  };
  document.addEventListener("htmx:configRequest", (event) => {
    const meta = document.querySelector('meta[name="csrf-token"]');
    const token = (current && current.token) || (meta && meta.content);
    const header = (current && current.header) || "x-csrf-token";
    if (token && sameOrigin(event.detail.path)) event.detail.headers[header] = token;
  });
  window.dodaiFetch = async (target, init = {}) => {
    const headers = new Headers(init.headers || {});
    if (sameOrigin(target)) {
      let known = await ready();
      if (!known.token) known = await refresh();
      headers.set(known.header, known.token);
    }
    return fetch(target, {...init, headers});
  };
})();
"""
