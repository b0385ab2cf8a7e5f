/** @type {import('@remix-run/dev').AppConfig} */
export default {
  // The build with every action behind the check; `remix-serve` serves it as it would serve Remix's own.
  server: "./server.ts",
  ignoredRouteFiles: ["**/.*", "**/*.test.*"],
  serverModuleFormat: "cjs",
  serverBuildPath: "build/index.cjs",
  // With its packages inside, `build/` and `public/` are all that a release needs.
  serverDependenciesToBundle: "all",
  future: {
    v3_fetcherPersist: true,
    v3_relativeSplatPath: true,
    v3_throwAbortReason: true,
  },
};
