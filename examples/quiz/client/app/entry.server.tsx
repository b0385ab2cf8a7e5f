import { noteError, observe } from "@dodai/remix/observability.server";
import { createReadableStreamFromReadable } from "@react-router/node";
import { PassThrough } from "node:stream";
import { renderToPipeableStream } from "react-dom/server";
import { type EntryContext, type RouterContextProvider, ServerRouter } from "react-router";

import { nonce } from "~/services/headers.server";

const RENDER_TIMEOUT_MS = 5000;

// What the framework answers before any middleware (its own 400, a 404, a file) has the id and a line as well.
observe();

/** The type of an error goes into the line; its message, which may carry what a user typed, goes nowhere. */
export function handleError(error: unknown): void {
  noteError(error);
}

export default function handleRequest(
  request: Request,
  status: number,
  headers: Headers,
  router: EntryContext,
  context: RouterContextProvider,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    let failed = false;
    const drawn = context.get(nonce);
    const page = <ServerRouter context={router} url={request.url} nonce={drawn} />;
    const { pipe, abort } = renderToPipeableStream(page, {
      nonce: drawn,
      onShellReady() {
        const body = new PassThrough();
        headers.set("content-type", "text/html; charset=utf-8");
        resolve(new Response(createReadableStreamFromReadable(body), { headers, status: failed ? 500 : status }));
        pipe(body);
      },
      onShellError: reject,
      onError(error) {
        failed = true;
        noteError(error);
      },
    });
    setTimeout(abort, RENDER_TIMEOUT_MS).unref();
  });
}
