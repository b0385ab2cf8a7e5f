// What several pages read from a form or a body.

import type { Draft } from "./backend.server";

/** The question as the form of the editor has it. */
export async function draftOf(request: Request, id = "0"): Promise<Draft> {
  const form = await request.formData();
  const text = (name: string): string => String(form.get(name) ?? "");
  return {
    id,
    lang: text("lang"),
    topic: text("topic"),
    prompt: text("prompt"),
    choices: [1, 2, 3, 4].map((n) => text(`choice${n}`)),
    correct: /^[1-4]$/.test(text("correct")) ? Number(text("correct")) : 0,
    explanation: text("explanation"),
  };
}

/** What a body says in JSON; throws 400 for what is none. */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new Response(null, { status: 400 });
  }
}
