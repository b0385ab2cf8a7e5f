// What this client shares with the Python web tier: its style sheet and its mark. Copied, because Remix serves `public/`.

import { cpSync, mkdirSync } from "node:fs";

mkdirSync("public/static", { recursive: true });
for (const name of ["quiz.css", "mark.svg"]) cpSync(`../web/static/${name}`, `public/static/${name}`);
