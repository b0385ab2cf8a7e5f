// Stands for a bundler: what is served is made here, and ignored by git.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";

mkdirSync("build", { recursive: true });
writeFileSync("build/server.mjs", readFileSync("app/server.mjs"));
