// Every sentence people read, from the file that the Python web tier reads, and how the language is chosen.

import { readFileSync } from "node:fs";
import { resolve } from "node:path";

import { parse } from "smol-toml";

export type Words = Readonly<Record<string, string>>;
export const LANGS = ["en", "ja"] as const;
export type Lang = (typeof LANGS)[number];

const FILE = resolve("../web/words.toml");
let table: Record<string, Record<Lang, string>> | undefined;

export function wordsIn(lang: Lang): Words {
  table ??= parse(readFileSync(FILE, "utf8")) as unknown as Record<string, Record<Lang, string>>;
  return Object.fromEntries(Object.entries(table).map(([key, texts]) => [key, texts[lang]]));
}

/** What the reader chose, else the first language of the browser we know, else English. */
export function langOf(request: Request): Lang {
  const chosen = /(?:^|;\s*)lang=(en|ja)(?:;|$)/.exec(request.headers.get("cookie") ?? "")?.[1];
  if (chosen !== undefined) return chosen as Lang;
  const tags = (request.headers.get("accept-language") ?? "").split(",").map((part) => {
    const [tag = "", weight] = part.trim().split(";q=");
    return { lang: tag.split("-")[0]!.toLowerCase(), weight: weight === undefined ? 1 : Number(weight) || 0 };
  });
  const known = tags.filter(({ lang }) => (LANGS as readonly string[]).includes(lang));
  return (known.sort((a, b) => b.weight - a.weight)[0]?.lang as Lang | undefined) ?? "en";
}
