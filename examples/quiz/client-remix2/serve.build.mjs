// `remix-serve` in one file beside the build, so that a release needs no packages.

import { buildSync } from "esbuild";

buildSync({
  entryPoints: ["node_modules/@remix-run/serve/dist/cli.js"],
  outfile: "build/server.cjs",
  bundle: true,
  platform: "node",
  format: "cjs",
  external: ["fsevents"],
  logLevel: "warning",
});
